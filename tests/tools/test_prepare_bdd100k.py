"""BDD100K: both releases, and masks that are not meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from prolab_d2.data import register_all
from tests.tools.downloads import Files, ids, jpeg, png, read, shrink, snapshot, unpack, write_zip
from tools.check_dataset import main as check
from tools.prepare_datasets import bdd100k

NAMES = ("0004a4c0-d4dff0ad", "00054602-3bf57337")
MASK = png(ids(*range(19), 255))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    register_all()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    shrink(monkeypatch, bdd100k, 2, "SPLITS")
    return tmp_path


def release(mask: bytes = MASK) -> tuple[Files, Files]:
    images: Files = {}
    labels: Files = {"bdd100k/labels/sem_seg/polygons/sem_seg_train.json": b"[]"}
    for split in ("train", "val", "test"):
        for name in NAMES:
            images[f"bdd100k/images/10k/{split}/{name}.jpg"] = jpeg(0)
            if split != "test":
                labels[f"bdd100k/labels/sem_seg/masks/{split}/{name}.png"] = mask
                labels[f"bdd100k/labels/sem_seg/colormaps/{split}/{name}.png"] = png(
                    np.zeros((6, 8, 4), np.uint8)
                )
    return images, labels


def write_release(root: Path, mask: bytes = MASK) -> None:
    images, labels = release(mask)
    write_zip(root / "bdd100k_images_10k.zip", images)
    write_zip(root / "bdd100k_sem_seg_labels_trainval.zip", labels)


def assert_prepared() -> None:
    for split in ("train", "val"):
        entries = DatasetCatalog.get(f"bdd100k_sem_seg_{split}")
        assert [entry["image_id"] for entry in entries] == list(NAMES)
        for entry in entries:
            np.testing.assert_array_equal(read(entry["sem_seg_file_name"]), ids(*range(19), 255))
    assert check(["bdd100k"]) == 0


def test_the_release_is_taken_over(root: Path) -> None:
    write_release(root)
    assert bdd100k.main([]) == 0
    assert_prepared()
    assert not (root / "bdd100k/images/10k/test").exists()


def test_unpacked_nothing_but_the_lists_is_new(root: Path) -> None:
    for files in release():
        unpack(root, files)
    before = snapshot(root)
    assert bdd100k.main([]) == 0
    lists = {f"bdd100k/labels/sem_seg/masks/{split}.txt" for split in ("train", "val")}
    assert snapshot(root).keys() - before == lists
    assert_prepared()


def test_the_release_of_2018_has_other_names(root: Path) -> None:
    files: Files = {}
    for split in ("train", "val"):
        for name in NAMES:
            files[f"bdd100k/seg/images/{split}/{name}.jpg"] = jpeg(0)
            files[f"bdd100k/seg/labels/{split}/{name}_train_id.png"] = MASK
            files[f"bdd100k/seg/color_labels/{split}/{name}_train_color.png"] = png(
                np.zeros((6, 8, 4), np.uint8)
            )
    write_zip(root / "bdd100k_seg.zip", files)
    assert bdd100k.main([]) == 0
    assert_prepared()


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (png(ids(0, 19)), "label id 19 outside the 19 categories"),
        # Panoptic masks: red is one of 40 ids, blue and alpha the instance.
        (png(np.full((6, 8, 4), 7, np.uint8)), "an image of mode RGBA where ids are expected"),
    ],
    ids=["other ids", "panoptic"],
)
def test_masks_of_another_task_are_refused(root: Path, capsys, mask: bytes, sentence: str) -> None:
    write_release(root, mask)
    assert bdd100k.main([]) == 2
    assert sentence in capsys.readouterr().err
