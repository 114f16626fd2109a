"""Composes a street: ground, two rows of lots, a far end, and things on the pavement and the road.

The road runs along z, its middle at x = 0; `side` is -1 on the left, 1 on the right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prolab_d2.scenes.buildings import fence, house, terrace
from prolab_d2.scenes.kit import Kit
from prolab_d2.scenes.model import Finish, Surface
from prolab_d2.scenes.people import person
from prolab_d2.scenes.plants import hedge, tree
from prolab_d2.scenes.signs import sign
from prolab_d2.scenes.street import other_thing, pole, postbox
from prolab_d2.scenes.vehicles import bus, car

__all__ = ["Plan", "build_street", "plan_street"]

_KERB = 0.13


@dataclass
class Plan:
    """Measures of a street.

    Attributes:
        half_road: half the width of the road.
        pavement: widths of the pavements left and right.
        verge: width of a grass strip between pavement and lots, left and right.
        end: z of the houses or trees that close the street.
        crossing: z of the middle of a side street, or None.
        taken: (x, z, radius) of everything placed so far.
    """

    half_road: float
    pavement: tuple[float, float]
    verge: tuple[float, float]
    end: float
    crossing: float | None
    taken: list[tuple[float, float, float]]

    def edge(self, side: int) -> float:
        """Distance of the lots from the middle of the road."""
        index = 0 if side < 0 else 1
        return self.half_road + self.pavement[index] + self.verge[index]

    def free(self, x: float, z: float, radius: float) -> bool:
        """Takes the place if nothing else is there."""
        for other_x, other_z, other in self.taken:
            if (x - other_x) ** 2 + (z - other_z) ** 2 < (radius + other) ** 2:
                return False
        self.taken.append((x, z, radius))
        return True


_SIDE_STREET = 3.2


def plan_street(kit: Kit) -> Plan:
    rng = kit.rng
    verges = tuple(float(rng.uniform(1.0, 2.6)) if kit.chance(0.6) else 0.0 for _ in range(2))
    return Plan(
        half_road=float(rng.uniform(2.9, 4.3)),
        pavement=(float(rng.uniform(2.2, 3.6)), float(rng.uniform(2.2, 3.6))),
        verge=(verges[0], verges[1]),
        end=float(rng.uniform(26, 40)) if kit.chance(0.35) else float(rng.uniform(60, 80)),
        crossing=float(rng.uniform(13, 22)) if kit.chance(0.35) else None,
        taken=[],
    )


def build_street(kit: Kit, plan: Plan) -> None:
    """Adds everything to the model."""
    _ground(kit, plan)
    for side in (-1, 1):
        _lots(kit, plan, side)
    _far_end(kit, plan)
    _traffic(kit, plan)
    for side in (-1, 1):
        _kerb_line(kit, plan, side)
        _walkers(kit, plan, side)


def _flat(x0: float, x1: float, z0: float, z1: float, y: float, cuts: int = 1) -> np.ndarray:
    """(cuts, 4, 3): level ground, from near to far."""
    z = np.linspace(z0, z1, cuts + 1)
    return np.stack(
        [
            np.array([(x0, y, near), (x1, y, near), (x1, y, far), (x0, y, far)])
            for near, far in zip(z[:-1], z[1:], strict=True)
        ]
    )


def _road_surface(kit: Kit, half: float, crossing: float) -> tuple[Surface, str, str]:
    setts = kit.chance(0.3)
    if setts:
        name = kit.choose(("grey", "red"), (0.6, 0.4))
        colour = kit.palette.colour(f"{name} brick") * (0.6 if name == "grey" else 0.8)
        material = "stone" if name == "grey" else "brick"
    else:
        name, material = "grey", "asphalt"
        colour = kit.palette.colour("asphalt")
    middle = float(kit.choose(("0", "1", "2"), (0.25, 0.5, 0.25)))
    numbers = (half, float(setts), middle, crossing, float(kit.chance(0.4)))
    return Surface(Finish.ROAD, colour, np.full(3, 0.72), numbers), name, material


def _pavement_surface(kit: Kit) -> tuple[Surface, str, str]:
    kind = kit.choose(("slabs", "bricks", "asphalt"), (0.45, 0.35, 0.2))
    if kind == "slabs":
        colour = kit.palette.colour("concrete")
        return Surface(Finish.TILES, colour, colour * 0.5), "grey", "concrete"
    if kind == "bricks":
        name = kit.choose(("red", "grey", "yellow"), (0.5, 0.3, 0.2))
        colour = kit.palette.colour(f"{name} brick")
        return Surface(Finish.BRICK, colour, colour * 0.5), name, "brick"
    return (
        Surface(Finish.GRAIN, kit.palette.colour("asphalt") * 1.25, None, (0.3,)),
        "grey",
        "asphalt",
    )


def _grass_surface(kit: Kit) -> tuple[Surface, str]:
    name = kit.choose(("green", "yellow"), (0.8, 0.2))
    colour = kit.palette.colour(f"{name} grass")
    return Surface(Finish.LEAVES, colour, colour * 1.5, (0.22,)), name


def _ground(kit: Kit, plan: Plan) -> None:
    model = kit.model
    grass, grass_name = _grass_surface(kit)
    lawn = model.instance(
        "grass", colour=grass_name, material="grass", form="ground", orientation="horizontal"
    )
    model.add(lawn, _flat(-160, 160, -4, 190, -0.02), grass)
    zebra = kit.rng.uniform(8, 14) if plan.crossing is None and kit.chance(0.35) else -1.0
    if plan.crossing is not None and kit.chance(0.5):
        zebra = plan.crossing - _SIDE_STREET - 2.2
    surface, name, material = _road_surface(kit, plan.half_road, zebra)
    road = model.instance(
        "road", colour=name, material=material, form="ground", orientation="horizontal"
    )
    half = plan.half_road
    # The middle of the road is the origin of its texture, for the lines lie about it.
    for x0, x1 in ((0, half), (-half, 0)):
        quads = _flat(x0, x1, 0, plan.end, 0.0)
        if x0 < 0:
            quads = quads[:, [1, 2, 3, 0]]
        model.add(road, quads, surface)
    pieces = [(-4.0, plan.end)]
    if plan.crossing is not None:
        near, far = plan.crossing - _SIDE_STREET, plan.crossing + _SIDE_STREET
        pieces = [(-4.0, near), (far, plan.end)]
        plain = Surface(
            surface.finish, surface.colour, surface.second, (90.0, surface.numbers[1], 0, -1)
        )
        for side in (-1, 1):
            x0, x1 = sorted((side * half, side * 90.0))
            model.add(road, _flat(x0, x1, near, far, 0.0), plain)
    pavement_surface, name, material = _pavement_surface(kit)
    stone = Surface(Finish.GRAIN, kit.palette.colour("concrete"), numbers=(0.15,))
    for index, side in enumerate((-1, 1)):
        instance = model.instance(
            "pavement", colour=name, material=material, form="ground", orientation="horizontal"
        )
        outer = half + plan.pavement[index]
        for z0, z1 in pieces:
            x0, x1 = sorted((side * (half + 0.22), side * outer))
            model.add(instance, _flat(x0, x1, z0, z1, _KERB), pavement_surface)
            x0, x1 = sorted((side * half, side * (half + 0.22)))
            model.add(instance, _flat(x0, x1, z0, z1, _KERB), stone)
            kerb = np.array([(x0, 0, z1), (x0, 0, z0), (x0, _KERB, z0), (x0, _KERB, z1)])
            if side < 0:
                kerb = np.array([(x1, 0, z0), (x1, 0, z1), (x1, _KERB, z1), (x1, _KERB, z0)])
            model.add(instance, kerb[None], stone)
            if z0 > 0:
                a, b = sorted((side * half, side * outer))
                face = np.array([(a, 0, z0), (b, 0, z0), (b, _KERB, z0), (a, _KERB, z0)])
                model.add(instance, face[None], stone)
            strip = plan.verge[index]
            if strip > 0:
                x0, x1 = sorted((side * outer, side * (outer + strip)))
                model.add(lawn, _flat(x0, x1, z0, z1, _KERB - 0.02), grass)


def _lots(kit: Kit, plan: Plan, side: int) -> None:
    """Fills one side of the street from near to far."""
    rng, model = kit.rng, kit.model
    edge = plan.edge(side)
    style = kit.choose(("town", "suburb", "mixed"), (0.3, 0.35, 0.35))
    z = float(rng.uniform(-3, 2))
    while z < plan.end - 3:
        if plan.crossing is not None and abs(z - plan.crossing) < _SIDE_STREET + 1.0:
            z = plan.crossing + _SIDE_STREET + 1.0
        room = plan.end - z
        if plan.crossing is not None and z < plan.crossing:
            room = min(room, plan.crossing - _SIDE_STREET - 1.0 - z)
        if room < 4.5:
            z += max(room, 0.5)
            continue
        weights = {"town": (0.7, 0.1, 0.2), "suburb": (0.0, 0.6, 0.4), "mixed": (0.3, 0.35, 0.35)}
        kind = kit.choose(("terrace", "house", "park"), weights[style])
        if kind == "terrace":
            length = min(rng.uniform(6, 11), room)
            with model.place(side * edge, 0, z + length / 2, side * np.pi / 2):
                terrace(kit, length, rng.uniform(6.5, 14), 9.0)
            if kit.chance(0.15):
                z += 2.5
        elif kind == "house":
            length = min(rng.uniform(9, 13), room)
            _border(kit, plan, side, edge + 0.4, z, length)
            setback = rng.uniform(3.0, 5.5)
            with model.place(side * (edge + setback), 0, z + length / 2, side * np.pi / 2):
                house(kit, max(length - 3.0, 3.5), 7.0)
            if kit.chance(0.5):
                with model.place(side * (edge + 1.9), 0, z + rng.uniform(0.5, length - 0.5)):
                    tree(kit, rng.uniform(2.6, 4.2))
        else:
            length = min(rng.uniform(8, 16), room)
            _border(kit, plan, side, edge + 0.4, z, length)
            for _ in range(int(rng.integers(2, 5))):
                out = edge + rng.uniform(2.0, 11.0)
                at = z + rng.uniform(0.5, length - 0.5)
                if plan.free(side * out, at, 1.2):
                    with model.place(side * out, 0, at, rng.uniform(0, 6)):
                        tree(kit, rng.uniform(3.5, 7.5))
        z += length


def _border(kit: Kit, plan: Plan, side: int, x: float, z: float, length: float) -> None:
    """A hedge or a fence along the pavement, with a gap at times."""
    kind = kit.choose(("hedge", "fence", "none"), (0.48, 0.46, 0.06))
    if kind == "none":
        return
    long = length - (1.4 if kit.chance(0.5) else 0.2)
    with kit.model.place(side * x, 0.05, z + long / 2, side * np.pi / 2):
        if kind == "hedge":
            hedge(kit, long)
        else:
            fence(kit, long)


def _far_end(kit: Kit, plan: Plan) -> None:
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


def _traffic(kit: Kit, plan: Plan) -> None:
    """Cars and buses in the lanes, at the kerb, and in the side street."""
    rng, model = kit.rng, kit.model
    half = plan.half_road
    if plan.crossing is not None and kit.chance(0.75):
        x = rng.uniform(-9, 9)
        lane = plan.crossing + rng.choice((-1.5, 1.5))
        large = kit.chance(0.35)
        if plan.free(x, lane, 4.2 if large else 2.4):
            plan.taken.append((x - 2.0, lane, 1.4))
            plan.taken.append((x + 2.0, lane, 1.4))
            with model.place(x, 0, lane, np.pi / 2 * rng.choice((-1, 1)) + rng.uniform(-0.1, 0.1)):
                (bus if large else car)(kit)
    for side in (-1, 1):
        # Driving on the right: the right lane shows the backs of cars, the left one their fronts.
        z = float(rng.uniform(6.5, 13))
        parked = kit.chance(0.55)
        while z < min(plan.end - 4, 45):
            large = kit.chance(0.22)
            out = half - 1.15 if parked and not large else half * 0.5 + 0.1
            length = 4.4 if large else 2.4
            if kit.chance(0.72) and plan.free(side * out, z, length * 0.75):
                turn = (np.pi if side > 0 else 0.0) + rng.uniform(-0.04, 0.04)
                if parked and kit.chance(0.3):
                    turn += np.pi
                if not parked and kit.chance(0.18):
                    turn += rng.uniform(-0.5, 0.5)
                with model.place(side * out, 0, z, turn):
                    (bus if large else car)(kit)
            z += (10.5 if large else 5.6) + rng.uniform(0.3, 6.0)


def _kerb_line(kit: Kit, plan: Plan, side: int) -> None:
    """Posts, signs, postboxes, trees and odd things along the kerb."""
    rng, model = kit.rng, kit.model
    z = float(rng.uniform(4.0, 7.0))
    makers = ("pole", "sign", "postbox", "tree", "other", "none")
    while z < 26:
        kind = kit.choose(makers, (0.25, 0.24, 0.22, 0.12, 0.05, 0.12))
        x = side * (plan.half_road + rng.uniform(0.55, 0.95))
        blocked = plan.crossing is not None and abs(z - plan.crossing) < _SIDE_STREET + 0.4
        if kind != "none" and not blocked and plan.free(x, z, 0.45):
            turn = rng.uniform(-0.35, 0.35) + (np.pi if kit.chance(0.1) else 0.0)
            with model.place(x, _KERB, z, turn if kind != "pole" else (np.pi if side > 0 else 0.0)):
                if kind == "pole":
                    pole(kit)
                elif kind == "sign":
                    sign(kit)
                elif kind == "postbox":
                    postbox(kit)
                elif kind == "tree":
                    tree(kit, rng.uniform(3.6, 5.2))
                else:
                    other_thing(kit)
        z += rng.uniform(2.0, 4.2)


def _walkers(kit: Kit, plan: Plan, side: int) -> None:
    """People on the pavement, some on the road."""
    rng, model = kit.rng, kit.model
    width = plan.pavement[0 if side < 0 else 1]
    for _ in range(int(rng.integers(2, 6))):
        z = float(rng.uniform(5.0, 19.0))
        x = side * (plan.half_road + rng.uniform(1.0, width - 0.4))
        y = _KERB
        if kit.chance(0.12):
            x, y = rng.uniform(-plan.half_road, plan.half_road), 0.0
        if plan.crossing is not None and abs(z - plan.crossing) < _SIDE_STREET:
            continue
        if plan.free(x, z, 0.42):
            with model.place(x, y, z, rng.uniform(-np.pi, np.pi)):
                person(kit)
