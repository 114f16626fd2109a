from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.config import CfgNode
from PIL import Image

from prolab_d2 import LabelSpace, Predictor
from prolab_d2.data import register_folder
from prolab_d2.label_space.property_weights import read_property_weights
from tests.conftest import TINY_NAMES, save_tiny_checkpoint
from tools.ground_properties import main


def test_report_plots_and_weights(
    tiny_checkpoint: Path,
    tiny_dataset_folder: Path,
    tiny_label_space: LabelSpace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = register_folder(tiny_dataset_folder)
    output = tmp_path / "out"
    arguments = [str(tiny_checkpoint), "--dataset", names["val"], "--output", str(output)]
    assert main([*arguments, "--choose-on", names["train"], "--pixels", "50"]) == 0
    data = json.loads((output / "grounding.json").read_text())
    assert [one["name"] for one in data["properties"]] == list(TINY_NAMES)
    masks = [np.asarray(Image.open(p)) for p in (tiny_dataset_folder / "annotations/val").iterdir()]
    cells = np.stack([mask[2::4, 2::4] for mask in masks])
    assert data["pixels"] == (cells != 255).sum()
    for k, one in enumerate(data["properties"]):
        owners = np.flatnonzero(tiny_label_space.signatures[:, k])
        assert one["base_rate"] == pytest.approx(np.isin(cells, owners).sum() / data["pixels"])
        assert sum(one["reliability"]["pixels"]) == data["pixels"]
    text = (output / "grounding.md").read_text()
    assert all(f"| {name} |" in text for name in (*TINY_NAMES, "equal", "fitted"))
    for name in ("grounding", "reliability"):
        with Image.open(output / f"{name}.png") as picture:
            assert min(picture.size) > 200 and np.asarray(picture.convert("L")).std() > 10
    # The weights in a file give the mIoU that the report has for them.
    methods = data["weighting"]["methods"]
    file = output / "weights/visibility.json"
    weights = read_property_weights(file, tiny_label_space)
    assert weights == pytest.approx(methods["visibility"]["weights"])
    options = ["MODEL.PROLAB.PROPERTY_WEIGHTS", str(file)]
    predictor = Predictor.from_checkpoint(tiny_checkpoint, "cpu", options)
    confusion = np.zeros((5, 5))
    for mask in sorted((tiny_dataset_folder / "annotations/val").iterdir()):
        image = next((tiny_dataset_folder / "images/val").glob(f"{mask.stem}.*"))
        truth = np.asarray(Image.open(mask))
        valid = truth != 255
        np.add.at(confusion, (truth[valid], predictor(image).labels[valid]), 1)
    union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    iou = (confusion.diagonal() / union)[confusion.sum(1) > 0]
    assert methods["visibility"]["mIoU"] == pytest.approx(100 * iou.mean())
    assert f"held part {methods['equal']['mIoU_held']:.2f}" in capsys.readouterr().out


def test_what_cannot_be_done_is_one_sentence(
    tiny_cfg: CfgNode,
    tiny_checkpoint: Path,
    tiny_dataset_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    val = register_folder(tiny_dataset_folder)["val"]
    tiny_cfg.MODEL.PROLAB.SIMILARITY = "cosine"
    cosine = save_tiny_checkpoint(tiny_cfg, tmp_path / "cosine")
    tiny_cfg.MODEL.PROLAB.SUPERVISION = "category"
    one_hot = save_tiny_checkpoint(tiny_cfg, tmp_path / "one_hot")
    own = str(tiny_checkpoint)
    for checkpoint, more, words in (
        (own, ["--dataset", "nowhere"], "nowhere is not known"),
        (own, ["--dataset", val, "--choose-on", val], "is the data set to report on"),
        (own, ["--dataset", val, "--images", "0"], "--images 0"),
        (own, ["--dataset", val, "--choose-images", "1"], "--choose-images"),
        (str(one_hot), ["--dataset", val], "no properties to explain with"),
        (str(cosine), ["--dataset", val], "no probabilities"),
    ):
        assert main([checkpoint, *more, "--output", str(tmp_path / "out")]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert lines[-1].startswith("error: ") and words in lines[-1]
    assert not list((tmp_path / "out").iterdir())
