"""Houses and the things that border their ground: terraces, gabled houses, fences."""

from __future__ import annotations

import numpy as np

from prolab_d2.scenes.kit import Kit
from prolab_d2.scenes.model import Finish, Surface
from prolab_d2.scenes.shapes import box, extrusion, plate, ring_of_columns

__all__ = ["fence", "house", "terrace"]

_DARK_GLASS = np.array((0.03, 0.045, 0.06))


def _wall(kit: Kit) -> tuple[float, np.ndarray, str, str]:
    """Base number of the facade finish, colour, name of the colour, name of the material."""
    kind = kit.choose(("brick", "plaster", "panels"), (0.5, 0.32, 0.18))
    if kind == "brick":
        name = kit.choose(("red", "grey", "yellow"), (0.62, 0.2, 0.18))
        return 1.0, kit.palette.colour(f"{name} brick"), name, "brick"
    if kind == "panels":
        name = kit.choose(("grey", "white", "blue"), (0.5, 0.3, 0.2))
        return 2.0, kit.palette.colour(name) * 0.85, name, "concrete"
    name = kit.choose(("white", "yellow", "red", "green", "blue", "grey"))
    colour = kit.palette.colour(name)
    # Plaster is a pale version of the paint.
    return 0.0, colour * 0.62 + 0.26, name, "plaster"


def terrace(kit: Kit, width: float, height: float, depth: float) -> None:
    """A town house with shops and a cornice; its front faces -z, its middle at the origin."""
    base, colour, name, material = _wall(kit)
    instance = kit.model.instance(
        "building", colour=name, material=material, form="block", orientation="upright"
    )
    ground = kit.rng.uniform(3.0, 3.8)
    bay = width / max(round(width / kit.rng.uniform(2.2, 3.3)), 1)
    storeys = max(round((height - ground) / kit.rng.uniform(2.8, 3.4)), 1)
    storey = (height - ground) / storeys
    frame = np.full(3, 0.75) if kit.chance(0.65) else _DARK_GLASS
    numbers = (
        base,
        bay,
        storey,
        kit.rng.uniform(0.38, 0.66),
        kit.rng.uniform(0.48, 0.68),
        float(kit.rng.integers(1000)),
    )
    upper = Surface(Finish.FACADE, colour, frame, numbers)
    middle = depth / 2
    kit.model.add(instance, box((width, height - ground, depth), (0, ground, middle))[:4], upper)
    kit.model.add(
        instance,
        box((width, height, depth), (0, 0, middle))[4:5],
        Surface(Finish.GRAIN, colour * 0.7, numbers=(0.2,)),
    )
    # The ground floor is a wall of its own finish, with a door and shop windows set into it.
    if base == 1:
        wall = Surface(Finish.BRICK, colour, np.full(3, 0.42))
    else:
        wall = Surface(Finish.GRAIN, colour * kit.rng.uniform(0.75, 1.0), numbers=(0.15,))
    kit.model.add(instance, box((width, ground, depth), (0, 0, middle))[:4], wall)
    trim = Surface(Finish.PLAIN, frame if frame[0] > 0.5 else np.full(3, 0.2))
    kit.model.add(instance, box((width + 0.2, 0.28, 0.3), (0, ground - 0.14, -0.08)), trim)
    kit.model.add(instance, box((width + 0.36, 0.42, 0.5), (0, height - 0.3, -0.1)), trim)
    paint = kit.palette.colour(kit.paint_name())
    door_x = kit.rng.uniform(-0.3, 0.3) * width
    kit.model.add(instance, box((1.25, 2.4, 0.1), (door_x, 0, -0.03)), Surface(Finish.PAINT, paint))
    glass = Surface(Finish.GLASS, _DARK_GLASS * 1.4, numbers=(kit.rng.uniform(0, 2),))
    for x in ring_of_columns(width - 0.8, 2.6):
        if abs(x - door_x) > 1.75:
            kit.model.add(instance, box((2.1, 1.75, 0.08), (x, 0.7, -0.02)), trim)
            kit.model.add(instance, plate(1.9, 1.55, (x, 0.8, -0.075)), glass)
    if kit.chance(0.4):
        awning = extrusion(np.array([(0, 2.45), (1.3, 2.2), (1.3, 2.3), (0, 2.85)]), width * 0.8)
        stripes = Surface(Finish.STRIPES, paint, np.full(3, 0.8), (0.45,))
        with kit.model.place(0, 0, -0.05, np.pi / 2):
            kit.model.add(instance, awning, stripes)
    if kit.chance(0.35):
        for x in ring_of_columns(width, bay)[::2]:
            y = ground + storey * 1.02
            kit.model.add(instance, box((bay * 0.8, 0.14, 0.9), (x, y, -0.45)), trim)
            rail = Surface(Finish.PLANKS, np.full(3, 0.10), numbers=(0.16,))
            kit.model.add(instance, box((bay * 0.8, 0.85, 0.06), (x, y + 0.14, -0.87)), rail)


def house(kit: Kit, width: float, depth: float) -> None:
    """A house with a gabled roof; front towards -z, its middle at the origin."""
    base, colour, name, material = _wall(kit)
    instance = kit.model.instance(
        "building", colour=name, material=material, form="gabled", orientation="upright"
    )
    storeys = int(kit.rng.integers(1, 3))
    height = 2.9 * storeys
    bay = width / max(round(width / kit.rng.uniform(2.4, 3.2)), 1)
    frame = np.full(3, 0.8)
    numbers = (base, bay, 2.9, 0.46, 0.46, float(kit.rng.integers(1000)))
    middle = depth / 2
    kit.model.add(
        instance,
        box((width, height, depth), (0, 0, middle))[:4],
        Surface(Finish.FACADE, colour, frame, numbers),
    )
    tiles = kit.palette.colour(kit.choose(("red brick", "asphalt", "black"), (0.55, 0.3, 0.15)))
    roof = Surface(Finish.BRICK, tiles, tiles * 0.5)
    rise = kit.rng.uniform(0.4, 0.55) * depth
    over = 0.4
    along = kit.chance(0.5)
    span = depth if along else width
    length = width if along else depth
    outline = np.array([(-span / 2 - over, 0.0), (span / 2 + over, 0.0), (0.0, rise)])
    with kit.model.place(0, height, middle, np.pi / 2 if along else 0.0):
        prism = extrusion(outline, length + 2 * over)
        gable = Surface(Finish.GRAIN, colour * 0.95, numbers=(0.15,))
        kit.model.add(instance, prism[:2], gable)
        kit.model.add(instance, prism[2:], roof)
    chimney = (kit.rng.uniform(-0.3, 0.3) * width, height + rise * 0.5, middle)
    kit.model.add(
        instance,
        box((0.7, rise * 0.8, 0.7), chimney),
        Surface(Finish.BRICK, kit.palette.colour("red brick"), np.full(3, 0.4)),
    )
    paint = kit.palette.colour(kit.paint_name())
    x = (np.floor(width / bay / 2) + 0.5) * bay - width / 2
    kit.model.add(instance, box((1.15, 2.2, 0.12), (x, 0, -0.04)), Surface(Finish.PAINT, paint))


def fence(kit: Kit, length: float) -> None:
    """A fence along x, its middle at the origin: boards, ribbed metal, or bricks with pillars."""
    kind = kit.choose(("boards", "sheet", "wall"), (0.45, 0.3, 0.25))
    height = kit.rng.uniform(1.2, 1.75)
    if kind == "boards":
        name = kit.choose(("brown", "green", "white", "blue"), (0.45, 0.25, 0.2, 0.1))
        colour = kit.palette.colour("wood" if name == "brown" else name)
        surface = Surface(Finish.PLANKS, colour, numbers=(kit.rng.uniform(0.22, 0.34),))
        material = "wood"
    elif kind == "sheet":
        name = kit.choose(("grey", "green", "blue"), (0.6, 0.25, 0.15))
        surface = Surface(Finish.SHEET, kit.palette.colour(name), numbers=(0.34,))
        material = "metal"
    else:
        name = kit.choose(("red", "grey"), (0.75, 0.25))
        colour = kit.palette.colour(f"{name} brick")
        surface = Surface(Finish.BRICK, colour, np.full(3, 0.42))
        material = "brick"
    instance = kit.model.instance(
        "fence", colour=name, material=material, form="band", orientation="upright"
    )
    kit.model.add(instance, box((length, height, 0.12), (0, 0.05, 0)), surface)
    post = surface if kind == "wall" else Surface(Finish.GRAIN, surface.colour * 0.8, None, (0.1,))
    for x in np.linspace(-length / 2, length / 2, max(int(length / 2.2), 1) + 1):
        kit.model.add(instance, box((0.24, height + 0.22, 0.24), (x, 0, 0)), post)
    rail = Surface(Finish.PLAIN, surface.colour * 1.1)
    kit.model.add(instance, box((length, 0.09, 0.2), (0, height + 0.05, 0)), rail)
