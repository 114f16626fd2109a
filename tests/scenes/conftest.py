"""Scenes that several tests look at, drawn once."""

from __future__ import annotations

import pytest

from prolab_d2.scenes import Scene, draw_scene


@pytest.fixture(scope="session")
def train_scenes() -> list[Scene]:
    return [draw_scene(seed, "train") for seed in range(32)]


@pytest.fixture(scope="session")
def val_scenes() -> list[Scene]:
    return [draw_scene(seed, "val") for seed in range(12)]


@pytest.fixture(scope="session")
def test_scenes() -> list[Scene]:
    return [draw_scene(seed, "test") for seed in range(4)]
