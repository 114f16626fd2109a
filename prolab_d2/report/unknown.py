"""Regions that fit no category, as figures of a page."""

from __future__ import annotations

import cv2
import numpy as np

from prolab_d2.markup import escape
from prolab_d2.prediction import Prediction
from prolab_d2.report.pictures import data_uri, jpeg_within
from prolab_d2.report.tables import ROWS, short_name
from prolab_d2.visualizer import mark_region
from prolab_d2.visualizer.overlay import percent

__all__ = ["unknown_figures"]

MOST_UNKNOWN, CROP_WIDTH = 3, 220


def unknown_figures(prediction: Prediction, room: int) -> str:
    """Regions that fit no category, cut out of the photograph, and what they show.

    Args:
        room: bytes for all pictures.
    Returns:
        HTML; empty where everything fits.
    """
    regions = prediction.unknown_regions()[:MOST_UNKNOWN]
    if not regions:
        return ""
    items = []
    for region in regions:
        crop = _crop(prediction.image, region.mask)
        source = data_uri(jpeg_within(crop, max(room // len(regions), 1_000)))
        near = ", ".join(f"<bdi>{short_name(name)}</bdi> {s:.2f}" for name, s in region.nearest[:2])
        seen = "; ".join(short_name(item.name) for item in region.properties[:ROWS]) or "nothing"
        items.append(
            f'<figure class="unknown"><img src="{source}" width="{crop.shape[1]}" '
            f'height="{crop.shape[0]}" alt=""><figcaption>{escape(percent(region.area))} of the '
            f"image; nearest: {near}. Seen: {seen}</figcaption></figure>"
        )
    return "".join(items)


def _crop(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The region with its outline and some of its surroundings, `CROP_WIDTH` pixels wide."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    margin = max(8, len(rows) // 3, len(columns) // 3)
    part = tuple(
        slice(max(int(at[0]) - margin, 0), int(at[-1]) + margin + 1) for at in (rows, columns)
    )
    height, width = mask[part].shape
    size = (CROP_WIDTH, min(max(1, round(CROP_WIDTH * height / width)), 2 * CROP_WIDTH))
    shrinks = width > CROP_WIDTH
    picture = cv2.resize(
        image[part], size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )
    return mark_region(picture, mask[part])
