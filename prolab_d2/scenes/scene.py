"""One scene: picture, labels, instances, and what is true of every instance.

Shapes: H x W image size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prolab_d2.scenes.kit import Kit
from prolab_d2.scenes.layout import build_street, plan_street
from prolab_d2.scenes.model import Model
from prolab_d2.scenes.palette import CATEGORIES, SPLITS, UNLABELLED, Palette
from prolab_d2.scenes.raster import Hits
from prolab_d2.scenes.render import SAMPLES, Sun, camera, render

__all__ = ["SIZE", "Scene", "draw_scene"]

SIZE = (192, 256)
"""Height and width of the pictures of the data set."""

_SMALLEST = 16
"""Instances that show fewer pixels than this are left without a label."""


@dataclass(frozen=True)
class Scene:
    """A drawn scene.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) uint8, index into CATEGORIES or UNLABELLED.
        instances: (H, W) uint16; 0 where the mask is UNLABELLED, else the number of an instance.
        attributes: number of an instance -> its category, colour, material, form, orientation.
        conditions: weather, direction of the sun, and every position drawn in a band of colour or direction.
    """

    image: np.ndarray
    mask: np.ndarray
    instances: np.ndarray
    attributes: dict[int, dict[str, str]]
    conditions: dict[str, object]


def draw_scene(seed: int, split: str, size: tuple[int, int] = SIZE) -> Scene:
    """Draws the scene that belongs to a seed; the same arguments always give the same scene.

    Args:
        split: "train", "val" or "test"; decides which colours, weathers and sun directions may occur.
        size: height and width of the picture.
    """
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
    seen = set(np.unique(instances).tolist()) - {0}
    attributes = {number: dict(kit.model.attributes[number - 1]) for number in sorted(seen)}
    conditions = {
        "weather": weather.name,
        "sun_azimuth": azimuth,
        "sun_elevation": elevation,
        "positions": tuple(palette.positions),
    }
    return Scene(image, mask, instances, attributes, conditions)


def _direction(azimuth: float, elevation: float) -> np.ndarray:
    a, e = np.deg2rad(azimuth), np.deg2rad(elevation)
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])


def _develop(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Averages the samples, exposes, and adds the noise of a sensor: (H, W, 3) uint8."""
    h, w = light.shape[0] // SAMPLES, light.shape[1] // SAMPLES
    exposure = 0.34 / max(float(np.median(light.mean(axis=-1))), 0.05)
    exposed = light * np.float32(min(max(exposure, 0.7), 1.6))
    # Bright light is compressed before averaging, as an eye would see it.
    toned = np.clip(exposed * (1 + exposed / 6.0) / (1 + exposed * 0.62) * 1.28, 0, 1) ** (1 / 2.2)
    picture = toned.reshape(h, SAMPLES, w, SAMPLES, 3).mean(axis=(1, 3))
    picture += rng.normal(0.0, 0.012, picture.shape).astype(np.float32)
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
    h, w = fine.shape[0] // SAMPLES, fine.shape[1] // SAMPLES
    blocks = fine.reshape(h, SAMPLES, w, SAMPLES).transpose(0, 2, 1, 3).reshape(h, w, -1)
    labels = table[blocks]
    # The middle of the sorted samples belongs to the majority, if there is one.
    votes = (labels[..., :, None] == labels[..., None, :]).sum(axis=-1)
    best = votes.argmax(axis=-1)[..., None]
    mask = np.take_along_axis(labels, best, axis=-1)[..., 0]
    instances = np.take_along_axis(blocks, best, axis=-1)[..., 0]
    agreed = np.take_along_axis(votes, best, axis=-1)[..., 0] > labels.shape[-1] // 2
    area = np.bincount(instances[agreed].ravel(), minlength=len(table))
    known = agreed & (mask != UNLABELLED) & (area[instances] >= _SMALLEST)
    return np.where(known, mask, UNLABELLED).astype(np.uint8), np.where(known, instances, 0).astype(
        np.uint16
    )
