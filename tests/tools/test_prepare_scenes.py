"""Drawing the built-in scenes ahead of their first use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools.prepare_datasets.scenes import main


def test_it_draws_what_is_missing_and_says_so(tmp_path: Path, capsys) -> None:
    counts = ["--train", "0", "--val", "2", "--test", "0"]
    assert main(["--output", str(tmp_path / "mine"), *counts]) == 0
    assert f"2 scenes in {tmp_path / 'mine'}, 2 of them new" in capsys.readouterr().out
    assert sorted(os.listdir(tmp_path / "mine/images/val")) == ["00000.png", "00001.png"]
    assert main(["--output", str(tmp_path / "mine"), *counts]) == 0
    assert "0 of them new" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--train", "-1"], "--train -1 is not possible"),
        (["--train", "0", "--val", "0", "--test", "0"], "no scenes to draw"),
        (["--workers", "0"], "--workers 0 is not possible"),
    ],
)
def test_impossible_numbers_are_refused(
    tmp_path: Path, capsys, options: list[str], sentence: str
) -> None:
    assert main(["--output", str(tmp_path / "mine"), *options]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


def test_without_an_output_they_go_where_the_data_sets_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert main(["--train", "0", "--val", "1", "--test", "0"]) == 0
    assert (tmp_path / "scenes/images/val/00000.png").is_file()
