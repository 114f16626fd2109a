"""People."""

from __future__ import annotations

import numpy as np

from prolab_d2.scenes.kit import Kit
from prolab_d2.scenes.model import Finish, Surface
from prolab_d2.scenes.shapes import box, cylinder, ellipsoid, frustum

__all__ = ["person"]


def person(kit: Kit) -> None:
    """A figure that faces -z; some carry a bag or wear a hat."""
    rng, model = kit.rng, kit.model
    name, lower = kit.paint_name(), kit.paint_name()
    instance = model.instance(
        "person", colour=name, second_colour=lower, material="cloth", form="figure",
        orientation="upright",
    )  # fmt: skip
    cloth = Surface(Finish.GRAIN, kit.palette.colour(name), numbers=(0.12,))
    trousers = Surface(Finish.GRAIN, kit.palette.colour(lower) * 0.8, numbers=(0.12,))
    skin = Surface(Finish.PLAIN, kit.palette.colour("skin"))
    hair = Surface(Finish.PLAIN, kit.palette.colour("hair"))
    size = rng.uniform(1.02, 1.18)
    stride = rng.uniform(-0.26, 0.26)
    hip, shoulder = 0.88 * size, 1.46 * size
    skirt = kit.chance(0.25)
    for side in (-1, 1):
        leg = frustum((0.2, 0.22), (0.25, 0.28), hip, (side * 0.13, 0, 0))
        swing = side * stride * (1 - leg[:, :, 1] / hip)
        leg[:, :, 2] += swing
        model.add(instance, leg, skin if skirt else trousers)
        shoe = box((0.2, 0.1, 0.34), (side * 0.13, 0, side * stride - 0.05))
        model.add(instance, shoe, Surface(Finish.PLAIN, np.full(3, 0.03)))
    if skirt:
        low = 0.45 * size
        model.add(instance, cylinder(0.33, hip - low + 0.1, (0, low, 0), 0.22, 8), trousers)
    coat = cylinder(0.29, shoulder - hip + 0.14, (0, hip - 0.12, 0), 0.27, 10)
    coat[:, :, 2] *= 0.72
    model.add_round(instance, coat, cloth, (0, 0, 0), (0.29, np.inf, 0.21))
    radii = (0.31, 0.13, 0.21)
    at = (0.0, shoulder, 0.0)
    model.add_round(instance, ellipsoid(radii, at, 10, 4), cloth, at, radii)
    for side in (-1, 1):
        arm = frustum(
            (0.13, 0.14), (0.16, 0.17), 0.62 * size, (side * 0.33, shoulder - 0.6 * size, 0)
        )
        drop = (shoulder - arm[:, :, 1]) / (0.62 * size)
        arm[:, :, 2] -= side * stride * 1.1 * drop
        arm[:, :, 0] += side * 0.06 * drop
        model.add(instance, arm, cloth)
        at = (side * 0.39, shoulder - 0.64 * size, -side * stride * 1.1)
        radii = (0.075, 0.09, 0.075)
        model.add_round(instance, ellipsoid(radii, at, 6, 4), skin, at, radii)
    head = (0.0, shoulder + 0.27 * size, 0.0)
    radii = (0.165, 0.195, 0.175)
    model.add_round(instance, ellipsoid(radii, head, 10, 7), skin, head, radii)
    at = (0.0, head[1] + 0.045, 0.045)
    radii = (0.178, 0.185, 0.178)
    model.add_round(instance, ellipsoid(radii, at, 10, 6), hair, at, radii)
    extra = kit.choose(("none", "bag", "hat"), (0.5, 0.3, 0.2))
    paint = Surface(Finish.GRAIN, kit.palette.colour(kit.paint_name()), numbers=(0.1,))
    if extra == "bag":
        model.add(instance, box((0.36, 0.44, 0.2), (0, shoulder - 0.44, 0.27)), paint)
    elif extra == "hat":
        model.add(instance, cylinder(0.25, 0.04, (0, head[1] + 0.1, 0), sides=10), paint)
        model.add(instance, cylinder(0.17, 0.16, (0, head[1] + 0.12, 0), 0.15, 10), paint)
