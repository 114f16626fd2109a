"""Colours for any number of categories, far apart also for colour-blind eyes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

__all__ = ["distinct_colors", "more_colors", "seen_distances"]

# What the kinds of colour blindness make of linear RGB (Machado et al. 2009).
_PROTANOPIA = np.array(
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]
)
_DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
_TRITANOPIA = np.array(
    [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ]
)
_RGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])
_STEPS = 13
# Very dark and very light colours vanish against shadows and sky.
_LIGHTNESS = (40.0, 90.0)
# Distances as colour-blind eyes see them count less: with many categories they run out.
_BLIND_WEIGHT = 1.5


def _lab(linear: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB in [0, 1], (P, 3)."""
    xyz = np.clip(linear @ _RGB_TO_XYZ.T / _WHITE, 0, None)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1
    )


# Okabe and Ito's colours, then those of Tol's muted scheme that are unlike them.
_FIRST = np.array(
    [
        [0, 114, 178], [230, 159, 0], [0, 158, 115], [204, 121, 167], [86, 180, 233],
        [213, 94, 0], [240, 228, 66], [90, 74, 180], [136, 34, 85], [153, 153, 51], [150, 150, 150],
    ]
)  # fmt: skip


@lru_cache(maxsize=16)
def distinct_colors(number: int) -> tuple[tuple[int, int, int], ...]:
    """`number` RGB triples of 0 to 255, always the same ones, the first n the same for every n.

    After a palette made for colour-blind eyes each colour is the one that lies farthest from those
    before it, by the least of its distances in CIELAB for normal vision, protanopia and
    deuteranopia. When all distinct colours are used up (far above 1,200) they repeat.
    """
    levels = np.linspace(0, 255, _STEPS).round()
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness = _lab(_linear(grid))[:, 0]
    grid = grid[(lightness >= _LIGHTNESS[0]) & (lightness <= _LIGHTNESS[1])]
    candidates = np.concatenate([_FIRST, grid]).astype(int)
    linear = _linear(candidates)
    seen = [_lab(linear)]
    seen += [
        _lab(np.clip(linear @ m.T, 0, 1)) * _BLIND_WEIGHT for m in (_PROTANOPIA, _DEUTERANOPIA)
    ]

    chosen: list[int] = []
    nearest = np.full(len(candidates), np.inf)
    while len(chosen) < min(number, len(candidates)):
        following = len(chosen) if len(chosen) < len(_FIRST) else int(nearest.argmax())
        chosen.append(following)
        for lab in seen:
            nearest = np.minimum(nearest, np.linalg.norm(lab - lab[following], axis=1))
    colors = (tuple(candidates[i].tolist()) for i in chosen)
    return tuple(itertools.islice(itertools.cycle(colors), number))


def seen_distances(
    one: tuple[float, float, float], other: tuple[float, float, float]
) -> tuple[float, float, float, float]:
    """How far apart two colours are for normal vision, protanopia, deuteranopia and tritanopia.

    Args:
        one, other: RGB of 0 to 255.
    Returns:
        Distances in CIELAB, where 2 can just be seen and black is 100 from white.
    """
    linear = _linear(np.array([one, other], dtype=np.float64))
    kinds = (np.eye(3), _PROTANOPIA, _DEUTERANOPIA, _TRITANOPIA)
    labs = (_lab(np.clip(linear @ kind.T, 0, 1)) for kind in kinds)
    return tuple(float(np.linalg.norm(lab[0] - lab[1])) for lab in labs)


def more_colors(used: Sequence[Sequence[int]], number: int) -> list[tuple[int, int, int]]:
    """`number` more RGB triples of 0 to 255, of those of `distinct_colors`.

    Each is the one that lies farthest, in CIELAB, from `used` and from those before it.
    """
    candidates = list(distinct_colors(len(used) + number))
    if not len(used):
        return candidates
    lab = _lab(_linear(np.array([*candidates, *map(tuple, used)], dtype=np.float64)))
    new, old = lab[: len(candidates)], lab[len(candidates) :]
    nearest = np.linalg.norm(new[:, None] - old[None], axis=2).min(1)
    chosen: list[int] = []
    for _ in range(number):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(new - new[chosen[-1]], axis=1))
    return [candidates[i] for i in chosen]


def _linear(colors: np.ndarray) -> np.ndarray:
    srgb = colors / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
