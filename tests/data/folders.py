"""Small data set folders made of real files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CATEGORIES = ("road", "tree", "sky")


def photograph(seed: int, size: tuple[int, int] = (24, 32)) -> np.ndarray:
    """(H, W, 3) uint8 noise."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def labels(seed: int, size: tuple[int, int] = (24, 32), number: int = 3) -> np.ndarray:
    """(H, W) uint8 ids of vertical stripes, the last column unlabelled (255)."""
    stripes = (np.arange(size[1]) * number // size[1] + seed) % number
    mask = np.repeat(stripes[None].astype(np.uint8), size[0], axis=0)
    mask[:, -1] = 255
    return mask


def save(array: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def make_folder(
    root: Path,
    splits: Mapping[str, int] | None = None,
    categories: Sequence[str] = CATEGORIES,
    size: tuple[int, int] = (24, 32),
) -> Path:
    """A complete data set folder: images/, annotations/ and categories.txt."""
    for split, number in (splits or {"train": 2, "val": 1}).items():
        for index in range(number):
            save(photograph(index, size), root / f"images/{split}/{index:03}.png")
            save(labels(index, size, len(categories)), root / f"annotations/{split}/{index:03}.png")
    (root / "categories.txt").write_text("\n".join(categories) + "\n")
    return root
