"""Traffic signs and direction boards."""

from __future__ import annotations

import numpy as np

from prolab_d2.scenes.kit import Kit
from prolab_d2.scenes.model import Finish, Surface
from prolab_d2.scenes.shapes import box, cylinder, extrusion, plate

__all__ = ["sign"]

_WHITE = Surface(Finish.PLAIN, np.full(3, 0.85))
_BLACK = Surface(Finish.PLAIN, np.full(3, 0.03))

# Kind -> colours of the plate, corners, angle of the first corner, share inside the rim.
_PLATES: dict[str, tuple[tuple[str, ...], int, float, float]] = {
    "ring": (("white",), 16, 0.0, 0.74),
    "disc": (("blue", "red", "green"), 16, 0.0, 0.9),
    "triangle": (("white", "yellow"), 3, np.pi / 2, 0.70),
    "diamond": (("yellow", "white"), 4, 0.0, 0.8),
}
_FORMS = {"ring": "round", "disc": "round", "triangle": "triangular", "diamond": "square"}


def sign(kit: Kit) -> None:
    """A plate that faces -z, grey behind, on a post; the post is a thing of its own (a pole)."""
    kind = kit.choose((*_PLATES, "board"), (0.2, 0.2, 0.2, 0.15, 0.25))
    height = kit.rng.uniform(2.3, 2.7)
    low = height - 0.5
    post_name = kit.choose(("grey", "white", "black"), (0.6, 0.2, 0.2))
    post = kit.model.instance(
        "pole", colour=post_name, material="metal", form="post", orientation="upright"
    )
    metal = Surface(Finish.SHEET, kit.palette.colour(post_name), numbers=(9.0,))
    shaft = cylinder(0.14, low, sides=8)
    kit.model.add_round(post, shaft, metal, (0, 0, 0), (0.14, np.inf, 0.14))
    colours = _PLATES[kind][0] if kind in _PLATES else ("blue", "green", "yellow", "red", "white")
    name = kit.choose(colours)
    instance = kit.model.instance(
        "sign",
        colour=name,
        material="metal",
        form=_FORMS.get(kind, "rectangular"),
        orientation="upright",
    )
    face = Surface(Finish.PLAIN, kit.palette.colour(name))
    mark = _BLACK if name in ("white", "yellow") else _WHITE
    if kind == "board":
        _board(kit, instance, low, face, mark)
    else:
        _plate(kit, instance, kind, height, face, mark)


def _board(kit: Kit, instance: int, low: float, face: Surface, mark: Surface) -> None:
    """A wide board with two lines of writing."""
    wide, tall = kit.rng.uniform(1.6, 2.4), kit.rng.uniform(1.0, 1.3)
    slab = box((wide, tall, 0.08), (0, low, -0.12))
    back = Surface(Finish.SHEET, kit.palette.colour("grey"), numbers=(9.0,))
    kit.model.add(instance, np.delete(slab, 2, axis=0), _WHITE)
    kit.model.add(instance, slab[2:3], back)
    kit.model.add(instance, plate(wide - 0.12, tall - 0.12, (0, low + 0.06, -0.175)), face)
    for line in range(2):
        length = wide * kit.rng.uniform(0.4, 0.7)
        left = (length - wide) / 2 + 0.2
        kit.model.add(instance, plate(length, 0.14, (left, low + 0.25 + 0.4 * line, -0.19)), mark)


def _plate(kit: Kit, instance: int, kind: str, height: float, face: Surface, mark: Surface) -> None:
    """A round, triangular or square plate with a rim and a symbol."""
    _, corners, first, inner = _PLATES[kind]
    angle = first + np.arange(corners) * (2 * np.pi / corners)
    outline = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (0.86 if corners == 3 else 0.70)
    red = Surface(Finish.PLAIN, kit.palette.colour("red"))
    back = Surface(Finish.SHEET, kit.palette.colour("grey"), numbers=(9.0,))
    slab = extrusion(outline, 0.07, (0, height, -0.12))
    faces = (corners - 1) // 2
    kit.model.add(
        instance,
        np.delete(slab, slice(faces, 2 * faces), axis=0),
        _WHITE if kind == "disc" else red,
    )
    kit.model.add(instance, slab[faces : 2 * faces], back)
    kit.model.add(instance, extrusion(outline * inner, 0.02, (0, height, -0.17))[:faces], face)
    symbol = kit.choose(("bar", "arrow", "stroke", "none"), (0.3, 0.3, 0.3, 0.1))
    if symbol == "bar":
        kit.model.add(instance, plate(0.6, 0.16, (0, height - 0.08, -0.2)), mark)
    elif symbol != "none":
        kit.model.add(instance, plate(0.15, 0.46, (0, height - 0.27, -0.2)), mark)
    if symbol == "arrow":
        tip = np.array([(-0.2, 0.06), (0.2, 0.06), (0.0, 0.32)])
        kit.model.add(instance, extrusion(tip, 0.02, (0, height, -0.19))[:1], mark)
