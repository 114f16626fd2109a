"""Trees and hedges."""

from __future__ import annotations

import numpy as np

from prolab_d2.scenes.kit import Kit
from prolab_d2.scenes.model import Finish, Surface
from prolab_d2.scenes.shapes import box, cylinder, ellipsoid

__all__ = ["hedge", "tree"]


def _foliage(
    kit: Kit, names: tuple[str, ...], weights: tuple[float, ...], tuft: float
) -> tuple[str, Surface]:
    name = kit.choose(names, weights)
    colour = kit.palette.colour(f"{name} leaves")
    return name, Surface(Finish.LEAVES, colour, colour * 1.9 + 0.02, (tuft,))


def tree(kit: Kit, height: float) -> None:
    """A trunk under a crown of several balls, or of stacked cones."""
    rng, model = kit.rng, kit.model
    conifer = kit.chance(0.22)
    if conifer:
        name, leaves = _foliage(kit, ("green",), (1.0,), 0.3)
    else:
        name, leaves = _foliage(kit, ("green", "yellow", "red"), (0.66, 0.18, 0.16), 0.4)
    instance = model.instance(
        "tree",
        colour=name,
        material="leaves",
        form="cone" if conifer else "ball",
        orientation="upright",
    )
    bark = Surface(Finish.GRAIN, kit.palette.colour("wood") * 0.55, numbers=(0.5,))
    radius = 0.045 * height**0.9 + 0.05
    trunk_height = height * (0.22 if conifer else rng.uniform(0.36, 0.46))
    trunk = cylinder(radius, trunk_height + 0.4, top_radius=radius * 0.75, sides=8)
    model.add_round(instance, trunk, bark, (0, 0, 0), (radius, np.inf, radius))
    if conifer:
        layers = 4
        for layer in range(layers):
            share = layer / layers
            wide = height * 0.24 * (1 - share * 0.8)
            y = trunk_height + (height - trunk_height) * share * 0.9
            tall = (height - trunk_height) * 0.44
            cone = cylinder(wide, tall, (0, y, 0), top_radius=0.02, sides=9)
            model.add(instance, cone, leaves)
        return
    crown = height - trunk_height
    wide = crown * rng.uniform(0.42, 0.56)
    middle = trunk_height + crown * 0.48
    for ball in range(int(rng.integers(8, 12))):
        angle = ball * 2.4 + rng.uniform(-0.4, 0.4)
        up = rng.uniform(-0.34, 0.40)
        out = wide * np.sqrt(max(0.25 - up * up, 0.02)) * 1.35
        size = crown * rng.uniform(0.2, 0.3)
        at = (out * np.cos(angle), middle + up * crown, out * np.sin(angle))
        radii = (size * 1.1, size * 0.9, size * 1.1)
        model.add_round(instance, ellipsoid(radii, at, 9, 6), leaves, at, radii)
    at = (0.0, middle, 0.0)
    radii = (wide * 0.7, crown * 0.42, wide * 0.7)
    model.add_round(instance, ellipsoid(radii, at, 10, 6), leaves, at, radii)


def hedge(kit: Kit, length: float) -> None:
    """A clipped hedge along x, its middle at the origin: a long block, or a row of round bushes."""
    rng, model = kit.rng, kit.model
    name, leaves = _foliage(kit, ("green", "yellow", "red"), (0.74, 0.12, 0.14), 0.3)
    round_ = kit.chance(0.3)
    instance = model.instance(
        "hedge",
        colour=name,
        material="leaves",
        form="row of balls" if round_ else "band",
        orientation="horizontal",
    )
    height = rng.uniform(1.2, 1.7)
    if not round_:
        deep = rng.uniform(0.7, 1.0)
        model.add(instance, box((length, height, deep)), leaves)
        for x in np.arange(-length / 2 + 0.3, length / 2, 0.62):
            at = (float(x), height - 0.12, 0.0)
            radii = (0.52, rng.uniform(0.18, 0.3), deep * 0.52)
            model.add_round(instance, ellipsoid(radii, at, 8, 4), leaves, at, radii)
        return
    for x in np.arange(-length / 2 + 0.5, length / 2, 0.95):
        tall = height * rng.uniform(0.46, 0.56)
        at = (float(x), tall * 0.9, rng.uniform(-0.08, 0.08))
        radii = (0.62, tall, 0.58)
        model.add_round(instance, ellipsoid(radii, at, 10, 6), leaves, at, radii)
