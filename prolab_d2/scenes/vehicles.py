"""Cars and buses; length along z, front towards -z, middle of the ground outline at the origin."""

from __future__ import annotations

import numpy as np

from prolab_d2.scenes.kit import Kit
from prolab_d2.scenes.model import Finish, Surface
from prolab_d2.scenes.shapes import box, extrusion, frustum, plate

__all__ = ["bus", "car"]

_GLASS = np.array((0.02, 0.03, 0.045))
_TYRE = Surface(Finish.PLAIN, np.array((0.018, 0.018, 0.02)))
_HUB = Surface(Finish.PLAIN, np.array((0.35, 0.36, 0.38)))


def _wheels(
    kit: Kit, instance: int, radius: float, width: float, places: tuple[float, ...]
) -> None:
    angle = np.arange(12) * (np.pi / 6)
    outline = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for z in places:
        for x in (-width / 2 + 0.1, width / 2 - 0.1):
            with kit.model.place(x, radius, z, np.pi / 2):
                kit.model.add(instance, extrusion(outline * radius, 0.26), _TYRE)
                kit.model.add(instance, extrusion(outline * radius * 0.55, 0.29), _HUB)


def _lamps(kit: Kit, instance: int, width: float, y: float, length: float, size: float) -> None:
    """Pale lamps in front (-z), red ones behind."""
    pale = Surface(Finish.GLOW, np.array((0.75, 0.74, 0.66)))
    red = Surface(Finish.PLAIN, np.array((0.55, 0.03, 0.02)))
    for x in (-width * 0.36, width * 0.36):
        lamp = box((size * 1.5, size, 0.1), (x, y, 0))
        kit.model.add(instance, lamp + np.array((0, 0, -length / 2)), pale)
        kit.model.add(instance, lamp + np.array((0, 0, length / 2)), red)


def car(kit: Kit) -> None:
    """A saloon, a hatchback or a van-like car."""
    rng, model = kit.rng, kit.model
    name = kit.paint_name()
    kind = kit.choose(("saloon", "hatchback", "estate"), (0.4, 0.4, 0.2))
    instance = model.instance(
        "car", colour=name, material="metal", form=kind, orientation="horizontal"
    )
    paint = Surface(Finish.PAINT, kit.palette.colour(name))
    width = rng.uniform(1.75, 1.9)
    length = {"saloon": 4.5, "hatchback": 3.9, "estate": 4.5}[kind] * rng.uniform(0.96, 1.05)
    sill, belt = 0.28, rng.uniform(0.86, 0.96)
    half = length / 2
    # Lower body: a long box with a sloping bonnet; the outline lies in the z-y plane.
    nose = -half + 0.95 if kind != "hatchback" else -half + 0.8
    tail = half - (0.7 if kind == "saloon" else 0.08)
    outline = np.array(
        [
            (-half, sill),
            (half, sill),
            (half, belt - 0.06),
            (tail, belt),
            (nose, belt),
            (-half + 0.05, belt - 0.2),
        ]
    )
    with model.place(0, 0, 0, np.pi / 2):
        # After the quarter turn, x of the outline points along -z.
        model.add(instance, extrusion(outline[::-1] * (-1, 1), width), paint)
    roof = belt + rng.uniform(0.5, 0.6)
    front, back = nose + 0.05, tail - 0.05
    slope_front, slope_back = 0.62, (0.55 if kind == "saloon" else 0.25)
    cabin = frustum(
        (width - 0.06, back - front),
        (width - 0.42, back - front - slope_front - slope_back),
        roof - belt,
        (0, belt - 0.01, (front + back) / 2),
        (slope_front - slope_back) / 2,
    )
    model.add(instance, cabin[:4], Surface(Finish.GLASS, _GLASS, numbers=(rng.uniform(0, 2),)))
    model.add(instance, cabin[4:5] + np.array((0, 0.015, 0)), paint)
    top = cabin[4]
    roof_size = (width - 0.38, top[:, 2].max() - top[:, 2].min() + 0.06)
    model.add(
        instance,
        box((roof_size[0], 0.07, roof_size[1]), (0, roof - 0.02, top[:, 2].mean())),
        paint,
    )
    pillar = (front + back) / 2 + rng.uniform(-0.1, 0.25)
    for side in (-1, 1):
        leaning = frustum(
            (0.05, 0.13), (0.05, 0.13), roof - belt, (side * (width / 2 - 0.03), belt, pillar)
        )
        leaning[:, :, 0] -= side * 0.18 * (leaning[:, :, 1] - belt) / (roof - belt)
        model.add(instance, leaning, paint)
    trim = Surface(Finish.PLAIN, np.full(3, 0.03))
    model.add(instance, box((width * 0.98, 0.16, length * 0.99), (0, sill - 0.08, 0)), trim)
    number_plate = Surface(Finish.PLAIN, np.full(3, 0.7))
    model.add(instance, plate(0.55, 0.14, (0, 0.42, -half - 0.02)), number_plate)
    model.add(instance, box((0.55, 0.14, 0.04), (0, 0.5, half + 0.01)), number_plate)
    _lamps(kit, instance, width, belt - 0.34, length, 0.16)
    _wheels(kit, instance, 0.33, width, (-half + 0.8, half - 0.8))


def bus(kit: Kit) -> None:
    """A bus or a tall van with a band of windows."""
    rng, model = kit.rng, kit.model
    name = kit.choose(("red", "yellow", "green", "blue", "white"))
    length = rng.uniform(6.5, 9.0)
    double = kit.chance(0.25)
    instance = model.instance(
        "bus",
        colour=name,
        material="metal",
        form="double-decker" if double else "single-decker",
        orientation="horizontal",
    )
    paint = Surface(Finish.PAINT, kit.palette.colour(name))
    width, half = 2.45, length / 2
    height = 4.1 if double else 2.95
    model.add(instance, box((width, height - 0.35, length), (0, 0.35, 0)), paint)
    model.add(instance, box((width - 0.25, 0.14, length - 0.4), (0, height, 0)), paint)
    band = Surface(
        Finish.PAINT, kit.palette.colour(kit.choose(("white", "yellow", "blue", "grey")))
    )
    model.add(instance, box((width + 0.02, 0.22, length + 0.02), (0, 0.95, 0)), band)
    decks = (1.35, 2.75) if double else (1.35,)
    for deck in decks:
        tall = 0.95
        _panes(kit, instance, length, width, deck, tall)
        front = Surface(Finish.GLASS, _GLASS, numbers=(rng.uniform(0, 2),))
        model.add(instance, plate(width - 0.3, tall + 0.15, (0, deck - 0.1, -half - 0.02)), front)
        with model.place(0, 0, 0, np.pi):
            model.add(instance, plate(width - 0.6, tall, (0, deck, -half - 0.02)), front)
    board = Surface(Finish.GLOW, np.array((0.75, 0.42, 0.05)))
    model.add(instance, box((1.3, 0.24, 0.06), (0, height - 0.38, -half)), board)
    door = Surface(Finish.GLASS, _GLASS * 1.6, numbers=(0.4,))
    with model.place(-width / 2 - 0.02, 0.4, -half + 1.0, np.pi / 2):
        model.add(instance, plate(1.0, 2.0), door)
    _lamps(kit, instance, width, 0.55, length, 0.2)
    trim = Surface(Finish.PLAIN, np.full(3, 0.03))
    model.add(instance, box((width * 0.98, 0.14, length * 0.99), (0, 0.26, 0)), trim)
    _wheels(kit, instance, 0.46, width, (-half + 1.6, half - 1.7))


def _panes(kit: Kit, instance: int, length: float, width: float, y: float, tall: float) -> None:
    """Side windows: one dark band per side, parted by posts in the colour of the body."""
    number = max(int(length / 1.35), 3)
    pitch = (length - 0.5) / number
    for index in range(number):
        z = -length / 2 + 0.25 + (index + 0.5) * pitch
        glass = Surface(Finish.GLASS, _GLASS, numbers=(0.35 * index,))
        for side in (-1, 1):
            with kit.model.place(side * (width / 2 + 0.015), 0, z, -side * np.pi / 2):
                kit.model.add(instance, plate(pitch - 0.16, tall, (0, y, 0)), glass)
