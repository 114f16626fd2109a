"""Small things of a street: lamp posts, postboxes, and things that no category covers."""

from __future__ import annotations

import numpy as np

from prolab_d2.scenes.kit import PAINTS, Kit
from prolab_d2.scenes.model import Finish, Surface
from prolab_d2.scenes.shapes import box, cylinder, ellipsoid, extrusion

__all__ = ["other_thing", "pole", "postbox"]


def _post(kit: Kit, instance: int, height: float, radius: float, paint: Surface) -> None:
    shaft = cylinder(radius, height, top_radius=radius * 0.8, sides=8)
    kit.model.add_round(instance, shaft, paint, (0, 0, 0), (radius, np.inf, radius))
    kit.model.add(instance, cylinder(radius * 1.7, 0.5, top_radius=radius * 1.3, sides=8), paint)


def pole(kit: Kit, side: int) -> None:
    """A lamp post with an arm to one side (-1 left, 1 right), a globe lamp, or a traffic light."""
    rng, model = kit.rng, kit.model
    kind = kit.choose(("arm", "globe", "traffic light"), (0.4, 0.3, 0.3))
    name = kit.choose(("grey", "green", "black", "white", "blue"), (0.4, 0.2, 0.2, 0.1, 0.1))
    instance = model.instance(
        "pole", colour=name, material="metal", form=kind, orientation="upright"
    )
    paint = Surface(Finish.SHEET, kit.palette.colour(name), numbers=(9.0,))
    lamp = Surface(Finish.GLOW, np.array((0.95, 0.90, 0.72)))
    if kind == "arm":
        height = rng.uniform(4.6, 6.0)
        _post(kit, instance, height, 0.18, paint)
        model.add(instance, box((1.7, 0.15, 0.16), (0.75 * side, height - 0.12, 0)), paint)
        model.add(instance, box((0.85, 0.18, 0.34), (1.5 * side, height - 0.05, 0)), paint)
        model.add(instance, box((0.7, 0.05, 0.26), (1.5 * side, height - 0.1, 0)), lamp)
    elif kind == "globe":
        height = rng.uniform(3.2, 4.0)
        _post(kit, instance, height, 0.17, paint)
        at = (0.0, height + 0.22, 0.0)
        radii = (0.32, 0.32, 0.32)
        model.add_round(instance, ellipsoid(radii, at, 10, 7), lamp, at, radii)
        model.add(instance, cylinder(0.26, 0.14, (0, height + 0.42, 0), 0.06, 8), paint)
    else:
        height = rng.uniform(2.5, 3.0)
        _post(kit, instance, height, 0.17, paint)
        model.add(instance, box((0.5, 1.25, 0.34), (0, height - 0.1, 0)), paint)
        lit = int(rng.integers(3))
        angle = np.arange(10) * (2 * np.pi / 10)
        disc = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 0.15
        for index, colour in enumerate(((0.02, 0.5, 0.12), (0.9, 0.5, 0.03), (0.8, 0.05, 0.03))):
            on = index == lit
            light = Surface(
                Finish.GLOW if on else Finish.PLAIN, np.array(colour) * (1 if on else 0.2)
            )
            at = (0, height + 0.14 + 0.38 * index, -0.18)
            model.add(instance, extrusion(disc, 0.04, at), light)


def postbox(kit: Kit) -> None:
    """A pillar box or a box on a foot; its slot and its notice face -z."""
    rng, model = kit.rng, kit.model
    name = kit.choose(("red", "yellow", "blue", "green"))
    pillar = kit.chance(0.5)
    instance = model.instance(
        "postbox",
        colour=name,
        material="metal",
        form="pillar" if pillar else "box",
        orientation="upright",
    )
    paint = Surface(Finish.PAINT, kit.palette.colour(name))
    black = Surface(Finish.PLAIN, np.full(3, 0.02))
    white = Surface(Finish.PLAIN, np.full(3, 0.8))
    height = rng.uniform(1.45, 1.7)
    if pillar:
        radius = 0.42
        model.add(instance, cylinder(radius * 1.12, 0.18, sides=14), black)
        body = cylinder(radius, height - 0.14, (0, 0.14, 0), sides=14)
        model.add_round(instance, body, paint, (0, 0, 0), (radius, np.inf, radius))
        model.add(instance, cylinder(radius * 1.18, 0.1, (0, height, 0), sides=14), paint)
        at = (0.0, height + 0.1, 0.0)
        radii = (radius * 1.1, 0.17, radius * 1.1)
        model.add_round(instance, ellipsoid(radii, at, 14, 4), paint, at, radii)
        front = -radius - 0.01
    else:
        model.add(instance, box((0.36, 0.5, 0.32)), Surface(Finish.PLAIN, np.full(3, 0.1)))
        model.add(instance, box((0.98, height - 0.4, 0.7), (0, 0.4, 0)), paint)
        angle = np.arange(9) * (np.pi / 8)
        arch = np.stack([np.cos(angle), np.sin(angle) * 0.6], axis=1) * 0.51
        model.add(instance, extrusion(arch, 0.74, (0, height, 0)), paint)
        front = -0.37
    model.add(instance, box((0.46, 0.1, 0.05), (0, height - 0.22, front)), black)
    model.add(instance, box((0.32, 0.3, 0.04), (0, height - 0.72, front)), white)


def other_thing(kit: Kit) -> None:
    """A cone, a litter bin or a crate: real streets hold things that no category covers."""
    kind = kit.choose(("cone", "bin", "crates"))
    instance = kit.model.instance(None, form=kind)
    name = kit.choose(PAINTS)
    paint = Surface(Finish.PLAIN, kit.palette.colour(name))
    white = Surface(Finish.PLAIN, np.full(3, 0.8))
    if kind == "cone":
        orange = Surface(Finish.PLAIN, kit.palette.colour("red") * (1.0, 2.5, 0.6))
        kit.model.add(instance, box((0.5, 0.06, 0.5)), orange)
        kit.model.add(instance, cylinder(0.2, 0.75, (0, 0.05, 0), 0.04, 10), orange)
        kit.model.add(instance, cylinder(0.16, 0.16, (0, 0.32, 0), 0.12, 10), white)
    elif kind == "bin":
        kit.model.add(instance, cylinder(0.3, 0.85, (0, 0.04, 0), 0.34, 10), paint)
        kit.model.add(instance, cylinder(0.36, 0.08, (0, 0.86, 0), sides=10), white)
    else:
        wood = Surface(Finish.PLANKS, kit.palette.colour("wood"), numbers=(0.15,))
        for level in range(2):
            kit.model.add(instance, box((0.7, 0.42, 0.55), (0.08 * level, 0.43 * level, 0)), wood)
