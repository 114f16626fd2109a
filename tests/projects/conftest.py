"""train_net.py, run with the tiny config and data set."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from detectron2.config import CfgNode

from projects.ProLab.train_net import main
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


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed on stderr: one sentence, and no traceback anywhere."""
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    lines = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, captured.err
    return lines[0]
