"""ADE20K, and with it what all programs in tools/prepare_datasets have in common."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from prolab_d2.data import register_all
from prolab_d2.errors import ProLabError
from tests.golden import REPOSITORY
from tests.tools.downloads import Files, ids, jpeg, png, read, shrink, snapshot, unpack, write_zip
from tools.check_dataset import main as check
from tools.prepare_datasets import ade20k

TRAIN = "ADEChallengeData2016/{}/training/ADE_train_0000000{}.{}"
VAL = "ADEChallengeData2016/{}/validation/ADE_val_0000000{}.{}"
MASKS = "ADEChallengeData2016/annotations_detectron2"


def release() -> Files:
    """ADEChallengeData2016.zip with three images a split."""
    files = {
        "ADEChallengeData2016/objectInfo150.txt": b"Idx\tRatio\tTrain\tVal\tStuff\tName\n",
        "ADEChallengeData2016/images/.DS_Store": b"",
    }
    for form in (TRAIN, VAL):
        for number in (1, 2, 3):
            files[form.format("images", number, "jpg")] = jpeg(number)
            files[form.format("annotations", number, "png")] = png(ids(0, 1, number, 150))
    return files


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    register_all()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    shrink(monkeypatch, ade20k, 3, "SPLITS")
    return tmp_path / "datasets"


@pytest.fixture
def archive(root: Path) -> Path:
    return write_zip(root / "ADEChallengeData2016.zip", release())


def test_0_becomes_unlabelled_and_the_others_move_down(root: Path, archive: Path, capsys) -> None:
    assert ade20k.main([]) == 0
    (first, *others) = DatasetCatalog.get("ade20k_sem_seg_val")
    assert len(others) == 2
    assert first["image_id"] == "ADE_val_00000001"
    np.testing.assert_array_equal(read(first["sem_seg_file_name"]), ids(255, 0, 0, 149))
    assert Path(first["file_name"]).read_bytes() == jpeg(1)
    assert "train: 3 images with masks" in capsys.readouterr().out
    assert check(["ade20k"]) == 0
    assert "no problems" in capsys.readouterr().out


def test_a_second_run_does_nothing(root: Path, archive: Path, capsys) -> None:
    ade20k.main([])
    before = {path: path.stat().st_mtime_ns for path in (root / MASKS).rglob("*.png")}
    assert len(before) == 6
    assert ade20k.main([]) == 0
    assert {path: path.stat().st_mtime_ns for path in (root / MASKS).rglob("*.png")} == before
    assert capsys.readouterr().out.count("0 of them new") == 2


def test_unpacked_folders_stay_where_they_are(root: Path) -> None:
    unpack(root, release())
    before = snapshot(root)
    assert ade20k.main([]) == 0
    after = snapshot(root)
    assert before.items() <= after.items()
    assert {Path(name).parts[1] for name in after.keys() - before} == {"annotations_detectron2"}


def test_splits_that_are_not_prepared_are_noted(root: Path, archive: Path, capsys) -> None:
    assert check(["ade20k"]) == 2
    assert "ade20k train is not there" in capsys.readouterr().err
    ade20k.main(["--splits", "val"])
    assert check(["ade20k"]) == 0
    assert "note: ade20k train is not there" in capsys.readouterr().out
    assert check(["ade20k_sem_seg_train"]) == 2


def test_the_release_may_lie_elsewhere(root: Path, tmp_path: Path) -> None:
    write_zip(tmp_path / "disk/ADEChallengeData2016.zip", release())
    assert ade20k.main(["--source", str(tmp_path / "disk"), "--splits", "val"]) == 0
    assert len(DatasetCatalog.get("ade20k_sem_seg_val")) == 3


def test_a_sample_grows_and_never_shrinks(root: Path, archive: Path, capsys) -> None:
    assert ade20k.main(["--limit", "1"]) == 0
    assert "val: 1 of 3 images" in capsys.readouterr().out
    assert len(DatasetCatalog.get("ade20k_sem_seg_val")) == 1
    for limit, expected in (("2", 2), ("3", 3), ("1", 3)):
        assert ade20k.main(["--limit", limit]) == 0
        assert len(DatasetCatalog.get("ade20k_sem_seg_val")) == expected


def test_without_the_download_it_says_what_to_get_and_where_to_put_it(root: Path, capsys) -> None:
    assert ade20k.main([]) == 2
    out, err = capsys.readouterr()
    assert f"$DETECTRON2_DATASETS (now {root})" in out
    assert "sceneparsing.csail.mit.edu" in out
    assert err.startswith("error: neither ADEChallengeData2016.zip nor the folder")
    assert not root.exists()


def test_an_incomplete_download_is_refused_before_anything_is_written(root: Path, capsys) -> None:
    files = release()
    del files[TRAIN.format("annotations", 2, "png")]
    unpack(root, files)
    assert ade20k.main([]) == 2
    assert "2 entries of ade20k train where the data set has 3" in capsys.readouterr().err
    assert not (root / MASKS).exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (png(ids(0, 151)), "label id 151 outside the 150 categories"),
        (png(ids(0, 255)), "label id 255 outside the 150 categories"),
        (png(np.zeros((6, 8, 3), np.uint8)), "an image of mode RGB where ids are expected"),
        (b"\x89PNG\r\n", "no readable image"),
    ],
    ids=["151", "255", "colours", "damaged"],
)
def test_a_wrong_mask_is_named(root: Path, capsys, content: bytes, sentence: str) -> None:
    files = release()
    name = VAL.format("annotations", 2, "png")
    files[name] = content
    archive = write_zip(root / "ADEChallengeData2016.zip", files)
    assert ade20k.main([]) == 2
    err = capsys.readouterr().err
    assert sentence in err and f"{archive}/{name}" in err


def test_a_missing_image_is_named(root: Path, capsys) -> None:
    files = release()
    del files[VAL.format("images", 2, "jpg")]
    write_zip(root / "ADEChallengeData2016.zip", files)
    assert ade20k.main([]) == 2
    assert "ADE_val_00000002.jpg is missing in" in capsys.readouterr().err


def test_a_damaged_archive_is_named(root: Path, capsys) -> None:
    path = root / "ADEChallengeData2016.zip"
    root.mkdir()
    path.write_bytes(b"not a zip at all")
    assert ade20k.main([]) == 2
    assert f"archive {path} cannot be read" in capsys.readouterr().err
    write_zip(path, release())
    content = bytearray(path.read_bytes())
    place = content.index(png(ids(0, 1, 2, 150)))
    content[place + 60] ^= 0xFF
    path.write_bytes(content)
    assert ade20k.main([]) == 2
    assert "cannot be read (Bad CRC-32" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--limit", "0"], "--limit 0 is not possible"),
        (["--workers", "0"], "--workers 0 is not possible"),
        (["--source", "nowhere"], "--source nowhere is no folder"),
    ],
)
def test_impossible_options_are_refused(root: Path, capsys, options, sentence: str) -> None:
    assert ade20k.main(options) == 2
    assert sentence in capsys.readouterr().err


def test_half_a_tree_says_what_is_missing_and_what_makes_it(root: Path, archive: Path) -> None:
    with pytest.raises(
        ProLabError,
        match=r"ade20k train is not there, .*/training: run "
        r"python tools/prepare_datasets/ade20k\.py --splits train",
    ):
        DatasetCatalog.get("ade20k_sem_seg_train")
    ade20k.main([])
    (root / MASKS / "training/ADE_train_00000002.png").unlink()
    (root / "ADEChallengeData2016/images/training/ADE_train_00000003.jpg").unlink()
    with pytest.raises(
        ProLabError, match=r"ADE_train_00000002\.png is missing and 1 more: run .*ade20k\.py"
    ):
        DatasetCatalog.get("ade20k_sem_seg_train")
    assert ade20k.main([]) == 0
    assert len(DatasetCatalog.get("ade20k_sem_seg_train")) == 3


def test_a_tree_of_detectron2_needs_all_its_masks(root: Path, archive: Path, monkeypatch) -> None:
    ade20k.main([])
    (root / f"{MASKS}/validation.txt").unlink()  # Detectron2's own program writes none
    with pytest.raises(ProLabError, match="3 of 2000 masks of ade20k val"):
        DatasetCatalog.get("ade20k_sem_seg_val")


KILLED = """
import dataclasses, os, signal, sys
from pathlib import Path
from tools.prepare_datasets import ade20k
ade20k.SPLITS = {"val": dataclasses.replace(ade20k.SPLITS["val"], counts=(3,))}
replace = os.replace
for kill_at in range(1, 8):
    if os.fork():
        assert os.wait()[1] == signal.SIGKILL
        continue
    steps = iter(range(1, kill_at))
    def dying(*names):
        if next(steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*names)
    os.replace = dying
    os.environ["DETECTRON2_DATASETS"] = f"{sys.argv[1]}/{kill_at}"
    ade20k.main(["--workers", "1", "--source", sys.argv[1]])
    os._exit(1)
"""


def test_killed_at_any_moment_it_goes_on_to_the_same_files(root: Path, monkeypatch) -> None:
    """A process dies before its n-th renaming: of the list, then image and mask of each entry."""
    write_zip(root / "ADEChallengeData2016.zip", release())
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", KILLED, str(root)]
    subprocess.run(command, env=environment, cwd=REPOSITORY, check=True)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root / "whole"))
    assert ade20k.main(["--splits", "val", "--source", str(root)]) == 0
    whole = snapshot(root / "whole")
    assert len(whole) == 7
    for kill_at in range(1, 8):
        monkeypatch.setenv("DETECTRON2_DATASETS", str(root / str(kill_at)))
        assert len(snapshot(root / str(kill_at))) == kill_at  # one of them unfinished
        with pytest.raises(
            ProLabError, match=r"(is not there|is missing).*ade20k\.py --splits val"
        ):
            DatasetCatalog.get("ade20k_sem_seg_val")
        assert ade20k.main(["--splits", "val", "--source", str(root)]) == 0
        assert snapshot(root / str(kill_at)) == whole
