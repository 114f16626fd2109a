"""One clear sentence from train_net.py for every bad input."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from projects.ProLab.train_net import main
from tests.golden import REPOSITORY
from tests.projects.conftest import PROGRAM, Run
from tests.refusals import error_line


def test_corrupt_image(
    run: Run, tiny_dataset_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("0", "1", "2", "3"):
        (tiny_dataset_folder / f"images/train/{name}.png").write_bytes(b"no image")
    assert run() == 2
    assert "images/train/" in error_line(capsys)


def test_missing_mask(
    run: Run, tiny_dataset_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny_dataset_folder / "annotations/train/2.png").unlink()
    assert run() == 2
    assert "2.png" in error_line(capsys)


def test_label_id_outside_the_categories(
    run: Run, tiny_dataset_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for mask in (tiny_dataset_folder / "annotations/train").iterdir():
        Image.new("L", (80, 64), 9).save(mask)
    assert run() == 2
    line = error_line(capsys)
    assert "annotations/train/" in line and "9" in line


def test_mask_of_another_size(
    run: Run, tiny_dataset_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for mask in (tiny_dataset_folder / "annotations/train").iterdir():
        Image.new("L", (40, 32), 1).save(mask)
    assert run() == 2
    line = error_line(capsys)
    assert "annotations/train/" in line


def test_bad_data_in_a_worker_process(
    run: Run, tiny_dataset_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for mask in (tiny_dataset_folder / "annotations/train").iterdir():
        mask.write_bytes(b"no mask")
    assert run("DATALOADER.NUM_WORKERS", 1) == 2
    assert "annotations/train/" in error_line(capsys)


def test_empty_split(
    run: Run, tiny_dataset_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(tiny_dataset_folder / "images/val")
    (tiny_dataset_folder / "images/val").mkdir()
    assert run() == 2
    assert "val" in error_line(capsys)


def test_split_without_masks_is_found_before_the_training(
    run: Run, tiny_dataset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(tiny_dataset_folder / "annotations/val")
    assert run() == 2
    assert "_sem_seg_val has no masks" in error_line(capsys)
    assert not (tmp_path / "output").exists()


def test_missing_split_names_those_that_are_there(
    run: Run, tiny_dataset_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny_dataset_folder / "images/val").rename(tiny_dataset_folder / "images/valid")
    assert run() == 2
    line = error_line(capsys)
    assert "no folder images/val, but train, valid" in line and "DATASETS.TEST" in line


def test_label_space_of_other_categories(
    run: Run, tiny_dataset_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny_dataset_folder / "categories.txt").write_text("sky\nfence\nmeadow\ncar\nsign symbol\n")
    assert run() == 2
    line = error_line(capsys)
    assert "fence" in line and "meadow" in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("MODEL.PROLAB.TEMPRATURE", "1"), "TEMPRATURE"),
        (("SOLVER.MAX_ITER", "many"), "command line"),
        (("MODEL.PROLAB.TEMPERATURE",), "pairs"),
        (("MODEL.PROLAB.LABEL_SPACE", "nowhere"), "nowhere"),
        (("MODEL.PROLAB.LABEL_SPACE", ""), "MODEL.PROLAB.LABEL_SPACE is empty"),
        (("--eval-only",), "MODEL.WEIGHTS"),
        (("MODEL.WEIGHTS", "none.pth"), "none.pth"),
        (("MODEL.DECODE_HEAD.NAME", "Head"), "'Head'"),
        (("SOLVER.OPTIMIZER", "LION"), "LION"),
        (("INPUT.SCALE_RANGE", "[1.0]"), "INPUT.SCALE_RANGE is [1.0]"),
        (("TEST.SLIDING_WINDOW.STRIDE", "[1, 2, 3]"), "TEST.SLIDING_WINDOW.STRIDE"),
        (("MODEL.PROLAB.DROPOUT", "1.5"), "MODEL.PROLAB.DROPOUT is 1.5"),
        (("TEST.BACKGROUND_THRESHOLD", "2.0"), "TEST.BACKGROUND_THRESHOLD is 2.0"),
        (("--num-gpus", "99"), "--num-gpus 99"),
        (("MODEL.DEVICE", "tpu"), "'tpu'"),
        (("SOLVER.MAX_ITER", "0"), "SOLVER.MAX_ITER is 0"),
        (("DATALOADER.NUM_WORKERS", "-1"), "DATALOADER.NUM_WORKERS is -1"),
        (("SOLVER.MAX_ITER", "2", "--resume"), "--resume comes after a KEY VALUE pair"),
    ],
)
def test_bad_settings(
    run: Run, tmp_path: Path, options: tuple, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*options) == 2
    assert words in error_line(capsys)


def test_unknown_key_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "typo.yaml").write_text("VERSION: 2\nMODEL:\n  PROLAB:\n    TEMPRATURE: 1.0\n")
    assert main(["--config-file", str(tmp_path / "typo.yaml")]) == 2
    line = error_line(capsys)
    assert "typo.yaml" in line and "TEMPRATURE" in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("_BASE_: nowhere.yaml\n", "_BASE_"),
        ("", "no keys"),
        ("only text\n", "no keys"),
        ("VERSION: 2\nMODEL: [1\n", "line 2"),
        ("VERSION: 2\nMODEL:\n\tPROLAB: 1\n", "line 3"),
        ("VERSION: 2\nMODEL:\n  PROLAB:\n    TEMPERATURE: warm\n", "TEMPERATURE"),
    ],
)
def test_broken_config_file(
    tmp_path: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.yaml").write_text(text)
    assert main(["--config-file", str(tmp_path / "broken.yaml")]) == 2
    line = error_line(capsys)
    assert "broken.yaml" in line and words in line


def test_no_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "--config-file is missing" in error_line(capsys)


def test_missing_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config-file", "camvid/none.yaml"]) == 2
    line = error_line(capsys)
    assert "camvid/none.yaml" in line and "camvid/lite0_property.yaml" in line


def test_missing_dataset_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config-file", "camvid/lite0_property", "--dataset", str(tmp_path / "no")]) == 2
    assert str(tmp_path / "no") in error_line(capsys)


def test_checkpoint_of_another_label_space(
    run: Run,
    tiny_checkpoint: Path,
    tiny_label_space_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from prolab_d2 import LabelSpace

    space = LabelSpace.load(tiny_label_space_folder)
    other = LabelSpace.from_arrays(space.categories, space.bank + 1, space.signatures)
    other.save(tmp_path / "other")
    options = ("MODEL.PROLAB.LABEL_SPACE", tmp_path / "other", "MODEL.WEIGHTS", tiny_checkpoint)
    assert run("--eval-only", *options) == 2
    assert "another label space" in error_line(capsys)
    assert run("--eval-only", *options, "MODEL.PROLAB.ALLOW_OTHER_LABEL_SPACE", "True") == 0


def test_output_folder_that_is_a_file(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("mine")
    assert run("OUTPUT_DIR", tmp_path / "taken") == 2
    assert "taken" in error_line(capsys)
    assert (tmp_path / "taken").read_text() == "mine"


def test_bad_input_prints_no_traceback_from_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY), prepend=os.pathsep)
    result = subprocess.run(
        [sys.executable, str(PROGRAM), "--config-file", "none"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: config none does not exist")
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []
