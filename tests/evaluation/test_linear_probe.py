from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode

from prolab_d2 import ProLabError
from prolab_d2.data import leave_out, register_folder
from prolab_d2.evaluation.linear_probe import (
    LinearMap,
    Samples,
    fit_linear_map,
    linear_probe,
    probe_images,
    sample_pixels,
)
from prolab_d2.modeling import PropertySegmentor
from prolab_d2.modeling.inference import category_labels
from tests.conftest import save_tiny_checkpoint
from tools.linear_probe import main


def separable(seed: int) -> Samples:
    """Features that tell 3 categories, activations that cannot tell the last two, wrong answers."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 400)
    features = np.eye(3)[labels] * 5 + rng.normal(size=(400, 3)) * 0.1
    activations = features[:, :1] + rng.normal(size=(400, 1)) * 0.01
    return Samples(features, activations, np.zeros(400, dtype=int), labels)


def test_probes_find_what_is_there_and_no_more() -> None:
    result = linear_probe(separable(0), separable(1), 4)
    assert result.features[:3] == pytest.approx([100, 100, 100])
    assert np.isnan(result.features[3]), "a category that does not occur"
    share = (separable(1).labels == 0).mean()
    assert result.own[0] == pytest.approx(100 * share) and result.own[1] == 0
    assert result.activations[0] == pytest.approx(100)
    assert result.activations[1:3].max() < 75
    assert result.map.categories.tolist() == [0, 1, 2]
    assert linear_probe(separable(0), separable(1), 4, own_categories=False).own is None
    without = dataclasses.replace(separable(0), activations=None)
    assert linear_probe(without, without, 4).activations is None


def test_a_linear_map_of_two_categories_and_of_one() -> None:
    given = np.array([[0.0, 1.0], [0.1, 2.0], [3.0, 1.0], [3.2, 2.0]])
    fitted = fit_linear_map(given, np.array([7, 7, 2, 2]))
    assert fitted.weight.shape == (2, 2)
    assert fitted.answers(given).tolist() == [7, 7, 2, 2]
    with pytest.raises(ProLabError, match="are of one category"):
        fit_linear_map(given, np.array([3, 3, 3, 3]))


def test_a_probe_is_evaluated_on_whole_images(tiny_cfg: CfgNode) -> None:
    """Signatures over their length as a probe of unit length: the model's own answer."""
    torch.manual_seed(0)
    model = PropertySegmentor(tiny_cfg).eval()
    torch.nn.init.normal_(model.projection.weight)
    sem_seg = torch.randint(0, 5, (128, 160))
    sem_seg[:8] = 255
    one = {"image": torch.randint(0, 256, (3, 64, 80), dtype=torch.uint8), "sem_seg": sem_seg}
    maps = model.predict_logits(one["image"]).map_values(model.property_space.activations)
    labels = category_labels(maps, (128, 160), model.property_space.category_weights)[0].numpy()
    # Ids in another order, as a fit may have them; category 3 was not among its pixels.
    order = np.array([4, 0, 2, 1])
    weights = model.property_space.category_weights.numpy()
    fitted = LinearMap(weights[order], np.array([0.0, 0, 0, 0]), order)
    metrics = probe_images(model, [one], fitted, 5, 255)
    assert metrics.confusion.sum() == 120 * 160 and metrics.predicted[3] == 0
    right = (labels == sem_seg.numpy()) & (labels != 3)
    assert metrics.intersection.sum() >= right[8:].sum() > 0
    full = probe_images(model, [one], LinearMap(weights, np.zeros(5), np.arange(5)), 5, 255)
    assert full.intersection.sum() == (labels == sem_seg.numpy())[8:].sum()


@pytest.mark.parametrize("supervision", ["property", "category"])
def test_samples_are_what_the_model_says_at_labelled_pixels(
    tiny_cfg: CfgNode, supervision: str
) -> None:
    tiny_cfg.MODEL.PROLAB.SUPERVISION = supervision
    torch.manual_seed(0)
    model = PropertySegmentor(tiny_cfg).eval()
    torch.nn.init.normal_(model.projection.weight)
    sem_seg = torch.full((128, 160), 255)
    sem_seg[:64] = 2
    sem_seg[64:96] = 4
    image = torch.randint(0, 256, (3, 64, 80), dtype=torch.uint8)
    samples = sample_pixels(model, [{"image": image, "sem_seg": sem_seg}] * 2, 300)
    assert set(samples.labels) == {2, 4}
    assert 400 < len(samples.labels) < 500, "a quarter has no label"
    assert samples.features.shape == (len(samples.labels), model.decode_head.out_channels)
    if supervision == "property":
        assert samples.activations.shape == (len(samples.labels), 12)
        signatures = model.label_space.signatures / np.linalg.norm(
            model.label_space.signatures, axis=1, keepdims=True
        )
        assert (samples.answers == (samples.activations @ signatures.T).argmax(1)).all()
    else:
        assert samples.activations is None
    with pytest.raises(ProLabError, match="no images"):
        sample_pixels(model, [], 10)
    with pytest.raises(ProLabError, match="no pixel has a label"):
        sample_pixels(model, [{"image": image, "sem_seg": torch.full((64, 80), 255)}], 10)


def test_the_tool_prints_a_row_for_every_category(
    tiny_cfg: CfgNode,
    tiny_dataset_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = register_folder(tiny_dataset_folder)
    checkpoint = save_tiny_checkpoint(tiny_cfg, tmp_path)
    arguments = [str(checkpoint), "--train", names["train"], "--pixels", "200"]
    assert main([*arguments, "--val", names["val"]]) == 0
    out = capsys.readouterr().out
    assert "probe of activations" in out and "sign symbol" in out
    mean = [float(x) for x in out.splitlines()[-1].split()[1:]]
    assert mean[1] > mean[0], "colours tell these categories, a random network does not"
    more = ["--val", names["val"], "--val-images", "0", "--images", "2", "--whole-images"]
    assert main([*arguments, *more]) == 0
    out = capsys.readouterr().out
    assert "the same, whole images" in out and len(out.splitlines()[-1].split()) == 5
    for more, words in (
        (["--val", "nowhere"], "data set nowhere is not known"),
        (["--val", names["val"], "--seed", "-1"], "--seed -1: give a number from 0"),
    ):
        assert main([*arguments, *more]) == 2
        assert f"error: {words}" in capsys.readouterr().err


def test_the_tool_knows_categories_that_the_model_does_not(
    tiny_cfg: CfgNode,
    tiny_dataset_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = register_folder(tiny_dataset_folder)
    checkpoint = save_tiny_checkpoint(tiny_cfg, tmp_path)
    train, val = (leave_out(names[split], ["fence"]) for split in ("train", "val"))
    arguments = [str(checkpoint), "--train", train, "--pixels", "200", "--val"]
    assert main([*arguments, val]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "own answer" not in lines[0] and "probe of activations" in lines[0]
    assert [line.split("  ")[0] for line in lines[2:]] == [
        "sky", "meadow", "car", "sign symbol", "mean",
    ]  # fmt: skip
    assert main([*arguments, names["val"]]) == 2
    assert "have different categories" in capsys.readouterr().err
