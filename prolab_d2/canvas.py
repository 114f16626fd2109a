"""A picture that is put together from images, bars and wrapped text at exact pixel positions."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from os import PathLike
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from prolab_d2.errors import ProLabError
from prolab_d2.files import atomic_path

__all__ = [
    "Canvas",
    "Color",
    "check_picture_name",
    "contact_sheet",
    "line_height",
    "save_picture",
    "size_at_width",
    "text_width",
    "wrap",
]

Color = tuple[int, int, int]
BLACK: Color = (20, 20, 20)
WHITE: Color = (255, 255, 255)
# Pixels between parts of a picture, and text sizes that can be read on a laptop.
GAP = 16
TITLE, TEXT, SMALL = 19, 15, 13
# Height of a picture by its width, beyond which `size_at_width` squeezes it.
TALLEST = 4


@lru_cache(maxsize=32)
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    # Matplotlib, which Detectron2 needs anyway, brings this font along.
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf" / name), size)


def line_height(size: int) -> int:
    """Pixels from one line of text to the next."""
    return round(1.3 * size)


def text_width(text: str, size: int, bold: bool = False) -> int:
    return int(np.ceil(_font(size, bold).getlength(text)))


def wrap(text: str, size: int, width: int, bold: bool = False) -> list[str]:
    """Breaks a text into lines no wider than `width` pixels; words that do not fit are split.

    No break comes at a no-break space.
    """
    lines: list[str] = []
    line = ""
    for word in re.split(r"[ \t\r\n]+", text.strip()):
        candidate = f"{line} {word}".strip()
        if text_width(candidate, size, bold) <= width:
            line = candidate
            continue
        if line:
            lines.append(line)
        line = word
        while text_width(line, size, bold) > width and len(line) > 1:
            fits = len(line) - 1
            while fits > 1 and text_width(line[:fits], size, bold) > width:
                fits -= 1
            lines.append(line[:fits])
            line = line[fits:]
    return [*lines, line] if line or not lines else lines


class Canvas:
    """A white RGB picture of a fixed size to draw on."""

    def __init__(self, width: int, height: int, background: Color = WHITE) -> None:
        self._image = Image.new("RGB", (width, height), background)
        self._draw = ImageDraw.Draw(self._image)
        self.width = width

    def paste(self, picture: np.ndarray, x: int, y: int) -> None:
        """Puts an RGB picture with its upper left corner at (x, y)."""
        self._image.paste(Image.fromarray(picture), (x, y))

    def rectangle(
        self, x: int, y: int, width: int, height: int, fill: Color, outline: Color | None = None
    ) -> None:
        if width > 0 and height > 0:
            self._draw.rectangle((x, y, x + width - 1, y + height - 1), fill, outline)

    def lines(
        self,
        x: int,
        y: int,
        lines: list[str],
        size: int,
        *,
        color: Color = BLACK,
        bold: bool = False,
    ) -> int:
        """Writes lines of text whose first line's top is at y; gives the y below the last."""
        for line in lines:
            self._draw.text((x, y), line, fill=color, font=_font(size, bold))
            y += line_height(size)
        return y

    def text(
        self, x: int, y: int, text: str, size: int, *, color: Color = BLACK, anchor: str = "la"
    ) -> None:
        """One line of text; `anchor` as in Pillow ("la": left and top, "rm": right and middle)."""
        self._draw.text((x, y), text, fill=color, font=_font(size, False), anchor=anchor)

    def picture(self) -> np.ndarray:
        """(height, width, 3) uint8 RGB."""
        return np.asarray(self._image).copy()


def contact_sheet(
    pictures: Sequence[np.ndarray],
    titles: Sequence[str],
    *,
    columns: int = 4,
    tile_width: int | None = None,
) -> np.ndarray:
    """Pictures in a grid, each under its title.

    Args:
        pictures: at least one RGB picture; sizes may differ.
        titles: one for each.
        columns: tiles in a row.
        tile_width: pictures are resized to this width; None for the widest picture's.
    """
    width = tile_width or max(picture.shape[1] for picture in pictures)
    tiles = [_to_width(picture, width) for picture in pictures]
    wrapped = [wrap(title, SMALL, width) for title in titles]
    columns = min(columns, len(tiles))
    rows = [range(i, min(i + columns, len(tiles))) for i in range(0, len(tiles), columns)]
    title_heights = [line_height(SMALL) * max(len(wrapped[i]) for i in row) + 4 for row in rows]
    tile_heights = [max(tiles[i].shape[0] for i in row) for row in rows]
    total = sum(title_heights) + sum(tile_heights) + GAP * (len(rows) + 1)
    canvas = Canvas(columns * (width + GAP) + GAP, total)
    y = GAP
    for row, title_height, tile_height in zip(rows, title_heights, tile_heights, strict=True):
        for column, i in enumerate(row):
            x = GAP + column * (width + GAP)
            # Titles stand directly on their picture, however many lines the others have.
            first = y + title_height - 4 - line_height(SMALL) * len(wrapped[i])
            canvas.lines(x, first, wrapped[i], SMALL)
            canvas.paste(tiles[i], x, y + title_height)
        y += title_height + tile_height + GAP
    return canvas.picture()


def size_at_width(picture: np.ndarray, width: int) -> tuple[int, int]:
    """(width, height) of a picture resized to a width, as OpenCV takes it.

    One that is more than `TALLEST` times as tall as wide is squeezed: at the width of a tile, a
    column of a thousand pixels would fill the memory.
    """
    height = math.floor(picture.shape[0] * width / picture.shape[1] + 0.5)
    return width, min(max(1, height), TALLEST * width)


def _to_width(picture: np.ndarray, width: int) -> np.ndarray:
    if picture.shape[1] == width:
        return picture
    interpolation = cv2.INTER_AREA if width < picture.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(picture, size_at_width(picture, width), interpolation=interpolation)


def check_picture_name(path: str | PathLike[str]) -> None:
    """
    Raises:
        ProLabError: the suffix names no format that can be written.
    """
    suffix = Path(path).suffix.lower()
    if Image.registered_extensions().get(suffix) not in Image.SAVE:
        raise ProLabError(f"cannot write {path}, no image format: end the name in .png or .jpg")


def save_picture(picture: np.ndarray, path: str | PathLike[str]) -> None:
    """Writes an RGB picture in the format that the suffix names.

    Raises:
        ProLabError: unknown suffix, or a place that cannot be written to.
    """
    check_picture_name(path)
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary)
