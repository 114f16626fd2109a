"""What every maker of things is handed: random numbers, colours, and the model that it adds to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prolab_d2.scenes.model import Model
from prolab_d2.scenes.palette import Palette

__all__ = ["PAINTS", "Kit"]

PAINTS = ("red", "yellow", "green", "blue", "white", "grey", "black")
"""Names of paint and cloth; cars, doors, signs, clothes and boxes all choose from them."""


@dataclass
class Kit:
    """Attributes: rng, palette and model of one scene."""

    rng: np.random.Generator
    palette: Palette
    model: Model

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def choose(self, names: Sequence[str], weights: Sequence[float] | None = None) -> str:
        return names[int(self.rng.choice(len(names), p=weights))]

    def paint_name(self) -> str:
        return self.choose(PAINTS)
