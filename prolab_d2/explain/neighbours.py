"""What lies near a pixel in property space: other pixels, by the cosine of their activations.

Shapes: K properties, h x w map size, H x W image size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["PixelNeighbour", "likeness_map", "nearest_pixels"]


@dataclass(frozen=True)
class PixelNeighbour:
    """The pixel of one category whose activations are most like those asked for."""

    category: str
    category_id: int
    x: int
    y: int
    likeness: float  # cosine similarity


def likeness_map(unit_activations: np.ndarray, activations: np.ndarray) -> np.ndarray:
    """(h, w) float32: cosine similarity of every pixel's activations to given ones, [-1, 1].

    Args:
        unit_activations: (K, h, w), at any length.
        activations: (K,), at any length.
    """
    maps = np.asarray(unit_activations, dtype=np.float32)
    wanted = np.asarray(activations, dtype=np.float32)
    products = np.tensordot(wanted, maps, axes=1)
    lengths = np.sqrt((maps**2).sum(axis=0)) * float(np.linalg.norm(wanted))
    return np.clip(products / np.maximum(lengths, 1e-12), -1, 1)


def nearest_pixels(
    likeness: np.ndarray,
    labels: np.ndarray,
    categories: Sequence[str],
    *,
    without: Sequence[int] = (),
    top: int = 5,
) -> list[PixelNeighbour]:
    """For every category of the image its nearest pixel, the nearest of all first.

    Args:
        likeness: (h, w), as `likeness_map` gives it.
        labels: (H, W) category ids; read at the middle of every pixel of the map.
        categories: names of the ids.
        without: ids that are left out, such as the pixel's own.
        top: how many at most.
    """
    height, width = labels.shape
    rows, columns = (
        ((np.arange(size) + 0.5) * full / size).astype(int)
        for size, full in zip(likeness.shape, (height, width), strict=True)
    )
    coarse = labels[np.ix_(rows, columns)]
    found = []
    for category in np.unique(coarse).tolist():
        if category in without:
            continue
        values = np.where(coarse == category, likeness, -np.inf)
        i, j = np.unravel_index(int(values.argmax()), values.shape)
        found.append(
            PixelNeighbour(
                categories[category], category, int(columns[j]), int(rows[i]), float(values[i, j])
            )
        )
    return sorted(found, key=lambda one: -one.likeness)[:top]
