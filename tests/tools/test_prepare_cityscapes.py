"""Cityscapes: from its ids to train ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from prolab_d2.data import register_all
from tests.data.folders import photograph
from tests.tools.downloads import Files, ids, png, read, shrink, unpack, write_zip
from tools.check_dataset import main as check
from tools.prepare_datasets import cityscapes

# The data set's table of labels: id -> name of those that are evaluated.
LABELS = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole",
    19: "traffic light", 20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky",
    24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train", 32: "motorcycle",
    33: "bicycle",
}  # fmt: skip
CITIES = {"train": ("aachen", "zurich"), "val": ("frankfurt", "munster")}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    register_all()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    shrink(monkeypatch, cityscapes, 2, "SPLITS")
    return tmp_path


def downloads(mask: np.ndarray) -> tuple[Files, Files]:
    images: Files = {"license.txt": b"", "README": b""}
    labels: Files = {"license.txt": b"", "README": b""}
    for split, cities in CITIES.items():
        for city in cities:
            name = f"{split}/{city}/{city}_000001_000019"
            images[f"leftImg8bit/{name}_leftImg8bit.png"] = png(photograph(0, mask.shape))
            labels[f"gtFine/{name}_gtFine_labelIds.png"] = png(mask)
            labels[f"gtFine/{name}_gtFine_color.png"] = png(photograph(0, mask.shape))
            labels[f"gtFine/{name}_gtFine_instanceIds.png"] = png(mask.astype(np.uint16) * 1000)
            labels[f"gtFine/{name}_gtFine_polygons.json"] = b"{}"
    return images, labels


def test_ids_become_train_ids(root: Path, capsys) -> None:
    images, labels = downloads(ids(*range(34), size=(1, 34)))
    write_zip(root / "leftImg8bit_trainvaltest.zip", images)
    write_zip(root / "gtFine_trainvaltest.zip", labels)
    assert cityscapes.main([]) == 0
    names = MetadataCatalog.get("cityscapes_fine_sem_seg_val").stuff_classes
    for split, cities in CITIES.items():
        entries = DatasetCatalog.get(f"cityscapes_fine_sem_seg_{split}")
        stems = [f"{city}/{city}_000001_000019" for city in cities]
        assert [entry["image_id"] for entry in entries] == stems
        for entry, stem in zip(entries, stems, strict=True):
            path = root / f"cityscapes/gtFine/{split}/{stem}_gtFine_labelTrainIds.png"
            assert entry["sem_seg_file_name"] == str(path)
            labels = read(path)[0].tolist()
            assert {i: names[label] for i, label in enumerate(labels) if label != 255} == LABELS
    # The test split is Detectron2's own, which knows nothing of labels that are not public.
    assert check(["cityscapes_fine"]) == 0
    assert "note: data set cityscapes_fine_sem_seg_test cannot" in capsys.readouterr().out


def test_the_unpacked_tree_of_detectron2_is_completed_in_place(root: Path) -> None:
    for files in downloads(ids(7, 33)):
        unpack(root / "cityscapes", files)
    assert cityscapes.main([]) == 0
    made = {path.name for path in root.rglob("*TrainIds.png")}
    assert made == {
        f"{city}_000001_000019_gtFine_labelTrainIds.png"
        for cities in CITIES.values()
        for city in cities
    }
    (entry, _) = DatasetCatalog.get("cityscapes_fine_sem_seg_train")
    np.testing.assert_array_equal(read(entry["sem_seg_file_name"]), ids(0, 18))


@pytest.mark.parametrize("value", [34, 255])
def test_other_ids_are_errors(root: Path, capsys, value: int) -> None:
    """255 is in no label image: one that has it holds train ids already."""
    for files in downloads(ids(7, value)):
        unpack(root / "cityscapes", files)
    assert cityscapes.main([]) == 2
    assert f"label id {value} outside the 19 categories" in capsys.readouterr().err
