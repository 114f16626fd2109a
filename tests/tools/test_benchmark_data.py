"""The cases mapper and label-space of the benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tools.benchmark import main


def _contests(argv: list[str], folder: Path) -> list[dict[str, Any]]:
    assert main([*argv, "--runs", "1", "--no-memory", "--json", str(folder / "f.json")]) == 0
    return json.loads((folder / "f.json").read_text())["contests"]


def test_both_mappers_give_the_same_samples(tmp_path: Path) -> None:
    for name in ("jpg", "png"):
        argv = ["mapper", "--size", "48", "64", "--images", "2", "--format", name]
        (mappers,) = _contests(argv, tmp_path)
        assert list(mappers["sides"])[:2] == ["ours", "detectron2, same"]
        assert mappers["difference"] == 0
        assert mappers["goals"][0]["limit"] == 1


def test_the_loader_runs_with_and_without_workers(tmp_path: Path) -> None:
    argv = ["mapper", "--size", "48", "64", "--images", "1", "--workers", "0", "1"]
    _, loaders = _contests(argv, tmp_path)
    assert list(loaders["sides"]) == ["0 workers", "1 workers"]


def test_label_spaces_are_loaded_and_changed(tmp_path: Path) -> None:
    argv = ["label-space", "--label-spaces", "camvid", "--merge"]
    (contest,) = _contests(argv, tmp_path)
    assert list(contest["sides"]) == [
        "load", "subset of half", "extend by 10", "merge with camvid"
    ]  # fmt: skip
    assert contest["goals"][0]["quantity"] == "seconds"


def test_bad_options_are_refused(capsys) -> None:
    assert main(["mapper", "--images", "0"]) == 2
    assert "--images" in capsys.readouterr().err
