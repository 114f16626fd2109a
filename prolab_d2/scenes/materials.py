"""Textures: what colour a surface has at a point.

Shapes: P points of one finish.

Lengths are metres on the surface. A detail fades out where a pixel covers more than half of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from prolab_d2.scenes.model import Finish
from prolab_d2.scenes.noise import hashed, smooth, speckle

__all__ = ["Look", "Points", "look"]


@dataclass(frozen=True)
class Points:
    """Where and on what.

    Attributes:
        u, v: (P,) metres along the surface; v points up on walls.
        footprint: (P,) metres that a pixel covers.
        normal: (P, 3).
        colour, second: (P, 3) linear light.
        numbers: (P, 6) parameters of the finish.
        sky: (3,) what glass mirrors.
    """

    u: np.ndarray
    v: np.ndarray
    footprint: np.ndarray
    normal: np.ndarray
    colour: np.ndarray
    second: np.ndarray
    numbers: np.ndarray
    sky: np.ndarray


@dataclass(frozen=True)
class Look:
    """What a surface does with light.

    Attributes:
        albedo: (P, 3) share of the light that is scattered.
        mirror: (P,) or 0, share of the sky that is mirrored.
        glow: (P,) or 0, whether it shines by itself.
    """

    albedo: np.ndarray
    mirror: np.ndarray | float = 0.0
    glow: np.ndarray | float = 0.0


def look(finish: Finish, points: Points) -> Look:
    """The appearance of points that share a finish."""
    return _FINISHES[finish](points)


def _fade(points: Points, size: float | np.ndarray) -> np.ndarray:
    """(P,) 1 where a detail of this size is resolved, 0 where it is far below a pixel."""
    return np.clip(1.6 - 1.2 * points.footprint / size, 0.0, 1.0)


def _mix(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    return a + (b - a) * share[:, None]


def _wall(
    points: Points, length: float, height: float, gap: float, bond: float
) -> tuple[np.ndarray, np.ndarray]:
    """Courses of stones: (P,) 1 in the joints, and (P,) one random value per stone."""
    course = np.floor(points.v / height)
    along = points.u / length + bond * (course - 2 * np.floor(course / 2))
    stone = np.floor(along)
    from_side = np.minimum(along - stone, stone + 1 - along) * length
    from_bed = np.minimum(points.v / height - course, course + 1 - points.v / height) * height
    width = np.maximum(gap / 2, 0.35 * points.footprint)
    joint = np.clip(1.5 - np.minimum(from_side, from_bed) / width, 0, 1) * (gap / 2 / width)
    return joint, hashed(stone, course)


def _brick(points: Points) -> Look:
    return Look(_bricks(points, points.colour, points.second))


def _bricks(points: Points, colour: np.ndarray, mortar: np.ndarray) -> np.ndarray:
    joint, stone = _wall(points, 0.56, 0.24, 0.05, 0.5)
    tint = 1 + (stone - 0.5) * 0.55 * _fade(points, 0.3)
    tint = tint * (0.92 + 0.16 * smooth(points.u, points.v, 3.0))
    return _mix(colour * tint[:, None], mortar, joint * 0.8)


def _tiles(points: Points) -> Look:
    side = 0.8
    joint, stone = _wall(points, side, side, 0.05, 0.0)
    tint = 1 + (stone - 0.5) * 0.22 * _fade(points, side)
    tint = tint * (0.90 + 0.2 * smooth(points.u, points.v, 2.0))
    return Look(_mix(points.colour * tint[:, None], points.second, joint * 0.7))


def _grain(points: Points) -> Look:
    """Plaster, concrete, asphalt, soil: blotches and grain; numbers: strength of the grain."""
    strength = points.numbers[:, 0] * _fade(points, 0.12)
    tint = 0.88 + 0.24 * smooth(points.u, points.v, 2.5)
    tint = tint + strength * (speckle(points.u, points.v, 0.06) - 0.5)
    return Look(points.colour * tint[:, None])


def _leaves(points: Points) -> Look:
    """Leaves and blades: light and dark tufts; numbers: size of a tuft in metres."""
    size = points.numbers[:, 0]
    u, v = points.u / size, points.v / size
    tuft = 0.6 * smooth(u, v, 2.2) + 0.4 * smooth(u + 7, v + 3, 0.9)
    contrast = 0.35 + 0.65 * _fade(points, size)
    shade = 0.55 + 1.0 * tuft
    fleck = speckle(u, v, 0.28) > 0.86
    albedo = points.colour * (1 + (shade - 1) * contrast)[:, None]
    return Look(_mix(albedo, points.second, fleck * 0.45 * contrast))


def _planks(points: Points) -> Look:
    """Boards along v; numbers: width of a board."""
    width = points.numbers[:, 0]
    along = points.u / width
    board = np.floor(along)
    edge = np.minimum(along - board, board + 1 - along) * width
    gap = np.clip(1.5 - edge / np.maximum(0.02, 0.35 * points.footprint), 0, 1)
    gap = gap * _fade(points, width)
    tint = 1 + (hashed(board, board * 0) - 0.5) * 0.35 * _fade(points, width)
    grain = smooth(points.u * 9, points.v, 1.4) * _fade(points, 0.06)
    tint = tint * (1.08 - 0.2 * grain)
    return Look(points.colour * (tint * (1 - 0.65 * gap))[:, None])


def _sheet(points: Points) -> Look:
    """Ribbed metal; numbers: distance of the ribs."""
    pitch = points.numbers[:, 0]
    wave = np.sin(points.u * (2 * np.pi) / pitch) * _fade(points, pitch)
    streak = smooth(points.u * 5, points.v * 0.4, 1.5)
    return Look(points.colour * (0.86 + 0.26 * wave + 0.2 * streak)[:, None], mirror=0.06)


def _paint(points: Points) -> Look:
    """Gloss paint: mirrors the sky where it faces up."""
    facing = np.clip(points.normal[:, 1], 0, 1)
    return Look(points.colour, mirror=0.05 + 0.22 * facing**3)


def _glass(points: Points) -> Look:
    """Window panes with a slanting reflection; numbers: offset of the streak."""
    streak = points.u * 0.8 + points.v * 0.6 + points.numbers[:, 0]
    band = np.clip(3.2 * np.abs(streak / 1.7 - np.floor(streak / 1.7) - 0.5) - 0.9, 0, 1)
    return Look(points.colour, mirror=0.22 + 0.3 * band)


def _facade(points: Points) -> Look:
    """A wall with rows of windows.

    numbers: base (0 plaster, 1 brick, 2 panels), width and height of a bay, share of the bay that
    the window takes in width and in height, salt. `second` is the colour of the window frames.
    """
    base, bay, storey, wide, high, salt = points.numbers.T
    bricks = _bricks(points, points.colour, np.full(3, 0.45, dtype=np.float32))
    plaster = points.colour * (0.9 + 0.2 * smooth(points.u, points.v, 3.0))[:, None]
    joint = np.clip(
        1.5 - np.abs(points.v / storey - np.round(points.v / storey)) * storey / 0.06, 0, 1
    )
    plaster = plaster * (1 - 0.25 * joint * (base == 2))[:, None]
    albedo = np.where((base == 1)[:, None], bricks, plaster)

    column, row = np.floor(points.u / bay), np.floor(points.v / storey)
    across = (points.u / bay - column - 0.5) * bay
    up = (points.v / storey - row - 0.52) * storey
    half_w, half_h = wide * bay / 2, high * storey / 2
    inside = np.minimum(half_w - np.abs(across), half_h - np.abs(up))
    frame = inside > 0
    pane = inside > np.maximum(0.07, 0.3 * points.footprint)
    pane &= np.abs(across) > 0.04
    sill = (up < -half_h) & (up > -half_h - 0.14) & (np.abs(across) < half_w + 0.12)
    albedo = np.where((frame | sill)[:, None], points.second, albedo)
    random = hashed(column + 57 * salt.astype(np.int64), row)
    depth = np.clip((half_h - up) / (2 * np.maximum(half_h, 0.1)), 0, 1)
    glass = np.float32((0.035, 0.05, 0.07)) * (0.6 + 1.4 * random)[:, None]
    blind = (random > 0.72) & (depth < (random - 0.72) * 2.6)
    glass = np.where(blind[:, None], np.float32((0.55, 0.5, 0.42)), glass)
    shadow = np.where(depth < 0.14, 0.45, 1.0)
    albedo = np.where(pane[:, None], glass * shadow[:, None], albedo)
    slope = np.clip(0.10 + 0.42 * depth + 0.25 * (random - 0.5), 0, 0.7)
    return Look(albedo.astype(np.float32), mirror=pane * slope * shadow * ~blind)


def _road(points: Points) -> Look:
    """Asphalt or setts with painted lines; u lies across the road, v along it.

    numbers: half width, surface (0 asphalt, 1 setts), middle line (0 none, 1 dashed, 2 solid), v of
    a crossing (negative: none), edge lines (0, 1). `second` is the paint.
    """
    half, setts, middle, crossing, edges, _ = points.numbers.T
    tint = 0.84 + 0.32 * smooth(points.u, points.v, 4.0)
    tint = tint + 0.3 * _fade(points, 0.12) * (speckle(points.u, points.v, 0.07) - 0.5)
    wear = smooth(points.u * 2.5, points.v * 0.2, 3.0)
    ground = points.colour * (tint * (0.94 + 0.12 * wear))[:, None]
    stones = _bricks(points, points.colour, points.colour * 0.45)
    ground = np.where((setts == 1)[:, None], stones, ground)
    dash = points.v / 5.0 - np.floor(points.v / 5.0) < 0.5
    line = (np.abs(points.u) < 0.09) & ((middle == 2) | ((middle == 1) & dash))
    line |= (np.abs(np.abs(points.u) - half + 0.35) < 0.07) & (edges == 1)
    bar = points.u / 1.0 - np.floor(points.u / 1.0) < 0.5
    zebra = (crossing > 0) & (np.abs(points.v - crossing) < 1.5)
    line = (line & ~zebra) | (zebra & bar & (np.abs(points.u) < half - 0.3))
    worn = np.clip(1.25 - 0.7 * smooth(points.u + 11, points.v, 1.2), 0, 0.92)
    return Look(_mix(ground, points.second, line * worn))


def _glow(points: Points) -> Look:
    return Look(points.colour, glow=1.0)


def _stripes(points: Points) -> Look:
    """Two colours side by side; numbers: width of a stripe."""
    along = points.u / (2 * points.numbers[:, 0])
    odd = along - np.floor(along) < 0.5
    return Look(np.where(odd[:, None], points.colour, points.second))


def _plain(points: Points) -> Look:
    return Look(points.colour)


_FINISHES: dict[Finish, Callable[[Points], Look]] = {
    Finish.PLAIN: _plain,
    Finish.BRICK: _brick,
    Finish.TILES: _tiles,
    Finish.GRAIN: _grain,
    Finish.LEAVES: _leaves,
    Finish.PLANKS: _planks,
    Finish.SHEET: _sheet,
    Finish.PAINT: _paint,
    Finish.GLASS: _glass,
    Finish.FACADE: _facade,
    Finish.ROAD: _road,
    Finish.GLOW: _glow,
    Finish.STRIPES: _stripes,
}
