"""Repeatable noise: hashed grids, and smooth tiles that are made once and then only looked up.

Shapes: P points.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

__all__ = ["hashed", "smooth", "speckle"]

_SIZE = 256


def hashed(i: np.ndarray, j: np.ndarray, salt: int = 0) -> np.ndarray:
    """(P,) float32 in [0, 1), one value for every pair of integers."""
    h = i.astype(np.int32).astype(np.uint32) * np.uint32(0x9E3779B1)
    h ^= j.astype(np.int32).astype(np.uint32) * np.uint32(0x85EBCA77)
    h ^= np.uint32((salt * 0xC2B2AE3D) & 0xFFFFFFFF)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x2C1B3C6D)
    h ^= h >> np.uint32(12)
    return (h >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


@lru_cache(maxsize=2)
def _tiles() -> tuple[np.ndarray, np.ndarray]:
    """Two (256, 256) float32 tiles in [0, 1] that repeat without a seam: clouds, and fine grain."""
    rng = np.random.default_rng(20231221)
    clouds = np.zeros((_SIZE, _SIZE), dtype=np.float32)
    for cell, weight in ((64, 0.5), (32, 0.27), (16, 0.15), (8, 0.08)):
        grid = rng.random((_SIZE // cell, _SIZE // cell), dtype=np.float32)
        clouds += weight * _stretch(_stretch(grid, cell).T, cell).T
    clouds -= clouds.min()
    clouds /= clouds.max()
    return clouds, rng.random((_SIZE, _SIZE), dtype=np.float32)


def _stretch(grid: np.ndarray, cell: int) -> np.ndarray:
    """Repeats rows `cell` times with a smooth passage from each to the next, and round the end."""
    share = (np.arange(cell, dtype=np.float32) / cell)[None, :, None]
    share = share * share * (3 - 2 * share)
    following = np.roll(grid, -1, axis=0)
    rows = grid[:, None] * (1 - share) + following[:, None] * share
    return rows.reshape(-1, grid.shape[1])


def _look_up(tile: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    columns = np.floor(u).astype(np.int64) & (_SIZE - 1)
    rows = np.floor(v).astype(np.int64) & (_SIZE - 1)
    return tile[rows, columns]


def smooth(u: np.ndarray, v: np.ndarray, size: float) -> np.ndarray:
    """(P,) in [0, 1]: cloudy noise whose largest features are `size` wide."""
    factor = 64.0 / size
    return _look_up(_tiles()[0], u * factor, v * factor)


def speckle(u: np.ndarray, v: np.ndarray, size: float) -> np.ndarray:
    """(P,) in [0, 1]: unrelated values in cells of width `size`."""
    return _look_up(_tiles()[1], u / size, v / size)
