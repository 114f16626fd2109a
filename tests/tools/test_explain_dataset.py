from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.config import CfgNode
from PIL import Image

from prolab_d2.data import register_folder
from tests.conftest import TINY_CATEGORIES, save_tiny_checkpoint
from tests.refusals import fails
from tools.explain_dataset import main


def test_the_report_covers_every_category_and_cell(
    tiny_checkpoint: Path, tiny_dataset_folder: Path, tmp_path: Path
) -> None:
    dataset = register_folder(tiny_dataset_folder)["val"]
    output = tmp_path / "out"
    assert main([str(tiny_checkpoint), "--dataset", dataset, "--output", str(output)]) == 0
    assert sorted(path.name for path in output.iterdir()) == [
        "explanations.json", "explanations.md"
    ]  # fmt: skip
    data = json.loads((output / "explanations.json").read_text())
    assert data["data_set"] == dataset
    assert [entry["name"] for entry in data["categories"]] == list(TINY_CATEGORIES)
    masks = [np.asarray(Image.open(p)) for p in (tiny_dataset_folder / "annotations/val").iterdir()]
    assert data["pixels"]["predicted"] == sum(mask.size // 16 for mask in masks)
    cells = np.stack([mask[2::4, 2::4] for mask in masks])
    counts = [entry["labelled_pixels"] for entry in data["categories"]]
    assert counts == np.bincount(cells[cells != 255], minlength=5).tolist()
    wrong = sum(pair["pixels"] for pair in data["confusions"])
    assert 0 < wrong <= data["pixels"]["labelled"] == sum(counts)


def test_categories_that_the_model_does_not_have_are_unlabelled(
    tiny_cfg: CfgNode, tiny_dataset_folder: Path, tiny_label_space, tmp_path: Path
) -> None:
    tiny_label_space.subset(["car", "sky"]).save(tmp_path / "two")
    tiny_cfg.MODEL.PROLAB.LABEL_SPACE = str(tmp_path / "two")
    checkpoint = save_tiny_checkpoint(tiny_cfg, tmp_path)
    dataset = register_folder(tiny_dataset_folder)["val"]
    assert main([str(checkpoint), "--dataset", dataset, "--output", str(tmp_path / "out")]) == 0
    data = json.loads((tmp_path / "out/explanations.json").read_text())
    assert [entry["name"] for entry in data["categories"]] == ["car", "sky"]
    masks = [np.asarray(Image.open(p)) for p in (tiny_dataset_folder / "annotations/val").iterdir()]
    cells = np.stack([mask[2::4, 2::4] for mask in masks])
    counts = [entry["labelled_pixels"] for entry in data["categories"]]
    assert counts == [(cells == 3).sum(), (cells == 0).sum()]


def test_what_cannot_be_explained_is_one_sentence(
    tiny_cfg: CfgNode,
    tiny_checkpoint: Path,
    tiny_dataset_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [f"other {i}" for i in range(5)]
    (tiny_dataset_folder / "categories.txt").write_text("\n".join(names) + "\n")
    other = register_folder(tiny_dataset_folder)["val"]
    (tmp_path / "file").write_text("kept")
    tiny_cfg.MODEL.PROLAB.SUPERVISION = "category"
    one_hot = save_tiny_checkpoint(tiny_cfg, tmp_path)
    output = ["--output", str(tmp_path / "out")]
    for args, words in (
        ([str(tiny_checkpoint), "--dataset", "nowhere", *output], "nowhere is not known"),
        ([str(tiny_checkpoint), "--dataset", other, *output], "has no category of the checkpoint"),
        ([str(tiny_checkpoint), "--dataset", other, *output, "--images", "0"], "--images 0"),
        ([str(one_hot), "--dataset", other, *output], "no properties to explain with"),
        ([str(tiny_checkpoint), "--dataset", other, "--output", str(tmp_path / "file")], "write"),
    ):
        fails(capsys, main(args), words)
    assert not list((tmp_path / "out").iterdir())
