"""Data sets without some categories: same files, fewer ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from prolab_d2 import ProLabError
from prolab_d2.data import LabelIds, leave_out, read_sem_seg, register_dataset, register_folder
from tests.conftest import TINY_CATEGORIES


def test_pixels_of_left_out_categories_are_unlabelled(tiny_dataset_folder: Path) -> None:
    name = register_folder(tiny_dataset_folder)["train"]
    without = leave_out(name, ["meadow", "sign symbol"])
    assert without == f"{name}_without_meadow+sign_symbol"
    metadata, original = MetadataCatalog.get(without), MetadataCatalog.get(name)
    assert metadata.stuff_classes == ["sky", "fence", "car"]
    assert metadata.stuff_colors == [original.stuff_colors[i] for i in (0, 2, 3)]
    assert DatasetCatalog.get(without) == DatasetCatalog.get(name)
    file = DatasetCatalog.get(without)[0]["sem_seg_file_name"]
    before = read_sem_seg(file, LabelIds.from_metadata(original))
    after = read_sem_seg(file, LabelIds.from_metadata(metadata))
    assert set(np.unique(before)) == {0, 1, 2, 3, 4, 255}
    for old, new in {0: 0, 1: 255, 2: 1, 3: 2, 4: 255, 255: 255}.items():
        assert (after[before == old] == new).all()


def test_an_id_that_was_unknown_stays_unknown(tmp_path: Path) -> None:
    """File ids 1, 2, 3 are categories, 0 is none; 7 means unlabelled."""
    register_dataset(
        "ids_from_one",
        lambda: [],
        stuff_classes=["a", "b", "c"],
        ignore_label=255,
        label_map={0: -1, 1: 0, 2: 1, 3: 2, 7: 255},
    )
    ids = LabelIds.from_metadata(MetadataCatalog.get(leave_out("ids_from_one", ["b"])))
    mask = np.array([[1, 2, 3, 7, 255]], dtype=np.uint8)
    Image.fromarray(mask).save(tmp_path / "good.png")
    assert read_sem_seg(tmp_path / "good.png", ids).tolist() == [[0, 255, 1, 255, 255]]
    assert ids.unknown_ids(np.array([[0, 1, 3, 4, 8]], dtype=np.uint8)).tolist() == [0, 4, 8]


def test_leaving_out_twice_is_leaving_out_once(tiny_dataset_folder: Path) -> None:
    name = register_folder(tiny_dataset_folder)["train"]
    without = leave_out(name, ["car"])
    assert leave_out(without, ["car"]) == without
    assert leave_out(name, []) == name


def test_bad_names(tiny_dataset_folder: Path) -> None:
    name = register_folder(tiny_dataset_folder)["train"]
    with pytest.raises(ProLabError, match="'lorry', which is no category .* sky, meadow"):
        leave_out(name, ["lorry"])
    with pytest.raises(ProLabError, match="names every category"):
        leave_out(name, TINY_CATEGORIES)
    with pytest.raises(ProLabError, match="nowhere is not known"):
        leave_out("nowhere", ["car"])
