"""COCO-Stuff: the map of ids with gaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from prolab_d2.data import register_all
from tests.tools.downloads import ids, jpeg, png, read, shrink, write_zip
from tools.check_dataset import main as check
from tools.prepare_datasets import coco_stuff_164k

# Lines of the data set's labels.txt around its gaps, and its ends.
LABELS = {
    1: "person", 11: "fire hydrant", 13: "stop sign", 25: "giraffe", 27: "backpack",
    28: "umbrella", 31: "handbag", 44: "bottle", 46: "wine glass", 65: "bed", 67: "dining table",
    70: "toilet", 72: "tv", 82: "refrigerator", 84: "book", 90: "toothbrush", 92: "banner",
    96: "building-other", 182: "wood",
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    register_all()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    shrink(monkeypatch, coco_stuff_164k, 1, "SPLITS")
    return tmp_path


def download(root: Path, mask: np.ndarray) -> None:
    for split in ("train", "val"):
        write_zip(root / f"{split}2017.zip", {f"{split}2017/000000000139.jpg": jpeg(0, mask.shape)})
    maps = {f"{split}2017/000000000139.png": png(mask) for split in ("train", "val")}
    write_zip(root / "stuffthingmaps_trainval2017.zip", maps)


def test_every_number_of_a_label_becomes_the_category_of_its_name(root: Path) -> None:
    download(root, ids(*(number - 1 for number in LABELS), 255, size=(1, 20)))
    assert coco_stuff_164k.main([]) == 0
    for split in ("train", "val"):
        name = f"coco_stuff_164k_sem_seg_{split}"
        (entry,) = DatasetCatalog.get(name)
        categories = MetadataCatalog.get(name).stuff_classes
        labels = read(entry["sem_seg_file_name"])[0].tolist()
        assert [categories[label] for label in labels[:-1]] == list(LABELS.values())
        assert labels[-1] == 255
        assert entry["file_name"] == str(root / f"coco/{split}2017/000000000139.jpg")
    assert check(["coco_stuff_164k"]) == 0


def test_all_171_categories_are_reached_and_the_gaps_are_errors(root: Path, capsys) -> None:
    numbers = coco_stuff_164k.NUMBERS
    assert len(numbers) == 171
    mask = ids(*(number - 1 for number in numbers), size=(1, 171))
    np.testing.assert_array_equal(coco_stuff_164k.LABEL_IDS.decode(mask, "")[0], np.arange(171))
    for number in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91):
        assert coco_stuff_164k.LABEL_IDS.unknown_ids(ids(number - 1)).tolist() == [number - 1]
    download(root, ids(0, 25))  # 26: hat
    assert coco_stuff_164k.main([]) == 2
    assert "label id 25 outside the 171 categories" in capsys.readouterr().err


def test_one_split_needs_the_images_of_that_split_alone(root: Path, capsys) -> None:
    download(root, ids(0, 181))
    (root / "train2017.zip").unlink()
    assert coco_stuff_164k.main(["--splits", "val"]) == 0
    assert coco_stuff_164k.main([]) == 2
    out, err = capsys.readouterr()
    assert "neither train2017.zip nor the folder coco/train2017" in err
    assert f"stuffthingmaps_trainval2017.zip (found: {root}" in out


def test_downloads_may_lie_in_the_folder_of_the_data_set(root: Path) -> None:
    download(root / "coco", ids(0, 181))
    assert coco_stuff_164k.main([]) == 0
