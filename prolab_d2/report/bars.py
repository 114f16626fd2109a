"""Bars and colours as SVG: a page that allows no inline style can still have them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from prolab_d2.visualizer.palette import HEAT, SUPPORTS, UNEXPECTED

__all__ = ["bar", "bar_style", "color_ramp", "diverging_bar", "patch"]

_STYLE = Path(__file__).resolve().parent / "page/bars.css"


def bar_style() -> str:
    """The CSS of everything here, in the colours of the pictures."""
    text = _STYLE.read_text(encoding="utf-8")
    for name, color in (("supports", SUPPORTS), ("opposes", UNEXPECTED)):
        text = text.replace(f"{{{{{name}}}}}", _hex(color))
    return text


def patch(color: Sequence[int]) -> str:
    """A square of a category's colour."""
    return (
        '<svg class="patch" viewBox="0 0 10 10" aria-hidden="true">'
        f'<rect width="10" height="10" fill="{_hex(color)}"/></svg>'
    )


def bar(share: float, kind: str) -> str:
    """A bar of 0 to 1 of its room; `kind` is the class that colours it."""
    width = 100 * min(max(share, 0.0), 1.0)
    return _svg("bar", f'<rect class="{kind}" width="{width:.1f}" height="10"/>')


def diverging_bar(value: float, full: float) -> str:
    """A bar from the middle, to the right above 0; an outline shows how long it could be.

    Args:
        value: -1 to 1.
        full: -1 to 1, with its sign even where `value` is 0.
    """
    shapes = []
    for size, kind in ((full, "full"), (value, "supports" if full > 0 else "opposes")):
        width = 50 * min(abs(size), 1.0)
        start = 50 if full > 0 else 50 - width
        shapes.append(f'<rect class="{kind}" x="{start:.1f}" width="{width:.1f}" height="10"/>')
    shapes.append('<rect class="axis" x="49.8" width="0.4" height="10"/>')
    return _svg("bar", "".join(shapes))


def color_ramp(steps: int = 32) -> str:
    """The colours of heat maps from 0 to the largest activation."""
    colors = (matplotlib.colormaps[HEAT](np.linspace(0, 1, steps))[:, :3] * 255).astype(int)
    width = 100 / steps
    rects = "".join(
        f'<rect x="{i * width:.3f}" width="{width + 0.1:.3f}" height="10" fill="{_hex(color)}"/>'
        for i, color in enumerate(colors.tolist())
    )
    return _svg("ramp", rects)


def _svg(kind: str, content: str) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f"{content}</svg>"
    )


def _hex(color: Sequence[int]) -> str:
    return "#" + "".join(f"{int(channel):02x}" for channel in color)
