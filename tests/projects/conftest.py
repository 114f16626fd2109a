"""What the tests of the programs share: runs of train_net.py, photographs, a video, refusals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.config import CfgNode
from PIL import Image

from projects.ProLab.train_net import main
from tests.conftest import tiny_scene
from tests.golden import REPOSITORY

PROGRAM = REPOSITORY / "projects/ProLab/train_net.py"
Run = Callable[..., int]
LOGGERS = ("detectron2", "fvcore", "prolab_d2")


@pytest.fixture
def run(tiny_cfg: CfgNode, tiny_dataset_folder: Path, tmp_path: Path) -> Iterator[Run]:
    """Runs the program with the tiny config and data set, and more arguments."""
    config = tmp_path / "tiny.yaml"
    config.write_text(tiny_cfg.dump())
    handlers = {name: list(logging.getLogger(name).handlers) for name in LOGGERS}
    # Each run sets up a log of its own.
    from detectron2.utils import logger

    logger.setup_logger.cache_clear()
    yield lambda *more: main(
        ["--config-file", str(config), "--dataset", str(tiny_dataset_folder), *map(str, more)]
    )
    for name, before in handlers.items():
        logging.getLogger(name).handlers[:] = before


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three images of 80 x 64, one of them in upper case, and a text file."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, name in enumerate(("a.png", "b.JPG", "c.png")):
        Image.fromarray(tiny_scene(np.random.default_rng(i))[0]).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Five frames of 80 x 64."""
    path = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12.0, (80, 64))
    for i in range(5):
        writer.write(tiny_scene(np.random.default_rng(i))[0][:, :, ::-1])
    writer.release()
    return path
