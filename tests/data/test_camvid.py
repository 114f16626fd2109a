from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from prolab_d2.data import register_all
from prolab_d2.data.datasets.camvid import CAMVID, SPLITS
from prolab_d2.data.reading import LabelIds, read_sem_seg
from prolab_d2.errors import ProLabError
from tests.data.folders import photograph, save

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def _built_in() -> None:
    # Another test may have registered a folder of this name.
    register_all()


def public_tree(root: Path) -> Path:
    """The release's folders, PNG images and 11 for unlabelled pixels."""
    mask = np.arange(24 * 32, dtype=np.uint8).reshape(24, 32) % 12
    for split in SPLITS:
        save(photograph(0), root / f"camvid/{split}/0001TP.png")
        save(mask, root / f"camvid/{split}annot/0001TP.png")
    return root


def test_the_public_tree_is_read_with_11_as_unlabelled(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(public_tree(tmp_path)))
    label_ids = LabelIds.from_metadata(MetadataCatalog.get("camvid_sem_seg_val"))
    for split in SPLITS:
        (entry,) = DatasetCatalog.get(f"camvid_sem_seg_{split}")
        ids = np.unique(read_sem_seg(entry["sem_seg_file_name"], label_ids))
        assert ids.tolist() == [*range(11), 255]


@pytest.mark.parametrize("place", ["", "elsewhere"])
def test_a_missing_tree_says_what_to_put_where(tmp_path: Path, monkeypatch, place: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    if place:
        monkeypatch.setenv("DETECTRON2_DATASETS", place)
    where = f"{place or 'datasets'}/camvid"
    with pytest.raises(ProLabError, match=f"'train' is not there, {where}: put .* trainannot/"):
        DatasetCatalog.get("camvid_sem_seg_train")


def test_half_a_tree_names_the_first_missing_mask(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(public_tree(tmp_path)))
    (tmp_path / "camvid/valannot/0001TP.png").unlink()
    with pytest.raises(ProLabError, match=r"image without a mask, .*val/0001TP\.png"):
        DatasetCatalog.get("camvid_sem_seg_val")


def test_there_are_11_categories_with_different_colours() -> None:
    assert len(CAMVID.names) == len(set(CAMVID.colors)) == 11
    metadata = MetadataCatalog.get("camvid_sem_seg_train")
    assert metadata.stuff_classes[:4] == ["sky", "building", "pole", "road"]
    assert metadata.stuff_classes[-1] == "bicyclist"


@pytest.mark.real_data
@pytest.mark.skipif(not (SHARED / "camvid").is_dir(), reason="needs ../shared/data/camvid")
def test_the_real_images_have_the_published_numbers(monkeypatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(SHARED))
    numbers = [len(DatasetCatalog.get(f"camvid_sem_seg_{split}")) for split in SPLITS]
    assert numbers == [367, 101, 233]
    label_ids = LabelIds.from_metadata(MetadataCatalog.get("camvid_sem_seg_train"))
    for entry in DatasetCatalog.get("camvid_sem_seg_train")[::60]:
        assert read_sem_seg(entry["sem_seg_file_name"], label_ids, (360, 480)).shape == (360, 480)
