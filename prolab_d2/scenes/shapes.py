"""Solid shapes made of quads, in their own axes: x right, y up, z forward, standing on y = 0.

Shapes: n faces of a shape.

Every function gives (n, 4, 3) float64: corners as seen from outside, in the order bottom left,
bottom right, top right, top left.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

__all__ = ["box", "cylinder", "ellipsoid", "extrusion", "frustum", "plate", "ring_of_columns"]


# Corners 0-3 below, 4-7 above, each (-x,-z) (x,-z) (x,z) (-x,z).
_BOX_FACES = np.array(
    [(0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7), (4, 5, 6, 7), (3, 2, 1, 0)]
)
_BOX_SIGNS = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2


def frustum(
    bottom: tuple[float, float],
    top: tuple[float, float],
    height: float,
    at: tuple[float, float, float] = (0.0, 0.0, 0.0),
    shift: float = 0.0,
) -> np.ndarray:
    """A box whose top may have another size and be shifted along z: (6, 4, 3).

    Faces: front (-z), right, back, left, top, bottom.

    Args:
        bottom, top: width along x and depth along z.
        at: centre of the bottom.
    """
    corners = np.zeros((8, 3))
    corners[:4, ::2] = _BOX_SIGNS * bottom
    corners[4:, ::2] = _BOX_SIGNS * top
    corners[4:, 1] = height
    corners[4:, 2] += shift
    return (corners + at)[_BOX_FACES]


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
    return corners[None] + at


def extrusion(
    outline: np.ndarray, depth: float, at: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> np.ndarray:
    """A convex outline in the x-y plane, made `depth` thick along z.

    The first (k - 1) // 2 faces are the front (-z), the next as many the back.

    Args:
        outline: (k, 2), counter-clockwise as seen from -z.
    """
    number = len(outline)
    points = np.empty((2, number, 3))
    points[:, :, :2] = outline
    points[0, :, 2] = -depth / 2
    points[1, :, 2] = depth / 2
    return (points.reshape(-1, 3) + at)[_prism_faces(number)]


@lru_cache(maxsize=32)
def _prism_faces(number: int) -> np.ndarray:
    """Corners of a prism's faces: front outline 0 .. number - 1, the same behind from `number`."""
    here = np.arange(number)
    there = np.roll(here, -1)
    sides = np.stack([there, here, number + here, number + there], axis=1)
    return np.concatenate([_fan(number), number + (number - 1 - _fan(number)), sides])


def _fan(number: int) -> np.ndarray:
    """Corners of the (number - 1) // 2 quads that make up a convex polygon."""
    first = np.arange(1, number - 1, 2)
    last = np.minimum(first + 2, number - 1)
    return np.stack([np.zeros_like(first), first, first + 1, last], axis=1)


def cylinder(
    radius: float,
    height: float,
    at: tuple[float, float, float] = (0.0, 0.0, 0.0),
    top_radius: float | None = None,
    sides: int = 10,
) -> np.ndarray:
    """An upright cylinder or cone: `sides` faces around, then the top."""
    ring, faces = _ring(sides)
    points = np.concatenate([ring * radius, ring * (radius if top_radius is None else top_radius)])
    points[sides:, 1] = height
    return (points + at)[faces]


@lru_cache(maxsize=32)
def _ring(sides: int) -> tuple[np.ndarray, np.ndarray]:
    """A unit circle (sides, 3), and the faces of a cylinder over two of them."""
    angle = np.arange(sides) * (2 * np.pi / sides)
    ring = np.stack([np.cos(angle), np.zeros(sides), np.sin(angle)], axis=1)
    here = np.arange(sides)
    there = np.roll(here, -1)
    walls = np.stack([here, there, sides + there, sides + here], axis=1)
    return ring, np.concatenate([walls, sides + _fan(sides)])


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
    return _sphere(around, rings) * radii + at


def ring_of_columns(length: float, pitch: float) -> np.ndarray:
    """(k,): positions -length/2 .. length/2 of evenly spaced columns, about `pitch` apart."""
    number = max(int(round(length / pitch)), 1)
    return (np.arange(number) + 0.5) / number * length - length / 2
