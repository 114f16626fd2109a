"""Solid shapes made of quads, in their own axes: x right, y up, z forward, standing on y = 0.

Shapes: n faces of a shape.

Every function gives (n, 4, 3) float64: corners as seen from outside, bottom left, bottom right, top right, top left.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

__all__ = ["box", "cylinder", "ellipsoid", "extrusion", "frustum", "plate", "ring_of_columns"]


def _hexahedron(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(6, 4, 3) from the corners (4, 3) below and above, in the order (-x,-z) (x,-z) (x,z) (-x,z).

    Faces: front (-z), right, back, left, top, bottom.
    """
    sides = [
        np.stack([low[a], low[b], high[b], high[a]]) for a, b in ((0, 1), (1, 2), (2, 3), (3, 0))
    ]
    return np.stack([*sides, high, low[::-1]])


def frustum(
    bottom: tuple[float, float],
    top: tuple[float, float],
    height: float,
    at: tuple[float, float, float] = (0.0, 0.0, 0.0),
    shift: float = 0.0,
) -> np.ndarray:
    """A box whose top may have another size and be shifted along z.

    Args:
        bottom, top: width along x and depth along z.
        at: centre of the bottom.
    """

    def corners(size: tuple[float, float], y: float, z: float) -> np.ndarray:
        w, d = size[0] / 2, size[1] / 2
        return np.array([(-w, y, z - d), (w, y, z - d), (w, y, z + d), (-w, y, z + d)])

    return _hexahedron(corners(bottom, 0.0, 0.0), corners(top, height, shift)) + np.array(at)


def box(
    size: tuple[float, float, float], at: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> np.ndarray:
    """(6, 4, 3): width, height, depth; `at` is the centre of the bottom."""
    return frustum((size[0], size[2]), (size[0], size[2]), size[1], at)


def plate(
    width: float, height: float, at: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> np.ndarray:
    """(1, 4, 3): an upright rectangle that faces -z; `at` is the middle of its lower edge."""
    w = width / 2
    corners = np.array([(-w, 0, 0), (w, 0, 0), (w, height, 0), (-w, height, 0)], dtype=np.float64)
    return corners[None] + np.array(at)


def extrusion(
    outline: np.ndarray, depth: float, at: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> np.ndarray:
    """A convex outline in the x-y plane (k, 2), counter-clockwise as seen from -z, made `depth` thick along z.

    The first ceil((k - 2) / 2) faces are the front.
    """
    front = np.c_[outline, np.full(len(outline), -depth / 2)]
    back = np.c_[outline, np.full(len(outline), depth / 2)]
    sides = [
        np.stack([front[b], front[a], back[a], back[b]])
        for a, b in zip(range(len(outline)), np.roll(range(len(outline)), -1), strict=True)
    ]
    return np.concatenate([_fan(front), _fan(back[::-1]), np.stack(sides)]) + np.array(at)


def _fan(outline: np.ndarray) -> np.ndarray:
    """A convex polygon (k, 3) as ceil((k - 2) / 2) quads."""
    quads = []
    for first in range(1, len(outline) - 1, 2):
        last = min(first + 2, len(outline) - 1)
        quads.append(np.stack([outline[0], outline[first], outline[first + 1], outline[last]]))
    return np.stack(quads)


def cylinder(
    radius: float,
    height: float,
    at: tuple[float, float, float] = (0.0, 0.0, 0.0),
    top_radius: float | None = None,
    sides: int = 10,
) -> np.ndarray:
    """An upright cylinder or cone: `sides` faces around, then the top."""
    top_radius = radius if top_radius is None else top_radius
    angle = np.arange(sides) * (2 * np.pi / sides)
    around = np.stack([np.cos(angle), np.zeros(sides), np.sin(angle)], axis=1)
    low = around * radius
    high = around * top_radius + np.array((0.0, height, 0.0))
    following = np.roll(np.arange(sides), -1)
    walls = np.stack([low, low[following], high[following], high], axis=1)
    return np.concatenate([walls, _fan(high)]) + np.array(at)


@lru_cache(maxsize=8)
def _sphere(around: int, rings: int) -> np.ndarray:
    """(around * rings, 4, 3): the unit sphere about the origin."""
    azimuth = np.arange(around + 1) * (2 * np.pi / around)
    height = np.linspace(-np.pi / 2, np.pi / 2, rings + 1)
    grid = np.stack(
        [
            np.cos(height)[:, None] * np.cos(azimuth)[None],
            np.broadcast_to(np.sin(height)[:, None], (rings + 1, around + 1)),
            np.cos(height)[:, None] * np.sin(azimuth)[None],
        ],
        axis=-1,
    )
    quads = np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], axis=2)
    return quads.reshape(-1, 4, 3)


def ellipsoid(
    radii: tuple[float, float, float],
    at: tuple[float, float, float],
    around: int = 10,
    rings: int = 6,
) -> np.ndarray:
    """A ball of three radii about `at`."""
    return _sphere(around, rings) * np.array(radii) + np.array(at)


def ring_of_columns(length: float, pitch: float) -> np.ndarray:
    """(k,): positions -length/2 .. length/2 of evenly spaced columns, about `pitch` apart."""
    number = max(int(round(length / pitch)), 1)
    return (np.arange(number) + 0.5) / number * length - length / 2
