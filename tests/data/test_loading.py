"""The training loader: memory and workers."""

from __future__ import annotations

import itertools
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.config import CfgNode

from prolab_d2 import LabelSpace
from prolab_d2.data import PropertyDatasetMapper, register_folder
from prolab_d2.data.loading import build_train_loader
from tests.conftest import make_tiny_cfg
from tests.data.folders import CATEGORIES, make_folder

SIZE = (96, 128)
IMAGE_BYTES = 4 * SIZE[0] * SIZE[1]  # with its mask


def make_cfg(folder: Path, number: int) -> CfgNode:
    """A config that trains on some images and a label space of three categories."""
    make_folder(folder / "images", {"train": number, "val": 1}, size=SIZE)
    space = LabelSpace.from_arrays(CATEGORIES, np.eye(4), np.eye(3, 4, dtype=bool))
    space.save(folder / "space")
    cfg = make_tiny_cfg(folder / "space", folder / "output")
    cfg.DATASETS.TRAIN = (register_folder(folder / "images")["train"],)
    return cfg


def peak_of_epochs(cfg: CfgNode, images: int) -> int:
    """Bytes at the peak while all images are loaded twice."""
    batches = 2 * images // cfg.SOLVER.IMS_PER_BATCH
    tracemalloc.start()
    try:
        loader = iter(build_train_loader(cfg))
        for _ in itertools.islice(loader, batches):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("weights", [(), (1.0,)])
def test_images_of_the_training_set_are_not_kept(
    tmp_path: Path, weights: tuple[float, ...]
) -> None:
    few, many = 4, 40
    peaks = []
    # The first run imports and fills caches.
    for name, number in (("warm", few), ("few", few), ("many", many)):
        cfg = make_cfg(tmp_path / name, number)
        cfg.DATASETS.SAMPLING_WEIGHTS = list(weights)
        peaks.append(peak_of_epochs(cfg, number))
    assert peaks[1] > IMAGE_BYTES
    assert peaks[2] - peaks[1] < 0.2 * (many - few) * IMAGE_BYTES


def test_workers_map_images_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, count = 0.2, 16
    original = PropertyDatasetMapper.__call__

    def slow(self: PropertyDatasetMapper, entry: dict[str, Any]) -> dict[str, Any]:
        time.sleep(seconds)  # waits, so that the number of cores does not matter
        return original(self, entry)

    monkeypatch.setattr(PropertyDatasetMapper, "__call__", slow)
    cfg = make_cfg(tmp_path, 4)
    cfg.SOLVER.IMS_PER_BATCH = 1
    cfg.DATALOADER.NUM_WORKERS = 4
    loader = iter(build_train_loader(cfg))
    next(loader)  # starts the workers
    start = time.perf_counter()
    for _ in itertools.islice(loader, count):
        pass
    assert time.perf_counter() - start < 0.6 * count * seconds
