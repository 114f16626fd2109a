"""Regions to explain, as masks: a pixel, a segment of the prediction, a drawn polygon.

Shapes: H x W image size.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from prolab_d2.errors import ProLabError

__all__ = ["check_mask", "pixel_mask", "polygon_mask", "segment_mask"]

Size = tuple[int, int]


def pixel_mask(x: int, y: int, size: Size) -> np.ndarray:
    """(H, W) bool with one pixel, column x and row y.

    Raises:
        ProLabError: the pixel lies outside the image.
    """
    height, width = size
    if not (0 <= x < width and 0 <= y < height):
        raise ProLabError(
            f"pixel {x},{y} lies outside the image of {width} x {height} pixels: use x from 0 "
            f"to {width - 1} and y from 0 to {height - 1}"
        )
    mask = np.zeros(size, dtype=bool)
    mask[y, x] = True
    return mask


def segment_mask(labels: np.ndarray, x: int, y: int) -> np.ndarray:
    """(H, W) bool: the pixels of one label that hang together with pixel (x, y), by their sides.

    Args:
        labels: (H, W) category ids.
    Raises:
        ProLabError: the pixel lies outside the image.
    """
    pixel_mask(x, y, labels.shape)
    same = (labels == labels[y, x]).astype(np.uint8)
    _, components = cv2.connectedComponents(same, connectivity=4)
    return components == components[y, x]


def polygon_mask(points: Sequence[tuple[float, float]], size: Size) -> np.ndarray:
    """(H, W) bool: the inside and the border of a polygon, as far as it lies in the image.

    Args:
        points: (x, y) corners in pixels, at least three; the last is joined to the first.
    Raises:
        ProLabError: no polygon, or one that holds no pixel of the image.
    """
    corners = np.asarray(points, dtype=np.float64)
    if corners.ndim != 2 or corners.shape[1:] != (2,) or len(corners) < 3:
        raise ProLabError(f"a polygon of shape {corners.shape}: give three or more (x, y) corners")
    # Far beyond any image, and no further than OpenCV's integers reach.
    if not np.isfinite(corners).all() or np.abs(corners).max() > 2**24:
        raise ProLabError("a polygon with corners far outside the image: give them in its pixels")
    mask = np.zeros(size, dtype=np.uint8)
    cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
    return check_mask(mask.astype(bool), size)


def check_mask(mask: np.ndarray, size: Size) -> np.ndarray:
    """The mask as (H, W) bool.

    Raises:
        ProLabError: another shape or type, or no pixel in it.
    """
    mask = np.asarray(mask)
    if mask.shape != tuple(size) or mask.dtype.kind not in "bui":
        raise ProLabError(
            f"a region of shape {mask.shape} and type {mask.dtype} for an image of shape "
            f"{tuple(size)}: pass one bool for each pixel"
        )
    mask = mask.astype(bool)
    if not mask.any():
        raise ProLabError("the region holds no pixel of the image: choose another one")
    return mask
