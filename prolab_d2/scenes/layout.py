"""Composes a street: ground, lots, traffic, and what stands and walks on the pavements."""

from __future__ import annotations

import numpy as np

from prolab_d2.scenes.ground import build_ground
from prolab_d2.scenes.kit import Kit
from prolab_d2.scenes.lots import build_far_end, build_lots
from prolab_d2.scenes.people import person
from prolab_d2.scenes.plan import HALF_SIDE_STREET, KERB, Plan
from prolab_d2.scenes.plants import tree
from prolab_d2.scenes.signs import sign
from prolab_d2.scenes.street import other_thing, pole, postbox
from prolab_d2.scenes.vehicles import bus, car

__all__ = ["build_street"]


def build_street(kit: Kit, plan: Plan) -> None:
    """Adds everything to the model."""
    build_ground(kit, plan)
    for side in (-1, 1):
        build_lots(kit, plan, side)
    build_far_end(kit, plan)
    _traffic(kit, plan)
    for side in (-1, 1):
        _kerb_line(kit, plan, side)
        _walkers(kit, plan, side)


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
            large = z > 9.5 and kit.chance(0.28)
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
    while z < 22:
        kind = kit.choose(makers, (0.21, 0.27, 0.27, 0.07, 0.04, 0.14))
        x = side * (plan.half_road + rng.uniform(0.55, 0.95))
        blocked = plan.crossing is not None and abs(z - plan.crossing) < HALF_SIDE_STREET + 0.4
        if kind != "none" and not blocked and plan.free(x, z, 0.45):
            turn = rng.uniform(-0.35, 0.35)
            # Some signs and boxes show their backs.
            if kind != "pole" and kit.chance(0.1):
                turn += np.pi
            with model.place(x, KERB, z, turn):
                if kind == "pole":
                    pole(kit, -side)
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
    for _ in range(int(rng.integers(3, 6))):
        z = float(rng.uniform(5.0, 15.0))
        x = side * (plan.half_road + rng.uniform(1.0, width - 0.4))
        y = KERB
        if kit.chance(0.12):
            x, y = rng.uniform(-plan.half_road, plan.half_road), 0.0
        if plan.crossing is not None and abs(z - plan.crossing) < HALF_SIDE_STREET:
            continue
        if plan.free(x, z, 0.42):
            with model.place(x, y, z, rng.uniform(-np.pi, np.pi)):
                person(kit)
