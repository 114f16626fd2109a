"""An image and a predictor that needs milliseconds for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prolab_d2 import Predictor
from tests.conftest import tiny_scene


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """(64, 80, 3) uint8 RGB."""
    return tiny_scene(np.random.default_rng(5))[0]


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint: Path) -> Predictor:
    return Predictor.from_checkpoint(tiny_checkpoint, device="cpu")
