from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from PIL import Image

from prolab_d2 import LabelSpace, Predictor
from prolab_d2.data import register_folder
from prolab_d2.data.property_annotations import PropertyAnnotations
from prolab_d2.files import sha256_of
from prolab_d2.label_space.property_weights import read_property_weights
from tests.conftest import TINY_NAMES, save_tiny_checkpoint
from tests.refusals import fails
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
        assert "annotated" not in one
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


def test_annotated_properties_are_reported_beside_the_signatures(
    tiny_checkpoint: Path,
    tiny_dataset_folder: Path,
    tiny_label_space: LabelSpace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = register_folder(tiny_dataset_folder)["val"]
    files = sorted((tiny_dataset_folder / "annotations/val").iterdir())

    def read(entry: dict[str, Any], space: LabelSpace) -> PropertyAnnotations:
        """The signatures, but for property 1: only the left half of the image has it."""
        mask = np.asarray(Image.open(entry["sem_seg_file_name"])).astype(np.int64)
        regions = np.where(mask == 255, 10, mask)
        regions[:, :40] += 5 * (regions[:, :40] < 5)
        truth = np.full((11, 12), -1, dtype=np.int8)
        truth[:10] = np.tile(space.signatures, (2, 1))
        truth[:5, 1] = 0
        truth[:, 2:] = np.where(np.arange(12) == 6, -1, truth)[:, 2:]
        return PropertyAnnotations(regions, truth)

    MetadataCatalog.get(name).property_annotations = read
    output, record = tmp_path / "out", tmp_path / "logs/record.json"
    arguments = [str(tiny_checkpoint), "--dataset", name, "--output", str(output)]
    assert main([*arguments, "--record", str(record)]) == 0
    data = json.loads((output / "grounding.json").read_text())
    found = [one["annotated"] for one in data["properties"]]
    assert found[6] is None
    cells = np.stack([np.asarray(Image.open(file))[2::4, 2::4] for file in files])
    labelled = cells != 255
    left = np.broadcast_to(np.arange(20) < 10, cells.shape)
    owners = np.isin(cells, np.flatnonzero(tiny_label_space.signatures[:, 1]))
    assert found[1]["pixels"] == data["pixels"] == labelled.sum()
    assert found[1]["base_rate"] == pytest.approx((owners & left).sum() / labelled.sum())
    assert found[1]["signature_base_rate"] == pytest.approx(owners.sum() / labelled.sum())
    assert 0.2 < found[1]["same_category_auroc"] < 0.8
    # Where the annotations are the signatures, so are the numbers.
    for k in (0, 2, 3):
        for entry in ("average_precision", "base_rate", "calibration_error", "visibility"):
            assert found[k][entry] == pytest.approx(data["properties"][k][entry])
        assert found[k]["signature_average_precision"] == found[k]["average_precision"]
        assert found[k]["same_category_auroc"] is None and found[k]["active_without"] is None
    table = (output / "grounding.md").read_text().split("## Against annotations")[1]
    assert f"| {TINY_NAMES[1]} | {labelled.sum()} |" in table and TINY_NAMES[6] not in table
    assert "11 properties are annotated" in capsys.readouterr().out
    # The record has the numbers and where they come from, without the curves.
    short = json.loads(record.read_text())
    assert short["command"].startswith("tools/ground_properties.py ")
    assert short["checkpoint_sha256"] == sha256_of(tiny_checkpoint)
    assert short["properties"][1]["annotated"]["base_rate"] == round(found[1]["base_rate"], 5)
    assert "reliability" not in short["properties"][1]


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
        (own, ["--dataset", val, "--seed", "-1"], "--seed -1"),
        (str(one_hot), ["--dataset", val], "no properties to explain with"),
        (str(cosine), ["--dataset", val], "no probabilities"),
    ):
        fails(capsys, main([checkpoint, *more, "--output", str(tmp_path / "out")]), words)
    assert not list((tmp_path / "out").iterdir())
