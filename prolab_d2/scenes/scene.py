"""One scene: picture, labels, instances, and what is true of every instance.

Shapes: H x W image size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prolab_d2.errors import ProLabError
from prolab_d2.scenes.kit import Kit
from prolab_d2.scenes.layout import build_street
from prolab_d2.scenes.model import Model
from prolab_d2.scenes.palette import CATEGORIES, SPLITS, UNLABELLED, Palette
from prolab_d2.scenes.plan import Plan, plan_street
from prolab_d2.scenes.raster import Hits, View
from prolab_d2.scenes.render import SAMPLES, Sun, camera, render

__all__ = ["SIZE", "Scene", "draw_scene"]

SIZE = (192, 256)
"""Height and width of the pictures of the data set."""

_SMALLEST = 24
"""Instances that show fewer pixels than this are left without a label."""


@dataclass(frozen=True)
class Scene:
    """A drawn scene.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) uint8, index into CATEGORIES or UNLABELLED.
        instances: (H, W) uint16; 0 where the mask is UNLABELLED, else the number of an instance.
        attributes: number of an instance -> its category, colour, material, form, orientation.
        conditions: weather, direction of the sun, and every position drawn in a band.
    """

    image: np.ndarray
    mask: np.ndarray
    instances: np.ndarray
    attributes: dict[int, dict[str, str]]
    conditions: dict[str, object]


def draw_scene(seed: int, split: str, size: tuple[int, int] = SIZE) -> Scene:
    """Draws the scene that belongs to a seed; the same arguments always give the same scene.

    Args:
        split: "train", "val" or "test"; decides which colours, weathers and sun directions occur.
        size: height and width of the picture.
    Raises:
        ProLabError: there is no such split.
    """
    if split not in SPLITS:
        raise ProLabError(f"the scenes have no split {split!r}: choose one of {', '.join(SPLITS)}")
    rules = SPLITS[split]
    rng = np.random.default_rng([20231221, rules.number, seed])
    palette = Palette(rng, rules)
    weather = palette.weather(rules.weathers)
    quadrant = int(rng.integers(4))
    azimuth = 90.0 * (quadrant + palette.position())
    elevation = float(rng.uniform(*weather.elevation))
    sun = Sun(_direction(azimuth, elevation), weather)
    kit = Kit(rng, palette, Model())
    sky = kit.model.instance(
        "sky",
        colour="blue" if weather.name in ("clear", "golden") else "grey",
        material="air",
        form="backdrop",
        orientation="above",
    )
    plan = plan_street(kit)
    build_street(kit, plan)
    geometry = kit.model.geometry()
    eye = camera(
        position=(
            float(rng.uniform(-0.8, 0.9)) * plan.half_road,
            float(rng.uniform(1.6, 3.0)),
            0.0,
        ),
        yaw=np.deg2rad(rng.uniform(-17, 17)),
        pitch=np.deg2rad(rng.uniform(-7, 1)),
        roll=np.deg2rad(rng.uniform(-1.5, 1.5)),
        field_of_view=np.deg2rad(rng.uniform(52, 68)),
        size=(size[0] * SAMPLES, size[1] * SAMPLES),
    )
    light, hits = render(geometry, eye, sun)
    image = _develop(light, rng)
    mask, instances = _labels(hits, geometry.instance, kit.model.attributes, sky)
    seen = np.flatnonzero(np.bincount(instances.ravel())[1:]) + 1
    attributes = {int(number): dict(kit.model.attributes[number - 1]) for number in seen}
    conditions = {
        "weather": weather.name,
        "sun_azimuth": azimuth,
        "sun_elevation": elevation,
        "positions": tuple(palette.positions),
    }
    return Scene(image, mask, instances, attributes, conditions)


def _eye(rng: np.random.Generator, plan: Plan, size: tuple[int, int]) -> View:
    """A camera at the height of a person or a driver, on the road or on one of the pavements."""
    x, turn = float(rng.uniform(-0.8, 0.8)) * plan.half_road, 0.0
    if rng.random() < 0.3:
        side = int(rng.choice((-1, 1)))
        x = side * (plan.half_road + float(rng.uniform(1.0, 1.9)))
        turn = -6.0 * side
    return camera(
        position=(x, float(rng.uniform(1.6, 3.0)), 0.0),
        yaw=np.deg2rad(turn + rng.uniform(-24, 24)),
        pitch=np.deg2rad(rng.uniform(-7, 1)),
        roll=np.deg2rad(rng.uniform(-1.5, 1.5)),
        field_of_view=np.deg2rad(rng.uniform(48, 62)),
        size=(size[0] * SAMPLES, size[1] * SAMPLES),
    )


def _direction(azimuth: float, elevation: float) -> np.ndarray:
    a, e = np.deg2rad(azimuth), np.deg2rad(elevation)
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])


def _develop(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Averages the samples, exposes, and adds the noise of a sensor: (H, W, 3) uint8."""
    exposure = 0.34 / max(float(np.median(light[::4, ::4].mean(axis=-1))), 0.05)
    exposed = light * np.float32(min(max(exposure, 0.7), 1.6))
    # Bright light is compressed before the samples are averaged, so that lamps have soft edges.
    toned = np.minimum(exposed * (1.28 + 0.21 * exposed) / (1 + 0.62 * exposed), 1.0)
    corners = [toned[i::SAMPLES, j::SAMPLES] for i in range(SAMPLES) for j in range(SAMPLES)]
    picture = (sum(corners) / len(corners)) ** np.float32(1 / 2.2)
    picture += 0.4 * (picture * picture * (3 - 2 * picture) - picture)
    picture += np.float32(0.012) * rng.standard_normal(picture.shape, dtype=np.float32)
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _labels(
    hits: Hits, owner: np.ndarray, attributes: list[dict[str, object]], sky: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mask and instance map; a pixel whose samples do not agree on a category stays unlabelled."""
    table = np.full(len(attributes) + 1, UNLABELLED, dtype=np.uint8)
    for number, entry in enumerate(attributes, start=1):
        if entry["category"] is not None:
            table[number] = CATEGORIES.index(str(entry["category"]))
    fine = np.where(hits.face >= 0, owner[hits.face], sky).astype(np.uint16)
    corners = [fine[i::SAMPLES, j::SAMPLES] for i in range(SAMPLES) for j in range(SAMPLES)]
    blocks = np.stack(corners, axis=-1)
    labels = table[blocks]
    mask, instances = labels[..., 0].copy(), blocks[..., 0].copy()
    agreed = (labels == mask[..., None]).all(axis=-1)
    area = np.bincount(instances[agreed].ravel(), minlength=len(table))
    known = agreed & (mask != UNLABELLED) & (area[instances] >= _SMALLEST)
    unknown = ~known
    mask[unknown] = UNLABELLED
    instances[unknown] = 0
    return mask, instances
