"""People and the small things of a street: lamp posts, signs, postboxes, and things that no category covers."""

from __future__ import annotations

import numpy as np

from prolab_d2.scenes.kit import PAINTS, Kit
from prolab_d2.scenes.model import Finish, Surface
from prolab_d2.scenes.shapes import box, cylinder, ellipsoid, extrusion, frustum, plate

__all__ = ["other_thing", "person", "pole", "postbox", "sign"]


def person(kit: Kit) -> None:
    """A figure that faces -z: legs, coat, arms, round head, hair; some carry a bag or wear a hat."""
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
    size = rng.uniform(0.98, 1.14)
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


def _post(kit: Kit, instance: int, height: float, radius: float, paint: Surface) -> None:
    shaft = cylinder(radius, height, top_radius=radius * 0.8, sides=8)
    kit.model.add_round(instance, shaft, paint, (0, 0, 0), (radius, np.inf, radius))
    kit.model.add(instance, cylinder(radius * 1.7, 0.5, top_radius=radius * 1.3, sides=8), paint)


def pole(kit: Kit) -> None:
    """A lamp post with an arm towards +x, a globe lamp, or a traffic light."""
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
        _post(kit, instance, height, 0.15, paint)
        model.add(instance, box((1.7, 0.15, 0.16), (0.75, height - 0.12, 0)), paint)
        model.add(instance, box((0.85, 0.18, 0.34), (1.5, height - 0.05, 0)), paint)
        model.add(instance, box((0.7, 0.05, 0.26), (1.5, height - 0.1, 0)), lamp)
    elif kind == "globe":
        height = rng.uniform(3.2, 4.0)
        _post(kit, instance, height, 0.14, paint)
        at = (0.0, height + 0.22, 0.0)
        radii = (0.32, 0.32, 0.32)
        model.add_round(instance, ellipsoid(radii, at, 10, 7), lamp, at, radii)
        model.add(instance, cylinder(0.26, 0.14, (0, height + 0.42, 0), 0.06, 8), paint)
    else:
        height = rng.uniform(2.5, 3.0)
        _post(kit, instance, height, 0.14, paint)
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


def sign(kit: Kit) -> None:
    """A plate that faces -z on a post; the post is a thing of its own (a pole)."""
    rng, model = kit.rng, kit.model
    kind = kit.choose(("ring", "disc", "triangle", "diamond", "board"), (0.2, 0.2, 0.2, 0.15, 0.25))
    name = {
        "ring": "white",
        "disc": kit.choose(("blue", "red", "green")),
        "triangle": kit.choose(("white", "yellow")),
        "diamond": kit.choose(("yellow", "white")),
        "board": kit.choose(("blue", "green", "yellow", "red", "white")),
    }[kind]
    face = Surface(Finish.PLAIN, kit.palette.colour(name))
    pale = Surface(Finish.PLAIN, np.full(3, 0.85))
    dark = Surface(Finish.PLAIN, np.full(3, 0.03))
    rim = Surface(Finish.PLAIN, kit.palette.colour("red") if name != "red" else pale.colour)
    mark = dark if name in ("white", "yellow") else pale
    height = rng.uniform(2.3, 2.8)
    post_name = kit.choose(("grey", "white", "black"), (0.6, 0.2, 0.2))
    post = model.instance(
        "pole", colour=post_name, material="metal", form="post", orientation="upright"
    )
    metal = Surface(Finish.SHEET, kit.palette.colour(post_name), numbers=(9.0,))
    low = height - 0.5
    shaft = cylinder(0.1, low, sides=8)
    model.add_round(post, shaft, metal, (0, 0, 0), (0.1, np.inf, 0.1))
    shape = {"ring": "round", "disc": "round", "triangle": "triangular", "diamond": "square"}
    instance = model.instance(
        "sign", colour=name, material="metal", form=shape.get(kind, "rectangular"),
        orientation="upright",
    )  # fmt: skip
    turns = {"ring": 16, "disc": 16, "triangle": 3, "diamond": 4}
    if kind == "board":
        wide, tall = rng.uniform(1.4, 2.2), rng.uniform(0.9, 1.2)
        model.add(instance, box((wide, tall, 0.08), (0, low, -0.12)), pale)
        model.add(instance, plate(wide - 0.12, tall - 0.12, (0, low + 0.06, -0.175)), face)
        for line in range(2):
            length = wide * rng.uniform(0.4, 0.7)
            model.add(instance, plate(length, 0.14, (0, low + 0.25 + 0.4 * line, -0.19)), mark)
        return
    sides = turns[kind]
    start = {3: np.pi / 2, 4: 0.0}.get(sides, 0.1)
    angle = start + np.arange(sides) * (2 * np.pi / sides)
    outline = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    radius = 0.72 if sides == 3 else 0.6
    model.add(
        instance,
        extrusion(outline * radius, 0.07, (0, height, -0.12)),
        rim if kind != "disc" else pale,
    )
    front = (len(outline) - 1) // 2
    inner = extrusion(
        outline * radius * (0.9 if kind == "disc" else 0.74), 0.02, (0, height, -0.17)
    )
    model.add(instance, inner[:front], face)
    if kind != "ring" or kit.chance(0.5):
        if kit.chance(0.5):
            model.add(instance, plate(0.62, 0.15, (0, height - 0.08, -0.2)), mark)
        else:
            model.add(instance, plate(0.14, 0.55, (0, height - 0.27, -0.2)), mark)


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
    height = rng.uniform(1.35, 1.6)
    if pillar:
        radius = 0.36
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
        model.add(instance, box((0.86, height - 0.4, 0.66), (0, 0.4, 0)), paint)
        roof = cylinder(0.43, 0.7, sides=16)[:, :, [0, 2, 1]][:, ::-1]
        roof = roof + np.array((0, height, -0.35))
        model.add(instance, roof, paint)
        front = -0.34
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
