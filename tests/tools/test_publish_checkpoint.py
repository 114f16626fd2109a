"""A checkpoint that is handed on: the same answers, no paths, no state of the training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prolab_d2 import Predictor
from prolab_d2.checkpoint import read_checkpoint, read_tensors
from tests.conftest import tiny_scene
from tools import publish_checkpoint


def test_paths_and_training_go_and_answers_stay(tiny_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "public.pth"
    assert str(tiny_checkpoint.parent) in read_checkpoint(tiny_checkpoint).config
    assert publish_checkpoint.main([str(tiny_checkpoint), "--output", str(output)]) == 0
    public = read_checkpoint(output)
    assert str(tiny_checkpoint.parent.parent) not in public.config
    assert set(read_tensors(output)) == {"model", "prolab"}
    image = tiny_scene(np.random.default_rng(0))[0]
    before, after = (Predictor.from_checkpoint(p, "cpu")(image) for p in (tiny_checkpoint, output))
    assert (before.labels == after.labels).all() and before.categories == after.categories


def test_what_cannot_be_written_is_one_sentence(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for output in (tmp_path / "a.zip", tiny_checkpoint):
        assert publish_checkpoint.main([str(tiny_checkpoint), "--output", str(output)]) == 2
    assert publish_checkpoint.main(["none.pth", "--output", str(tmp_path / "a.pth")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3
