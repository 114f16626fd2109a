"""What lies along a street: houses with and without gardens, parks, and what closes the view."""

from __future__ import annotations

import numpy as np

from prolab_d2.scenes.buildings import fence, house, terrace
from prolab_d2.scenes.kit import Kit
from prolab_d2.scenes.plan import HALF_SIDE_STREET, Plan
from prolab_d2.scenes.plants import hedge, tree

__all__ = ["build_far_end", "build_lots"]

_KINDS = ("terrace", "terrace with garden", "house", "park")
_STYLES = {
    "town": (0.40, 0.30, 0.10, 0.20),
    "suburb": (0.0, 0.15, 0.50, 0.35),
    "mixed": (0.15, 0.30, 0.25, 0.30),
}


def build_lots(kit: Kit, plan: Plan, side: int) -> None:
    """Fills one side of the street from near to far."""
    style = kit.choose(tuple(_STYLES), (0.25, 0.35, 0.4))
    z = float(kit.rng.uniform(-3, 2))
    while z < plan.end - 3:
        if plan.crossing is not None and abs(z - plan.crossing) < HALF_SIDE_STREET + 1.0:
            z = plan.crossing + HALF_SIDE_STREET + 1.0
        room = plan.end - z
        if plan.crossing is not None and z < plan.crossing:
            room = min(room, plan.crossing - HALF_SIDE_STREET - 1.0 - z)
        if room < 4.5:
            z += max(room, 0.5)
            continue
        kind = kit.choose(_KINDS, _STYLES[style])
        if kind == "park":
            z += _park(kit, plan, side, z, room)
        elif kind == "house":
            z += _house(kit, plan, side, z, room)
        else:
            z += _terrace(kit, plan, side, z, room, garden=kind != "terrace")


def _terrace(kit: Kit, plan: Plan, side: int, z: float, room: float, garden: bool) -> float:
    """Adds a town house; returns the length of its lot along the street."""
    length = min(kit.rng.uniform(6, 11), room)
    out = plan.edge(side)
    if garden:
        _border(kit, side, out + 0.5, z, length)
        out += kit.rng.uniform(2.2, 4.0)
    with kit.model.place(side * out, 0, z + length / 2, side * np.pi / 2):
        terrace(kit, length, kit.rng.uniform(6.5, 14), 9.0)
    return length + (2.5 if kit.chance(0.15) else 0.0)


def _house(kit: Kit, plan: Plan, side: int, z: float, room: float) -> float:
    """Adds a house behind a garden; returns the length of its lot."""
    length = min(kit.rng.uniform(9, 13), room)
    edge = plan.edge(side)
    _border(kit, side, edge + 0.5, z, length)
    setback = kit.rng.uniform(3.5, 6.5)
    with kit.model.place(side * (edge + setback), 0, z + length / 2, side * np.pi / 2):
        house(kit, max(length - 3.0, 3.5), 7.0)
    if kit.chance(0.4):
        with kit.model.place(side * (edge + 2.1), 0, z + kit.rng.uniform(0.5, length - 0.5)):
            tree(kit, kit.rng.uniform(2.6, 4.2))
    return length


def _park(kit: Kit, plan: Plan, side: int, z: float, room: float) -> float:
    """Adds a lawn with trees; returns the length of its lot."""
    length = min(kit.rng.uniform(8, 16), room)
    edge = plan.edge(side)
    if kit.chance(0.75):
        _border(kit, side, edge + 0.5, z, length)
    for _ in range(int(kit.rng.integers(2, 4))):
        out = edge + kit.rng.uniform(2.5, 11.0)
        at = z + kit.rng.uniform(0.5, length - 0.5)
        if plan.free(side * out, at, 1.2):
            with kit.model.place(side * out, 0, at, kit.rng.uniform(0, 6)):
                tree(kit, kit.rng.uniform(3.5, 7.5))
    return length


def _border(kit: Kit, side: int, x: float, z: float, length: float) -> None:
    """A hedge or a fence along the pavement, with a gap at times."""
    long = length - (1.4 if kit.chance(0.4) else 0.1)
    with kit.model.place(side * x, 0.05, z + long / 2, side * np.pi / 2):
        if kit.chance(0.5):
            hedge(kit, long)
        else:
            fence(kit, long)


def build_far_end(kit: Kit, plan: Plan) -> None:
    """What closes the view: a row of houses across the street, or trees."""
    rng, model = kit.rng, kit.model
    near = plan.end < 50
    x = -34.0 if near else -60.0
    while x < (34.0 if near else 60.0):
        kind = kit.choose(("terrace", "house", "trees"), (0.5, 0.2, 0.3))
        if kind == "terrace":
            width = float(rng.uniform(7, 12))
            with model.place(x + width / 2, 0, plan.end + 2.5):
                terrace(kit, width, rng.uniform(6, 13), 8.0)
        elif kind == "house":
            width = float(rng.uniform(9, 12))
            with model.place(x + width / 2, 0, plan.end + 3.5):
                house(kit, width - 2, 7.0)
        else:
            width = 6.0
            with model.place(x + 3.0, 0, plan.end + rng.uniform(3, 6)):
                tree(kit, rng.uniform(5, 9))
        x += width
