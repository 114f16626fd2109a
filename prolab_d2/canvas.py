"""A picture that is put together from images, bars and wrapped text at exact pixel positions."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["Canvas", "Color", "line_height", "wrap"]

Color = tuple[int, int, int]
BLACK: Color = (20, 20, 20)
WHITE: Color = (255, 255, 255)


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
    """Breaks a text into lines no wider than `width` pixels; words that do not fit are split."""
    lines: list[str] = []
    line = ""
    for word in text.split():
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
