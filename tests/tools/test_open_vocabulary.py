"""The held-out protocol as a program."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from detectron2.config import CfgNode

from prolab_d2 import LabelSpace
from prolab_d2.label_space import build_label_space
from tests.golden import REPOSITORY
from tests.label_space.conftest import WordEncoder
from tools import open_vocabulary

SENTENCES = {
    "sky": ("wide and even", "blue"),
    "meadow": ("wide and even", "stands on the ground", "green blades"),
    "fence": ("stands on the ground", "painted metal", "upright bars"),
    "car": ("painted metal", "stands on the ground", "wide and even", "black wheels"),
    "sign symbol": ("painted metal", "round plate"),
}


@pytest.fixture
def config(tiny_cfg: CfgNode, tiny_dataset_folder: Path, tmp_path: Path) -> Path:
    build_label_space(SENTENCES, WordEncoder(), 7).save(tmp_path / "space")
    tiny_cfg.MODEL.PROLAB.LABEL_SPACE = str(tmp_path / "space")
    tiny_cfg.DATASETS.FOLDER = str(tiny_dataset_folder)
    (tmp_path / "tiny.yaml").write_text(tiny_cfg.dump())
    return tmp_path / "tiny.yaml"


def arguments(config: Path, *held_out: str) -> list[str]:
    output = config.parent / "runs"
    return [
        "--config", str(config), "--held-out", *held_out, "--output", str(output),
        "--record", str(config.parent / "record.json"),
    ]  # fmt: skip


def test_candidates_are_listed_with_what_the_others_teach(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert open_vocabulary.main(["--config", str(config), "--candidates"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 5
    rows = {cells[1].strip(): cells for cells in (line.split("|") for line in lines[2:])}
    assert rows["car"][-2].strip() == "yes" and rows["sky"][-2].strip() == "no"


def test_bad_input_is_one_sentence_and_trains_nothing(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for given, words in (
        (["--config", str(config)], "--held-out, --output and --record are needed"),
        (["--config", "none", "--candidates"], "config none does not exist"),
        (arguments(config, "lorry"), "lorry"),
        ([*arguments(config, "car"), "--cost", "-1"], "--cost -1.0: give points of mIoU"),
        ([*arguments(config, "car"), "--jobs", "0"], "--jobs 0: give a number from 1"),
        (arguments(config, "sky"), "'sky' has 1 properties that 2 or more seen categories have"),
    ):
        assert open_vocabulary.main(given) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line
    assert not (config.parent / "runs/property").exists()


def test_a_folder_of_other_held_out_categories_is_kept(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = config.parent / "runs/label_space"
    space = LabelSpace.load(config.parent / "space")
    open_vocabulary.prepare(space, ["car"], folder)
    before = {file: file.read_bytes() for file in folder.iterdir()}
    assert open_vocabulary.main(arguments(config, "meadow")) == 2
    assert "belongs to other held-out categories" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in folder.iterdir()} == before


@pytest.mark.slow  # three trainings and three tests in processes of their own
def test_the_protocol_is_run_once_and_recorded(
    config: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY), prepend=os.pathsep)
    assert open_vocabulary.main(arguments(config, "car")) == 0
    first = capfd.readouterr().out
    record = json.loads((config.parent / "record.json").read_text())
    assert record["seen_categories"] == ["sky", "meadow", "fence", "sign symbol"]
    assert record["conditions"][0]["category"] == "car"
    assert set(record["runs"]) == {"property", "text", "category"}
    (dataset,) = record["datasets"]
    for run in record["runs"].values():
        entries = run["tests"][dataset]["categories"]
        assert [entry["name"] for entry in entries if not entry["seen"]] == ["car"]
        assert run["sessions"][0]["cpu_s"] > 0 and len(run["evaluations"]) == 1
    row = next(line for line in first.splitlines() if line.startswith("| car") and "unseen" in line)
    shown = record["runs"]["property"]["tests"][dataset]["percent"]["extend"]["mIoU_unseen"]
    assert f"{shown:.2f}" in row
    for supervision, way in (("property", "extend"), ("text", "swap"), ("category", "conse")):
        test = record["runs"][supervision]["tests"][dataset]
        assert set(test["percent"]) >= {way, f"{way}_stacked"}
        assert set(test["stacking"][way]["offsets"]) == {"car"}
        assert test["stacking"][way]["cost"] == 1.0
    assert "IoU, mixed categories, stacked" in first and "nearest category, stacked" not in first

    # Another cost repeats the tests, not the trainings.
    one = ["--supervisions", "category", "--cost", "0"]
    assert open_vocabulary.main([*arguments(config, "car"), *one]) == 0
    without = capfd.readouterr().out
    assert ": training" not in without and ": test on" in without and "stacked" not in without
    assert open_vocabulary.main(arguments(config, "car")) == 0
    again = capfd.readouterr().out
    assert again.count(": test on") == 1 and again.splitlines()[-10:] == first.splitlines()[-10:]

    # Again: everything is taken from the records, also without the checkpoints.
    for file in (config.parent / "runs").glob("*/*.pth"):
        file.unlink()
    assert open_vocabulary.main(arguments(config, "car")) == 0
    second = capfd.readouterr().out
    assert ": training" not in second and second.splitlines()[-10:] == first.splitlines()[-10:]
    assert json.loads((config.parent / "record.json").read_text()) == record
    assert open_vocabulary.main([*arguments(config, "car"), "--seed", "1"]) == 2
    assert "other settings" in capfd.readouterr().err
