"""All that can be shown of one image on one sheet: overlay, heat maps, evidence, a contrast.

Shapes: K properties, h x w map size, H x W image size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from detectron2.data.catalog import Metadata

from prolab_d2.canvas import GAP, TITLE, Canvas, line_height, wrap
from prolab_d2.explain import Finding, doubtful_first
from prolab_d2.visualizer.contrast import contrast_panel
from prolab_d2.visualizer.evidence import evidence_panel
from prolab_d2.visualizer.heatmaps import property_heatmap_sheet, telling_properties
from prolab_d2.visualizer.overlay import color_of, draw_segmentation, percent
from prolab_d2.visualizer.panel import above, beside

__all__ = ["draw_sheet"]

LEFT_WIDTH, COLUMNS, HEAT_MAPS = 900, 3, 6


def draw_sheet(
    image: np.ndarray,
    labels: np.ndarray,
    metadata: Metadata,
    properties: np.ndarray,
    names: Sequence[str],
    findings: Sequence[Finding],
    *,
    title: str = "",
    top: int = 3,
) -> np.ndarray:
    """One sheet for one image, as wide as a laptop's screen.

    On the left the overlay with its legend, below it the heat maps that tell most; on the right
    what speaks for some categories, and for the least certain one why it is not another.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) category ids.
        metadata: names and colours.
        properties: (K, h, w) activations.
        names: K names.
        findings: the categories to explain, in this order.
        title: above everything; none without.
        top: properties in each part of a panel.
    """
    overlay = draw_segmentation(image, labels, metadata, legend=True, largest=LEFT_WIDTH)
    chosen = telling_properties(properties, HEAT_MAPS)
    tile = (LEFT_WIDTH - GAP) // COLUMNS - GAP
    heat = property_heatmap_sheet(
        image, properties, names, chosen=chosen, columns=COLUMNS, tile_width=tile
    )
    panels = [
        evidence_panel(
            finding.explanation,
            f"mean of {percent(finding.area)} of the image",
            color_of(metadata, finding.explanation.category),
            top=top,
        )
        for finding in findings
    ]
    for finding in doubtful_first(findings)[:1]:
        place = "the least certain category here"
        panels.append(
            contrast_panel(finding.contrast, place, metadata, changes=finding.changes, top=top)
        )
    left = above(overlay, heat)
    sheet = beside(left, above(*panels)) if panels else left
    return above(_title(title, sheet.shape[1]), sheet) if title else sheet


def _title(text: str, width: int) -> np.ndarray:
    lines = wrap(text, TITLE, width - 2 * GAP, bold=True)
    canvas = Canvas(width, GAP + len(lines) * line_height(TITLE) + 6)
    canvas.lines(GAP, GAP // 2 + 2, lines, TITLE, bold=True)
    return canvas.picture()
