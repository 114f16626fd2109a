"""The ground of a street: lawn, road with its lines, pavements with kerbs."""

from __future__ import annotations

import numpy as np

from prolab_d2.scenes.kit import Kit
from prolab_d2.scenes.model import Finish, Surface
from prolab_d2.scenes.plan import HALF_SIDE_STREET, KERB, Plan

__all__ = ["build_ground"]


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


def build_ground(kit: Kit, plan: Plan) -> None:
    model = kit.model
    grass, grass_name = _grass_surface(kit)
    lawn = model.instance(
        "grass", colour=grass_name, material="grass", form="ground", orientation="horizontal"
    )
    model.add(lawn, _flat(-160, 160, -4, 190, -0.02), grass)
    zebra = kit.rng.uniform(8, 14) if plan.crossing is None and kit.chance(0.35) else -1.0
    if plan.crossing is not None and kit.chance(0.5):
        zebra = plan.crossing - HALF_SIDE_STREET - 2.2
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
        near, far = plan.crossing - HALF_SIDE_STREET, plan.crossing + HALF_SIDE_STREET
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
            model.add(instance, _flat(x0, x1, z0, z1, KERB), pavement_surface)
            x0, x1 = sorted((side * half, side * (half + 0.22)))
            model.add(instance, _flat(x0, x1, z0, z1, KERB), stone)
            kerb = np.array([(x0, 0, z1), (x0, 0, z0), (x0, KERB, z0), (x0, KERB, z1)])
            if side < 0:
                kerb = np.array([(x1, 0, z0), (x1, 0, z1), (x1, KERB, z1), (x1, KERB, z0)])
            model.add(instance, kerb[None], stone)
            if z0 > 0:
                a, b = sorted((side * half, side * outer))
                face = np.array([(a, 0, z0), (b, 0, z0), (b, KERB, z0), (a, KERB, z0)])
                model.add(instance, face[None], stone)
            strip = plan.verge[index]
            if strip > 0:
                x0, x1 = sorted((side * outer, side * (outer + strip)))
                model.add(lawn, _flat(x0, x1, z0, z1, KERB - 0.02), grass)
