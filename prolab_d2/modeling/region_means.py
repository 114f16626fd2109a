"""Means of maps over regions of the image, without maps of the image's size.

Shapes: M channels, R regions, H x W image size.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from prolab_d2.modeling.inference import Maps

__all__ = ["region_means"]


def region_means(maps: Maps, regions: np.ndarray, count: int) -> np.ndarray:
    """What the mean of `resize_maps(maps, regions.shape)` over the pixels of each region would be.

    Means of unit activations give means of category scores: both are linear.

    Args:
        maps: of a single image.
        regions: (H, W) integers, the region of every pixel; below 0 or from `count` on: none.
        count: R.
    Returns:
        (R, M) float64; rows of regions without pixels are NaN.
    """
    size = regions.shape
    inside = (regions >= 0) & (regions < count)
    rows = np.flatnonzero(inside.any(axis=1))
    sums = np.zeros((count, maps.num_channels))
    step = maps.band_height(size)
    for start in range(rows[0], rows[-1] + 1, step) if len(rows) else ():
        stop = min(start + step, int(rows[-1]) + 1)
        used = inside[start:stop]
        if not used.any():
            continue
        pixels = maps.band(size, start, stop)[0].permute(1, 2, 0)
        ids = torch.from_numpy(regions[start:stop][used].astype(np.int64)).to(pixels.device)
        chosen: Tensor = pixels[torch.from_numpy(used).to(pixels.device)]
        total = chosen.new_zeros((count, maps.num_channels)).index_add_(0, ids, chosen)
        sums += total.cpu().numpy()
    pixels_in = np.bincount(regions[inside].ravel(), minlength=count)[:, None]
    return np.divide(sums, pixels_in, out=np.full_like(sums, np.nan), where=pixels_in > 0)
