"""Splits are written in parallel, also when something fails on the way."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from prolab_d2.data.datasets.prepared import PreparedSplit, list_prepared
from prolab_d2.data.preparation import Plan, encode_mask, prepare_split
from prolab_d2.errors import ProLabError
from tests.tools.downloads import ids, jpeg, read, snapshot

NAMES = [f"city/{number:03}" for number in range(100)]
SPLIT = PreparedSplit("toy", "val", "toy/images", "toy/masks/val", (100,), "_image.jpg", "_ids.png")


def plan(mask=lambda name: encode_mask(ids(0, 1), 255)) -> Plan:
    return Plan(SPLIT, NAMES, image=lambda name: jpeg(0), mask=mask)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return tmp_path


def test_all_threads_work_at_once_on_what_is_missing(root: Path) -> None:
    together = threading.Barrier(4, timeout=60)

    def mask(name: str) -> bytes:
        together.wait()  # returns when four threads are here
        return encode_mask(ids(0, 1), 255)

    assert prepare_split(plan(mask), root, workers=4) == (100, 100)
    entries = list_prepared(SPLIT)
    assert [entry["image_id"] for entry in entries] == NAMES
    assert entries[7]["file_name"] == str(root / "toy/images/city/007_image.jpg")
    assert entries[7]["sem_seg_file_name"] == str(root / "toy/masks/val/city/007_ids.png")
    Path(entries[7]["sem_seg_file_name"]).unlink()
    Path(entries[9]["file_name"]).unlink()
    assert prepare_split(plan(), root, workers=1) == (100, 2)


def test_after_a_failure_what_is_there_is_whole_and_the_rest_follows(root: Path) -> None:
    def mask(name: str) -> bytes:
        if name == NAMES[50]:
            raise ProLabError("this one is damaged")
        return encode_mask(ids(0, 1), 255)

    with pytest.raises(ProLabError, match="this one is damaged"):
        prepare_split(plan(mask), root, workers=3)
    masks = sorted((root / "toy/masks/val").rglob("*_ids.png"))
    assert 0 < len(masks) < 100
    assert not list(root.rglob("*.unfinished*"))
    for path in masks:
        np.testing.assert_array_equal(read(path), ids(0, 1))
    with pytest.raises(ProLabError, match="toy val is not complete"):
        list_prepared(SPLIT)
    entries, new = prepare_split(plan(), root, workers=3)
    assert entries == 100 and 100 - len(masks) <= new < 100
    assert len(snapshot(root)) == 201


def test_an_interrupt_ends_it_soon(root: Path) -> None:
    done = []

    def mask(name: str) -> bytes:
        done.append(name)
        return encode_mask(ids(0, 1), 255)

    def progress(items, **options):
        for count, item in enumerate(items):
            if count == 5:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        prepare_split(plan(mask), root, workers=2, progress=progress)
    assert len(done) < 90


@pytest.mark.parametrize("number", [99, 101])
def test_another_number_of_entries_is_refused(root: Path, number: int) -> None:
    names = [f"{index}" for index in range(number)]
    with pytest.raises(ProLabError, match=rf"{number} entries of toy val .* has 100"):
        prepare_split(Plan(SPLIT, names, jpeg, jpeg), root)
    assert not list(root.iterdir())


@pytest.mark.parametrize(
    ("values", "ignore_label", "dtype"),
    [((0, 254, 255), 255, np.uint8), ((0, 255, 256, 846, 65535), 65535, np.uint16)],
)
def test_masks_have_as_many_bits_as_the_ids_need(root: Path, values, ignore_label, dtype) -> None:
    path = root / "mask.png"
    path.write_bytes(encode_mask(ids(*values, dtype=np.int32), ignore_label))
    mask = read(path)
    assert mask.dtype == dtype
    np.testing.assert_array_equal(mask, ids(*values, dtype=dtype))
