from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prolab_d2.data.dataset_report import check_split, draw_sheet, find_dataset
from prolab_d2.errors import ProLabError
from tests.data.folders import labels, make_folder, photograph, save
from tools.check_dataset import main

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "checked", {"train": 3, "val": 1})


def test_a_good_folder_is_counted_and_ends_with_0(folder: Path, capsys) -> None:
    assert main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert "no problems" in out
    (train,) = [line.split() for line in out.splitlines() if line.startswith("train")]
    assert train == ["train", "3", "3", "32", "x", "24", "3.12", "%", "0"]


def test_the_histogram_counts_pixels_and_images(folder: Path) -> None:
    only_sky = np.full((24, 32), 2, np.uint8)
    save(only_sky, folder / "annotations/train/000.png")
    report = check_split(find_dataset(str(folder))[0])
    masks = [only_sky, labels(1), labels(2)]
    expected = sum(np.bincount(mask.ravel(), minlength=256) for mask in masks)
    assert report.pixels.tolist() == expected[:3].tolist()
    assert report.unlabelled == expected[255]
    assert report.images_with.tolist() == [2, 2, 3]
    assert report.sizes == {(32, 24): 3}


def test_everything_that_is_wrong_is_listed(folder: Path, capsys) -> None:
    images, masks = folder / "images/train", folder / "annotations/train"
    for name in ("small", "unknown", "colours", "damaged", "alone"):
        save(photograph(0), images / f"{name}.png")
    save(labels(0)[:5], masks / "small.png")
    save(np.full((24, 32), 9, np.uint8), masks / "unknown.png")
    save(photograph(0), masks / "colours.png")
    save(labels(0), masks / "damaged.png")
    (images / "damaged.png").write_bytes(b"\x89PNG")
    save(labels(0), masks / "no_image.png")
    assert main([str(folder)]) == 2
    out, err = capsys.readouterr()
    for text in (
        "mask of 32 x 5 pixels",
        "label id 9 outside",
        "mask with colours",
        "unreadable image",
        f"image without a mask, {images / 'alone.png'}",
        f"mask without an image, {masks / 'no_image.png'}",
        "unknown ids: 9 (1 files)",
    ):
        assert text in out
    assert err.strip() == f"error: {folder}: 6 problems, listed above; mend them"


def test_the_list_of_problems_has_a_limit(folder: Path, capsys) -> None:
    for index in range(8):
        save(photograph(0), folder / f"images/train/extra{index}.png")
    assert main([str(folder), "--limit", "3"]) == 2
    out = capsys.readouterr().out
    assert out.count("image without a mask") == 3 and "5 more problems" in out


def test_splits_without_masks_and_absent_categories_are_notes_only(folder: Path, capsys) -> None:
    save(photograph(0), folder / "images/test/a.png")
    (folder / "categories.txt").write_text("road\ntree\nsky\nboat\n")
    assert main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert "no folder annotations/test" in out
    assert "1 of 4 categories never occur: boat" in out


def test_255_in_8_bit_masks_of_many_categories_is_pointed_out(tmp_path: Path, capsys) -> None:
    root = make_folder(tmp_path / "many", {"train": 1})
    (root / "categories.txt").write_text("\n".join(f"c{i}" for i in range(300)))
    main([str(root)])
    assert "1 8-bit masks hold 255, which is a category here" in capsys.readouterr().out


def test_empty_splits_and_missing_folders_end_with_2(tmp_path: Path, capsys) -> None:
    root = make_folder(tmp_path / "empty", {"train": 1})
    (root / "images/val").mkdir()
    assert main([str(root)]) == 2
    assert "empty split" in capsys.readouterr().out
    assert main([str(tmp_path / "none")]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and len(err.strip().splitlines()) == 1
    assert "camvid_sem_seg_val" in err


def test_the_contact_sheet_shows_images_of_every_split(folder: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "new/sheet.png"
    assert main([str(folder), "--contact-sheet", str(sheet), "--samples", "4"]) == 0
    with Image.open(sheet) as picture:
        assert picture.mode == "RGB" and picture.width > 3 * 360 and picture.height > 270


def test_the_contact_sheet_paints_categories_in_their_colours(folder: Path) -> None:
    (folder / "categories.txt").write_text("road #ff0000\ntree #00ff00\nsky #0000ff\n")
    save(np.zeros((24, 32, 3), np.uint8), folder / "images/train/000.png")
    save(np.full((24, 32), 2, np.uint8), folder / "annotations/train/000.png")
    sheet = draw_sheet(find_dataset(str(folder))[:1], number=1)
    assert (sheet == (0, 0, 127)).all(axis=-1).sum() > 0.9 * 360 * 270


def test_a_contact_sheet_needs_readable_images_and_a_picture_name(folder: Path, capsys) -> None:
    assert main([str(folder), "--contact-sheet", str(folder / "sheet.txt")]) == 2
    assert "end the name in .png" in capsys.readouterr().err
    for file in folder.glob("images/*/*.png"):
        file.write_bytes(b"")
    with pytest.raises(ProLabError, match="no image can be read"):
        draw_sheet(find_dataset(str(folder)))


@pytest.mark.real_data
@pytest.mark.skipif(not (SHARED / "camvid").is_dir(), reason="needs ../shared/data/camvid")
def test_a_registered_name_is_enough(monkeypatch, capsys) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(SHARED))
    assert main(["camvid_sem_seg_val"]) == 0
    out = capsys.readouterr().out
    assert "480 x 360" in out and "bicyclist" in out


def test_splits_that_training_would_miss_are_noted(folder: Path, capsys) -> None:
    (folder / "images/val").rename(folder / "images/valid")
    assert main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert "no split val: name the one that takes its place, DATASETS.TEST" in out
    assert "no split train" not in out
    assert "no folder annotations/valid: good for prediction only" in out
