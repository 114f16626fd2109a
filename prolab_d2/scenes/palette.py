"""Categories, colours, weather, and what each split of the scenes is allowed to see.

Every colour and every sun direction comes from a position in [0, 1) inside a band ("red" is a band
of hues, a quadrant is a band of directions). Each split draws its positions from its own interval,
so that val and test show reds, bricks, greens and shadows that training never showed, while their
names stay true.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

__all__ = [
    "CATEGORIES",
    "CATEGORY_COLOURS",
    "SPLITS",
    "UNLABELLED",
    "Palette",
    "Split",
    "Weather",
    "linear",
]

CATEGORIES = (
    "sky",
    "building",
    "road",
    "pavement",
    "grass",
    "tree",
    "hedge",
    "fence",
    "pole",
    "sign",
    "car",
    "bus",
    "person",
    "postbox",
)
CATEGORY_COLOURS = (
    (112, 178, 222),
    (142, 98, 74),
    (92, 88, 108),
    (206, 204, 196),
    (168, 204, 92),
    (44, 106, 26),
    (110, 160, 42),
    (192, 174, 110),
    (158, 162, 172),
    (246, 206, 60),
    (38, 74, 176),
    (22, 140, 160),
    (242, 42, 94),
    (252, 104, 46),
)
UNLABELLED = 255


@dataclass(frozen=True)
class Weather:
    """Light and air of a scene. Colours are sRGB in [0, 1]."""

    name: str
    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    sun: tuple[float, float, float]
    sun_strength: float
    ambient_strength: float
    elevation: tuple[float, float]
    """Range of the sun's height in degrees."""
    clouds: float
    """Share of the sky under cloud, 0 to 1."""
    haze: float
    """How much of the horizon's colour the air adds per 100 metres."""


# zenith, horizon, sun, strengths of sun and sky, elevation, clouds, haze.
_WEATHER = {
    "clear": Weather(
        "clear", (0.22, 0.47, 0.82), (0.70, 0.84, 0.94), (1, 0.95, 0.86),
        2.2, 0.85, (35, 62), 0.3, 0.5,
    ),
    "golden": Weather(
        "golden", (0.36, 0.52, 0.78), (0.98, 0.84, 0.64), (1, 0.80, 0.52),
        2.3, 0.75, (20, 34), 0.4, 0.7,
    ),
    "hazy": Weather(
        "hazy", (0.55, 0.70, 0.82), (0.88, 0.90, 0.88), (1, 0.96, 0.9),
        1.5, 1.15, (35, 60), 0.2, 1.2,
    ),
    "cloudy": Weather(
        "cloudy", (0.58, 0.65, 0.72), (0.82, 0.85, 0.86), (1, 0.98, 0.95),
        0.7, 1.5, (40, 65), 0.9, 0.8,
    ),
    "dusk": Weather(
        "dusk", (0.34, 0.36, 0.62), (0.96, 0.70, 0.62), (1, 0.66, 0.50),
        1.7, 0.85, (18, 30), 0.5, 0.9,
    ),
    "overcast": Weather(
        "overcast", (0.62, 0.64, 0.66), (0.78, 0.79, 0.79), (1, 1, 1),
        0.4, 1.65, (45, 65), 1.0, 1.1,
    ),
    "dawn": Weather(
        "dawn", (0.40, 0.48, 0.66), (0.95, 0.80, 0.78), (1, 0.74, 0.62),
        1.6, 0.95, (18, 30), 0.4, 1.2,
    ),
    "misty": Weather(
        "misty", (0.70, 0.74, 0.76), (0.84, 0.86, 0.87), (1, 0.98, 0.96),
        0.6, 1.5, (40, 60), 0.8, 1.8,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Split:
    """What a split may use.

    Attributes:
        number: enters the random seed, so that equal seeds of two splits give different streets.
        span: interval of [0, 1) for the position inside every band of colour and direction.
        weathers: kinds of weather; no kind occurs in two splits.
    """

    number: int
    span: tuple[float, float]
    weathers: tuple[str, ...]


SPLITS = {
    "train": Split(0, (0.0, 0.58), ("clear", "golden", "hazy", "cloudy")),
    "val": Split(1, (0.64, 0.80), ("dusk", "overcast")),
    "test": Split(2, (0.84, 1.0), ("dawn", "misty")),
}

# Bands of (hue in degrees, saturation, value): position 0 and position 1.
_BANDS = {
    # Paint, cloth, plates: the names that property truth uses.
    "red": ((348, 0.80, 0.74), (374, 0.84, 0.86)),
    "yellow": ((40, 0.78, 0.95), (56, 0.82, 0.90)),
    "green": ((96, 0.52, 0.42), (158, 0.62, 0.56)),
    "blue": ((198, 0.66, 0.80), (234, 0.70, 0.66)),
    "brown": ((18, 0.52, 0.48), (36, 0.46, 0.58)),
    "white": ((30, 0.03, 0.90), (220, 0.05, 0.97)),
    "grey": ((200, 0.05, 0.44), (40, 0.06, 0.66)),
    "black": ((220, 0.12, 0.16), (20, 0.12, 0.23)),
    # Materials.
    "red brick": ((4, 0.55, 0.58), (20, 0.48, 0.66)),
    "grey brick": ((30, 0.10, 0.52), (210, 0.09, 0.66)),
    "yellow brick": ((34, 0.36, 0.74), (46, 0.30, 0.80)),
    "asphalt": ((220, 0.06, 0.30), (30, 0.06, 0.42)),
    "concrete": ((40, 0.06, 0.62), (210, 0.05, 0.76)),
    "wood": ((20, 0.50, 0.46), (34, 0.42, 0.62)),
    "green leaves": ((78, 0.62, 0.42), (132, 0.52, 0.50)),
    "red leaves": ((8, 0.66, 0.60), (24, 0.72, 0.70)),
    "yellow leaves": ((36, 0.74, 0.76), (52, 0.70, 0.70)),
    "green grass": ((72, 0.52, 0.50), (108, 0.48, 0.54)),
    "yellow grass": ((48, 0.44, 0.66), (62, 0.48, 0.62)),
    "skin": ((14, 0.56, 0.44), (30, 0.36, 0.92)),
    "hair": ((10, 0.5, 0.16), (44, 0.5, 0.6)),
}  # fmt: skip


class Palette:
    """Draws the colours of one scene from the positions that its split may use."""

    def __init__(self, rng: np.random.Generator, split: Split) -> None:
        self._rng = rng
        self._span = split.span
        self.positions: list[float] = []
        """Every position drawn so far."""

    def position(self) -> float:
        """A position in the split's interval."""
        low, high = self._span
        value = float(low + (high - low) * self._rng.random())
        self.positions.append(value)
        return value

    def srgb(self, band: str) -> np.ndarray:
        """(3,) float in [0, 1]: a colour of the band, with a little free variation of value."""
        (h0, s0, v0), (h1, s1, v1) = _BANDS[band]
        u = self.position()
        hue = ((h0 + u * (h1 - h0)) % 360) / 360
        value = (v0 + u * (v1 - v0)) * self._rng.uniform(0.92, 1.06)
        return np.array(colorsys.hsv_to_rgb(hue, s0 + u * (s1 - s0), min(value, 1.0)))

    def colour(self, band: str) -> np.ndarray:
        """The same as `srgb`, as linear light."""
        return linear(self.srgb(band))

    def weather(self, names: tuple[str, ...]) -> Weather:
        return _WEATHER[names[int(self._rng.integers(len(names)))]]


def linear(srgb: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """sRGB in [0, 1] to linear light, with the plain exponent 2.2."""
    return np.asarray(srgb, dtype=np.float64) ** 2.2
