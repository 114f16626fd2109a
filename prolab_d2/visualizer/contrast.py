"""Why one category and not another, as bars to both sides of an axis.

Shapes: H x W image size.
"""

from __future__ import annotations

import numpy as np
from detectron2.data.catalog import Metadata

from prolab_d2.canvas import GAP, SMALL, TEXT, Canvas, Color, text_width, wrap
from prolab_d2.explain import Changes, Contrast, Term
from prolab_d2.visualizer.overlay import color_of, draw_segmentation, mark_region
from prolab_d2.visualizer.palette import EMPTY, MUTED, NEUTRAL, SUPPORTS, UNEXPECTED
from prolab_d2.visualizer.panel import PANEL_WIDTH, beside, fitted_panel, write_title

__all__ = ["contrast_panel", "draw_contrast"]

BAR_HEIGHT = 11
PATCH = 12


def draw_contrast(
    image: np.ndarray,
    labels: np.ndarray,
    metadata: Metadata,
    contrast: Contrast,
    region: np.ndarray,
    place: str,
    *,
    changes: Changes | None = None,
    top: int = 6,
) -> np.ndarray:
    """The overlay with a marked region, and beside it why it is one category and not another.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) category ids.
        metadata: names and colours.
        contrast: of the region.
        region: (H, W) bool.
        place: what the panel calls the region.
        changes: to the other category; left out without.
        top: at most this many properties of each category.
    """
    picture = mark_region(draw_segmentation(image, labels, metadata), region)
    panel = contrast_panel(contrast, place, metadata, changes=changes, top=top)
    return beside(picture, panel)


def contrast_panel(
    contrast: Contrast,
    place: str,
    metadata: Metadata,
    *,
    changes: Changes | None = None,
    top: int = 6,
    width: int = PANEL_WIDTH,
) -> np.ndarray:
    """Both scores and what makes the difference: bars to the right speak for the category.

    An empty outline shows how long a bar would be if the property were as active as the most
    active one there.

    Args:
        metadata: names and colours.
    """
    a, b = contrast.category, contrast.other
    parts = [
        (f"Only {a} has: speaks for {a}", contrast.supporting, SUPPORTS),
        (f"Only {b} has: speaks for {b}", contrast.opposing, UNEXPECTED),
    ]
    strongest = max((term.activation for term in contrast.terms), default=0.0)
    longest = max((_full(term, strongest) for term in contrast.terms), default=0.0)

    def fill(canvas: Canvas) -> int:
        title = f"{a}, not {b}"
        below = f"{place}; {contrast.score:.3f} - {contrast.other_score:.3f} = "
        below += contrast.difference_text
        y = write_title(canvas, title, below, color_of(metadata, a))
        room = width - 2 * GAP
        y = _axis(canvas, y + 8, a, b, metadata)
        for heading, terms, color in parts:
            if not terms:
                continue
            lines = wrap(heading, TEXT, room, bold=True)
            y = canvas.lines(GAP, y + 12, lines, TEXT, bold=True) + 2
            for term in terms[:top]:
                full = _full(term, strongest)
                y = _row(canvas, y, term, full, longest, color)
            if len(terms) > top:
                rest = sum(term.difference for term in terms[top:])
                more = f"... and {len(terms) - top} more: {rest:+.3f}"
                y = canvas.lines(GAP, y, [more], SMALL, color=MUTED)
        if contrast.shared:
            y = canvas.lines(GAP, y + 12, wrap(_shared(contrast), SMALL, room), SMALL)
        if changes is not None and changes.changes:
            y = _changes(canvas, y + 12, changes, room)
        return y + GAP

    return fitted_panel(width, fill)


def _shared(contrast: Contrast) -> str:
    shared = contrast.shared
    total = sum(term.difference for term in shared)
    text = f"{len(shared)} {'property' if len(shared) == 1 else 'properties'} of both"
    weight = max((term.weight for term in contrast.shared), key=abs)
    if abs(weight) < 1e-9:
        return f"{text}: no difference."
    # Each counts for more in the shorter signature.
    shorter, own, others = contrast.category, contrast.supporting, contrast.opposing
    if weight < 0:
        shorter, own, others = contrast.other, others, own
    reason = "which has fewer properties"
    if len(own) >= len(others):  # with property weights
        reason = "whose properties weigh less together"
    return f"{text}: {total:+.3f}, as each counts for more with {shorter}, {reason}."


def _full(term: Term, strongest: float) -> float:
    """What the term would be, without its sign, at the strongest activation of all terms."""
    return abs(strongest * term.weight) if strongest > 0 else abs(term.difference)


def _axis(canvas: Canvas, y: int, a: str, b: str, metadata: Metadata) -> int:
    """Names of the two categories at the ends of the axis, each with its colour."""
    middle = canvas.width // 2
    room = middle - GAP - PATCH - 14
    right = wrap(f"for {a} \u2192", SMALL, room)
    left = wrap(f"\u2190 for {b}", SMALL, room)
    canvas.rectangle(GAP, y + 2, PATCH, PATCH, color_of(metadata, b), MUTED)
    bottom = canvas.lines(GAP + PATCH + 6, y, left, SMALL)
    start = canvas.width - GAP - PATCH
    canvas.rectangle(start, y + 2, PATCH, PATCH, color_of(metadata, a), MUTED)
    widest = max(text_width(line, SMALL) for line in right)
    return max(bottom, canvas.lines(start - 6 - widest, y, right, SMALL))


def _row(canvas: Canvas, y: int, term: Term, full: float, longest: float, fill: Color) -> int:
    """A bar from the axis, to the right where it is positive, and the property's name below."""
    middle, number = canvas.width // 2, 54
    room = middle - GAP - number
    sign = 1 if term.difference > 0 or (term.in_category and not term.in_other) else -1
    length = round(room * min(abs(term.difference) / longest, 1)) if longest > 0 else 0
    outline = round(room * full / longest) if longest > 0 else 0
    for size, color, edge in ((outline, EMPTY, NEUTRAL), (length, fill, MUTED)):
        start = middle if sign > 0 else middle - size
        canvas.rectangle(start, y + 4, size, BAR_HEIGHT, color, edge)
    canvas.rectangle(middle, y + 1, 1, BAR_HEIGHT + 6, MUTED)
    x = middle + sign * (max(outline, length) + 6)
    anchor = "lm" if sign > 0 else "rm"
    middle_y = y + 4 + BAR_HEIGHT // 2
    canvas.text(x, middle_y, f"{term.difference:+.3f}", SMALL, anchor=anchor)
    lines = wrap(term.name, SMALL, canvas.width - 2 * GAP)
    return canvas.lines(GAP, y + BAR_HEIGHT + 7, lines, SMALL) + 5


def _changes(canvas: Canvas, y: int, changes: Changes, room: int) -> int:
    heading = f"It would be {changes.category} with"
    y = canvas.lines(GAP, y, wrap(heading, TEXT, room, bold=True), TEXT, bold=True) + 2
    for change in changes.changes:
        text = f"{'seen' if change.appears else 'not seen'}: {change.name}"
        y = canvas.lines(GAP, y, wrap(text, SMALL, room), SMALL) + 2
    return y
