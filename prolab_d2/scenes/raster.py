"""A small software rasteriser: quads in, the nearest face of every pixel out. NumPy only.

Shapes: F faces.

World axes: x right, y up, z forward, in metres. A view maps a point to a column, a row and a
nearness that is affine over a planar face (1 / depth in perspective, -depth without), so that one
routine fills camera pictures and shadow maps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Hits", "View", "rasterise"]

_NEAR = 0.4
_FACE_BITS = 16


@dataclass(frozen=True)
class View:
    """A camera (`perspective`) or the sun.

    Attributes:
        position: (3,) in metres.
        rotation: (3, 3), rows right, up, forward.
        scale: focal length in pixels, or pixels per metre without perspective.
        height, width: pixels.
        centre: column and row of the optical axis.
    """

    position: np.ndarray
    rotation: np.ndarray
    scale: float
    height: int
    width: int
    centre: tuple[float, float]
    perspective: bool = True

    def to_local(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) in the world to (..., 3) right, up, forward of this view."""
        flat = (points - self.position).reshape(-1, 3)
        return (flat @ self.rotation.T).reshape(points.shape)

    def to_screen(self, local: np.ndarray) -> np.ndarray:
        """(..., 3) of `to_local` to (..., 3): column, row, nearness."""
        screen = np.empty_like(local)
        if self.perspective:
            screen[..., 2] = 1.0 / local[..., 2]
            factor = self.scale * screen[..., 2]
        else:
            screen[..., 2] = -local[..., 2]
            factor = self.scale
        screen[..., 0] = self.centre[0] + local[..., 0] * factor
        screen[..., 1] = self.centre[1] - local[..., 1] * factor
        return screen

    def directions(self) -> np.ndarray:
        """(height, width, 3) world directions through the pixel centres, one metre forward each."""
        columns = (np.arange(self.width) + 0.5 - self.centre[0]) / self.scale
        rows = -(np.arange(self.height) + 0.5 - self.centre[1]) / self.scale
        right, up, forward = self.rotation.astype(np.float32)
        across = columns.astype(np.float32)[:, None] * right + forward
        return across + (rows.astype(np.float32)[:, None] * up)[:, None]


@dataclass(frozen=True)
class Hits:
    """What a view sees.

    Attributes:
        face: (height, width) int32, -1 where nothing is hit.
        nearness: (height, width) float32.
    """

    face: np.ndarray
    nearness: np.ndarray


def rasterise(view: View, quads: np.ndarray) -> Hits:
    """Fills convex quads; the nearest face wins. Faces seen from behind are left out.

    Args:
        quads: (F, 4, 3) world points; from outside: bottom left, bottom right, top right, top left.
            Two equal neighbours make a triangle.
    """
    if len(quads) >= 1 << _FACE_BITS:
        raise ValueError(f"{len(quads)} faces; at most {(1 << _FACE_BITS) - 1} are possible")
    local = view.to_local(quads)
    number = np.arange(len(quads))
    if view.perspective:
        local, number = _clip_near(local, number)
    screen = view.to_screen(local)

    # w is affine over the face: its gradient comes from the two diagonals.
    first = screen[:, 2] - screen[:, 0]
    second = screen[:, 3] - screen[:, 1]
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    x, y, w = screen[..., 0], screen[..., 1], screen[..., 2]
    low_row = np.ceil(np.clip(y.min(axis=1), 0, view.height) - 0.5).astype(np.int64)
    high_row = np.ceil(np.clip(y.max(axis=1), 0, view.height) - 0.5).astype(np.int64)
    seen = (
        (area < -1e-9) & (high_row > low_row) & (x.max(axis=1) > 0) & (x.min(axis=1) < view.width)
    )
    screen, number, area = screen[seen], number[seen], area[seen]
    first, second = first[seen], second[seen]
    x, y, w = screen[..., 0], screen[..., 1], screen[..., 2]
    low_row, high_row = low_row[seen], high_row[seen]
    slope_x = (first[:, 2] * second[:, 1] - first[:, 1] * second[:, 2]) / area
    slope_y = (first[:, 0] * second[:, 2] - first[:, 2] * second[:, 0]) / area

    # One span per face and row.
    count = high_row - low_row
    face = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count) + low_row[face]
    centre = row + 0.5
    left = np.full(len(face), -np.inf)
    right = np.full(len(face), np.inf)
    for corner in range(4):
        x0, y0 = x[:, corner], y[:, corner]
        x1, y1 = x[:, (corner + 1) % 4], y[:, (corner + 1) % 4]
        rise = y1 - y0
        level = rise == 0
        slope = (x1 - x0) / np.where(level, 1.0, rise)
        at = x0[face] + (centre - y0[face]) * slope[face]
        down = (rise > 0)[face]
        flat = level[face]
        np.maximum(left, np.where(down, at, -np.inf), out=left)
        np.minimum(right, np.where(down | flat, np.inf, at), out=right)
    start = np.ceil(np.clip(left, 0, view.width) - 0.5).astype(np.int64)
    stop = np.ceil(np.clip(right, 0, view.width) - 0.5).astype(np.int64)
    keep = stop > start
    face, row, start, stop = face[keep], row[keep], start[keep], stop[keep]

    # One fragment per span and pixel, as an integer that sorts by nearness. Spans end within the
    # range of the corners, for the plane of a face seen edge-on runs away beyond them.
    count = stop - start
    lowest, highest = w.min(axis=1), w.max(axis=1)
    nearest = float(highest.max(initial=1.0))
    farthest = float(lowest.min(initial=0.0))
    unit = (2.0**44) / max(nearest - farthest, 1e-9)
    at_start = (
        w[face, 0]
        + (start + 0.5 - x[face, 0]) * slope_x[face]
        + (row + 0.5 - y[face, 0]) * slope_y[face]
    )
    at_stop = at_start + (count - 1) * slope_x[face]
    at_start = np.clip(at_start, lowest[face], highest[face])
    at_stop = np.clip(at_stop, lowest[face], highest[face])
    key = ((at_start - farthest) * unit).astype(np.int64)
    gain = ((at_stop - at_start) * unit / np.maximum(count - 1, 1)).astype(np.int64)
    key = (key << _FACE_BITS) + number[face] + 1
    step = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    fragment = np.repeat(gain << _FACE_BITS, count)
    fragment *= step
    fragment += np.repeat(key, count)
    step += np.repeat(row * view.width + start, count)
    buffer = np.zeros(view.height * view.width, dtype=np.int64)
    np.maximum.at(buffer, step, fragment)
    hit = (buffer & ((1 << _FACE_BITS) - 1)).astype(np.int32) - 1
    nearness = ((buffer >> _FACE_BITS) / unit + farthest).astype(np.float32)
    shape = (view.height, view.width)
    return Hits(hit.reshape(shape), nearness.reshape(shape))


def _clip_near(local: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cuts quads at the near plane; a cut can leave five corners, which make two quads."""
    inside = local[..., 2] > _NEAR
    whole = inside.all(axis=1)
    pieces, owners = [local[whole]], [number[whole]]
    for index in np.flatnonzero(inside.any(axis=1) & ~whole):
        corners: list[np.ndarray] = []
        for here, there in zip(local[index], np.roll(local[index], -1, axis=0), strict=True):
            if here[2] > _NEAR:
                corners.append(here)
            if (here[2] > _NEAR) != (there[2] > _NEAR):
                share = (_NEAR - here[2]) / (there[2] - here[2])
                corners.append(here + share * (there - here))
        while len(corners) < 4:
            corners.append(corners[-1])
        pieces.append(np.stack(corners[:4])[None])
        owners.append(number[index : index + 1])
        if len(corners) == 5:
            pieces.append(np.stack([corners[0], corners[3], corners[4], corners[4]])[None])
            owners.append(number[index : index + 1])
    return np.concatenate(pieces), np.concatenate(owners)
