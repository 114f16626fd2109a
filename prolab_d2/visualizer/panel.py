"""What the panels of text and bars beside a picture share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from prolab_d2.canvas import GAP, SMALL, TITLE, Canvas, Color, wrap
from prolab_d2.visualizer.palette import MUTED

__all__ = ["PANEL_WIDTH", "above", "beside", "fitted_panel", "write_title"]

PANEL_WIDTH = 470
PATCH = 22


def fitted_panel(width: int, fill: Callable[[Canvas], int]) -> np.ndarray:
    """The picture that `fill` draws, as tall as `fill` says it must be."""
    # Drawn twice: the first time only tells the height.
    height = fill(Canvas(width, 1))
    canvas = Canvas(width, height)
    fill(canvas)
    return canvas.picture()


def write_title(canvas: Canvas, title: str, below: str, color: Color) -> int:
    """A patch of the category's colour, the title beside it, a smaller line below; gives the y."""
    width = canvas.width - 2 * GAP
    canvas.rectangle(GAP, GAP, PATCH, PATCH, color, MUTED)
    lines = wrap(title, TITLE, width - PATCH - 8, bold=True)
    y = canvas.lines(GAP + PATCH + 8, GAP, lines, TITLE, bold=True)
    return canvas.lines(GAP, y + 4, wrap(below, SMALL, width), SMALL, color=MUTED)


def beside(*pictures: np.ndarray) -> np.ndarray:
    """Pictures side by side on white, their upper edges in a line."""
    canvas = Canvas(sum(p.shape[1] for p in pictures), max(p.shape[0] for p in pictures))
    x = 0
    for picture in pictures:
        canvas.paste(picture, x, 0)
        x += picture.shape[1]
    return canvas.picture()


def above(*pictures: np.ndarray) -> np.ndarray:
    """Pictures one above the other on white, their left edges in a line."""
    canvas = Canvas(max(p.shape[1] for p in pictures), sum(p.shape[0] for p in pictures))
    y = 0
    for picture in pictures:
        canvas.paste(picture, 0, y)
        y += picture.shape[0]
    return canvas.picture()
