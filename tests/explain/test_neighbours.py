"""What is near a pixel in property space."""

from __future__ import annotations

import numpy as np
import pytest

from prolab_d2.explain.neighbours import likeness_map, nearest_pixels


def test_likeness_is_the_cosine_at_any_length() -> None:
    rng = np.random.default_rng(0)
    maps, wanted = rng.random((6, 3, 4)), rng.random(6)
    likeness = likeness_map(7 * maps, 0.1 * wanted)
    one = maps[:, 2, 1]
    cosine = one @ wanted / np.linalg.norm(one) / np.linalg.norm(wanted)
    assert likeness[2, 1] == pytest.approx(cosine, abs=1e-6)
    assert likeness_map(np.zeros((6, 1, 1)), wanted)[0, 0] == 0


def test_every_other_category_gives_its_nearest_pixel() -> None:
    labels = np.zeros((8, 12), dtype=np.int64)
    labels[:, 6:] = 1
    labels[6:, 9:] = 2
    likeness = np.full((4, 6), 0.1)
    likeness[1, 4], likeness[3, 5], likeness[0, 0] = 0.7, 0.9, 1.0
    found = nearest_pixels(likeness, labels, ("a", "b", "c"), without=(0,))
    assert [(n.category, n.x, n.y, n.likeness) for n in found] == [
        ("c", 11, 7, 0.9),
        ("b", 9, 3, 0.7),
    ]
    assert all(labels[n.y, n.x] == n.category_id for n in found)
    assert len(nearest_pixels(likeness, labels, ("a", "b", "c"), top=1)) == 1
