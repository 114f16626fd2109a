from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prolab_d2 import ProLabError
from prolab_d2.canvas import (
    SMALL,
    contact_sheet,
    save_picture,
    size_at_width,
    text_width,
    wrap,
)

LONG = "a surface of weathered horizontal planks that are nailed to upright wooden posts"


def picture(height: int, width: int, value: int = 0) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


@pytest.mark.parametrize("width", [90, 150, 400])
def test_wrapped_text_keeps_every_word_and_fits(width: int) -> None:
    lines = wrap(LONG, SMALL, width)
    assert " ".join(lines) == LONG
    assert max(text_width(line, SMALL) for line in lines) <= width


def test_a_word_wider_than_the_room_is_split_and_not_cut() -> None:
    lines = wrap("x" * 100 + " end", SMALL, 120)
    assert "".join(lines).replace(" ", "") == "x" * 100 + "end"
    assert max(text_width(line, SMALL) for line in lines) <= 120


def test_no_line_breaks_at_a_no_break_space() -> None:
    room = text_width("a long (mean", SMALL)
    assert wrap("a long (mean 0.12)", SMALL, room) == ["a long (mean", "0.12)"]
    assert wrap("a long (mean\u00a00.12)", SMALL, room) == ["a long", "(mean\u00a00.12)"]


def test_an_empty_text_is_one_empty_line() -> None:
    assert wrap("", SMALL, 100) == [""]


def test_contact_sheet_places_pictures_of_several_sizes_in_rows() -> None:
    tiles = [picture(40, 60, 200), picture(80, 60, 100), picture(20, 30, 50)]
    sheet = contact_sheet(tiles, ["one", LONG, "three"], columns=2)
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == 2 * 60 + 3 * 16
    for value, area in ((200, 40 * 60), (100, 80 * 60)):
        assert (sheet == value).all(axis=2).sum() >= area
    # The third is enlarged to the width of the others.
    assert (sheet == 50).all(axis=2).sum() >= 40 * 60


def test_a_column_of_pixels_does_not_become_a_tower() -> None:
    assert size_at_width(picture(30, 40), 400) == (400, 300)
    assert size_at_width(picture(1, 2000), 400) == (400, 1)
    assert size_at_width(picture(5000, 1), 400) == (400, 1600)
    assert contact_sheet([picture(5000, 1)], ["high"], tile_width=100).shape[0] < 500


def test_saving_writes_the_format_of_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "new" / "picture.JPG"
    save_picture(picture(8, 9, 77), path)
    with Image.open(path) as saved:
        assert (saved.format, saved.size) == ("JPEG", (9, 8))
    assert [entry.name for entry in path.parent.iterdir()] == ["picture.JPG"]


@pytest.mark.parametrize("name", ["picture", "picture.xyz", "picture.webm"])
def test_a_suffix_that_is_no_image_format_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProLabError, match="no image format"):
        save_picture(picture(4, 4), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ProLabError, match="cannot write"):
        save_picture(picture(4, 4), tmp_path / "file" / "picture.png")
    assert (tmp_path / "file").read_text() == "kept"
