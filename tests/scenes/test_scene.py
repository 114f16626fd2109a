"""What the scenes promise: repeatable, true, varied, and unseen in val and test."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from prolab_d2.scenes import CATEGORIES, SPLITS, UNLABELLED, Scene, draw_scene
from prolab_d2.scenes.kit import PAINTS
from prolab_d2.scenes.scene import SIZE


def digest(scene: Scene) -> str:
    parts = (scene.image, scene.mask, scene.instances)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def shares(scenes: list[Scene]) -> np.ndarray:
    """(N,) share of all pixels."""
    pixels = np.concatenate([scene.mask.ravel() for scene in scenes])
    return np.bincount(pixels, minlength=256)[: len(CATEGORIES)] / len(pixels)


def test_a_seed_always_gives_the_same_scene(train_scenes: list[Scene]) -> None:
    again = draw_scene(3, "train")
    assert digest(again) == digest(train_scenes[3])
    assert again.attributes == train_scenes[3].attributes
    assert again.conditions == train_scenes[3].conditions


def test_seeds_and_splits_give_different_scenes(
    train_scenes: list[Scene], val_scenes: list[Scene], test_scenes: list[Scene]
) -> None:
    scenes = train_scenes + val_scenes + test_scenes
    assert len({digest(scene) for scene in scenes}) == len(scenes)


def test_arrays_have_the_promised_types(train_scenes: list[Scene]) -> None:
    for scene in train_scenes:
        assert scene.image.shape == (*SIZE, 3) and scene.image.dtype == np.uint8
        assert scene.mask.shape == SIZE and scene.mask.dtype == np.uint8
        assert scene.instances.shape == SIZE and scene.instances.dtype == np.uint16
        assert set(np.unique(scene.mask)) <= {*range(len(CATEGORIES)), UNLABELLED}


def test_no_colour_or_sun_direction_is_in_two_splits(
    train_scenes: list[Scene], val_scenes: list[Scene], test_scenes: list[Scene]
) -> None:
    drawn = {"train": train_scenes, "val": val_scenes, "test": test_scenes}
    ranges = []
    for split, scenes in drawn.items():
        positions = np.concatenate([scene.conditions["positions"] for scene in scenes])
        low, high = SPLITS[split].span
        assert ((positions >= low) & (positions < high)).all()
        quarters = [scene.conditions["sun_azimuth"] % 90 / 90 for scene in scenes]
        assert all(low <= quarter < high for quarter in quarters)
        ranges.append((low, high))
    ranges.sort()
    assert all(before[1] < after[0] for before, after in zip(ranges, ranges[1:], strict=False))


def test_no_weather_is_in_two_splits(
    train_scenes: list[Scene], val_scenes: list[Scene], test_scenes: list[Scene]
) -> None:
    seen = [
        {scene.conditions["weather"] for scene in scenes}
        for scenes in (train_scenes, val_scenes, test_scenes)
    ]
    assert all(seen) and len(seen[0] | seen[1] | seen[2]) == sum(map(len, seen))


def test_every_category_covers_its_share(
    train_scenes: list[Scene], val_scenes: list[Scene]
) -> None:
    for scenes in (train_scenes, val_scenes):
        share = dict(zip(CATEGORIES, shares(scenes), strict=True))
        assert min(share.values()) > 0.004, share
        seen = {name: sum((s.mask == i).any() for s in scenes) for i, name in enumerate(CATEGORIES)}
        assert min(seen.values()) >= len(scenes) / 4, seen


def test_few_pixels_are_unlabelled(train_scenes: list[Scene], val_scenes: list[Scene]) -> None:
    for scene in train_scenes + val_scenes:
        assert 0.001 < (scene.mask == UNLABELLED).mean() < 0.1


def test_instances_agree_with_the_mask(train_scenes: list[Scene], val_scenes: list[Scene]) -> None:
    for scene in train_scenes + val_scenes:
        assert ((scene.instances == 0) == (scene.mask == UNLABELLED)).all()
        numbers = set(np.unique(scene.instances).tolist()) - {0}
        assert numbers == set(scene.attributes)
        for number, entry in scene.attributes.items():
            labels = np.unique(scene.mask[scene.instances == number])
            assert [CATEGORIES[label] for label in labels] == [entry["category"]]


def test_every_instance_has_its_properties(train_scenes: list[Scene]) -> None:
    for scene in train_scenes:
        for entry in scene.attributes.values():
            assert {"category", "colour", "material", "form", "orientation"} <= set(entry)
            assert all(isinstance(value, str) for value in entry.values())


def test_categories_share_colours_and_materials(train_scenes: list[Scene]) -> None:
    colours: dict[str, set[str]] = {}
    materials: dict[str, set[str]] = {}
    for scene in train_scenes:
        for entry in scene.attributes.values():
            colours.setdefault(entry["colour"], set()).add(entry["category"])
            materials.setdefault(entry["material"], set()).add(entry["category"])
    assert {"car", "sign", "postbox", "person", "bus"} <= colours["red"]
    assert {"car", "sign", "sky", "building"} <= colours["blue"]
    assert {"tree", "hedge", "grass", "car"} <= colours["green"]
    assert {"building", "pavement", "fence"} <= materials["brick"]
    assert {"pole", "sign", "car", "fence"} <= materials["metal"]
    assert {"tree", "hedge"} <= materials["leaves"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_names_of_colours_are_true_in_the_picture(split: str, request: object) -> None:
    """Red paint is redder than its scene and blue paint bluer, in every light."""
    scenes: list[Scene] = request.getfixturevalue(f"{split}_scenes")
    right = total = 0
    for scene in scenes:
        balance = scene.image[..., 0].astype(float) - scene.image[..., 2]
        for number, entry in scene.attributes.items():
            if entry["category"] in ("car", "postbox") and entry["colour"] in ("red", "blue"):
                difference = balance[scene.instances == number].mean() - balance.mean()
                right += (difference > 0) == (entry["colour"] == "red")
                total += 1
    assert total >= 8 and right / total > 0.9
    assert {"red", "blue"} <= set(PAINTS)


def test_a_larger_picture_shows_the_same_scene(train_scenes: list[Scene]) -> None:
    large = draw_scene(1, "train", size=(2 * SIZE[0], 2 * SIZE[1]))
    small = train_scenes[1]
    assert large.image.shape == (2 * SIZE[0], 2 * SIZE[1], 3)
    both = (small.mask != UNLABELLED) & (large.mask[::2, ::2] != UNLABELLED)
    assert both.mean() > 0.9
    assert (small.mask == large.mask[::2, ::2])[both].mean() > 0.97
