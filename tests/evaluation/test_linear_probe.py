from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode

from prolab_d2 import ProLabError
from prolab_d2.data.datasets.folder import register_folder
from prolab_d2.evaluation.linear_probe import Samples, linear_probe, sample_pixels
from prolab_d2.modeling import PropertySegmentor
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
    without = dataclasses.replace(separable(0), activations=None)
    assert linear_probe(without, without, 4).activations is None


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
    assert main([*arguments, "--val", "nowhere"]) == 2
    assert "error: data set nowhere is not known" in capsys.readouterr().err
