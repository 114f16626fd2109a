"""The properties behind a score, as bars beside the overlay.

Shapes: H x W image size.
"""

from __future__ import annotations

import numpy as np
from detectron2.data.catalog import Metadata

from prolab_d2.canvas import GAP, SMALL, TEXT, Canvas, Color, wrap
from prolab_d2.explain import Explanation
from prolab_d2.visualizer.overlay import color_of, draw_segmentation, mark_region
from prolab_d2.visualizer.palette import EMPTY, MUTED, NEUTRAL, SUPPORTS, UNEXPECTED
from prolab_d2.visualizer.panel import PANEL_WIDTH, beside, fitted_panel, write_title

__all__ = ["draw_explanation", "evidence_panel"]

NUMBER_WIDTH, BAR_HEIGHT = 56, 11


def draw_explanation(
    image: np.ndarray,
    labels: np.ndarray,
    metadata: Metadata,
    explanation: Explanation,
    region: np.ndarray,
    place: str,
    *,
    top: int = 8,
) -> np.ndarray:
    """The overlay with the explained region marked, and beside it the properties behind its score.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) category ids.
        metadata: names and colours.
        explanation: of the region.
        region: (H, W) bool.
        place: what the panel calls the region, such as "pixel 120, 80".
        top: at most this many properties in each part of the panel.
    """
    picture = mark_region(draw_segmentation(image, labels, metadata), region)
    color = color_of(metadata, explanation.category)
    return beside(picture, evidence_panel(explanation, place, color, top=top))


def evidence_panel(
    explanation: Explanation, place: str, color: Color, *, top: int = 8, width: int = PANEL_WIDTH
) -> np.ndarray:
    """Score, what speaks for it, what is missing and what is unexpected, with bars."""
    absent = set(explanation.missing)
    present = [item for item in explanation.evidence if item not in absent]
    name = explanation.category
    parts = [
        (f"What speaks for {name}: shares of the score", present, SUPPORTS),
        (f"Expected of {name}, but not seen here: shares", list(explanation.missing), NEUTRAL),
        (f"Seen here, but not expected of {name}: activations",
         list(explanation.unexpected), UNEXPECTED),
    ]  # fmt: skip

    def fill(canvas: Canvas) -> int:
        others = ", ".join(f"{other} {score:.3f}" for other, score in explanation.others[:2])
        below = f"{place}; next best: {others}" if others else place
        y = write_title(canvas, f"{name} {explanation.score_text}", below, color)
        room = width - 2 * GAP
        longest = max((item.activation for _, items, _ in parts for item in items), default=0.0)
        full = explanation.full_share
        for heading, items, bar in parts:
            if not items:
                continue
            lines = wrap(heading, TEXT, room, bold=True)
            y = canvas.lines(GAP, y + 14, lines, TEXT, bold=True) + 2
            for item in items[:top]:
                value, most = (
                    (item.activation, longest) if bar == UNEXPECTED else (item.share, full)
                )
                y = _row(canvas, y, item.name, value, most, bar)
            if len(items) > top:
                more = f"... and {len(items) - top} more"
                y = canvas.lines(GAP, y, [more], SMALL, color=MUTED)
        return y + GAP

    return fitted_panel(width, fill)


def _row(canvas: Canvas, y: int, name: str, value: float, most: float, fill: Color) -> int:
    """A bar as long as the value, which is at most `most`, its number, and the name below."""
    room = canvas.width - 2 * GAP - NUMBER_WIDTH
    length = round(room * max(value, 0.0) / most) if most > 0 else 0
    canvas.rectangle(GAP, y + 4, room, BAR_HEIGHT, EMPTY)
    canvas.rectangle(GAP, y + 4, length, BAR_HEIGHT, fill, MUTED)
    middle = y + 4 + BAR_HEIGHT // 2
    canvas.text(canvas.width - GAP, middle, f"{value:.3f}", SMALL, anchor="rm")
    lines = wrap(name, SMALL, canvas.width - 2 * GAP)
    return canvas.lines(GAP, y + BAR_HEIGHT + 7, lines, SMALL) + 5
