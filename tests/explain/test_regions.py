from __future__ import annotations

import numpy as np
import pytest

from prolab_d2 import ProLabError
from prolab_d2.explain import pixel_mask, polygon_mask, segment_mask
from prolab_d2.explain.regions import check_mask


def test_a_segment_is_what_hangs_together() -> None:
    labels = np.zeros((6, 8), dtype=np.int64)
    labels[1:3, 1:3] = 4
    labels[3, 3] = 4  # touches at a corner only
    assert segment_mask(labels, 1, 2).sum() == 4
    assert segment_mask(labels, 3, 3).sum() == 1
    assert segment_mask(labels, 0, 0).sum() == 6 * 8 - 5


def test_labels_beyond_8_bits_are_told_apart() -> None:
    labels = np.array([[1, 257, 513]])
    assert segment_mask(labels, 1, 0).tolist() == [[False, True, False]]


def test_a_polygon_covers_its_inside_and_its_border() -> None:
    mask = polygon_mask([(2, 1), (5, 1), (5, 3), (2, 3)], (6, 8))
    expected = np.zeros((6, 8), dtype=bool)
    expected[1:4, 2:6] = True
    assert (mask == expected).all()


def test_a_polygon_is_cut_at_the_border_of_the_image() -> None:
    mask = polygon_mask([(-100, -100), (100, -100), (100, 2), (-100, 2)], (6, 8))
    assert mask[:3].all() and not mask[3:].any()


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([(1, 1), (2, 2)], "three or more"),
        ([1, 2, 3], "three or more"),
        ([(1, 1), (2, np.nan), (3, 3)], "far outside"),
        ([(1e12, 1), (2, 2), (3, 3)], "far outside"),
        ([(20, 20), (30, 20), (30, 30)], "no pixel of the image"),
    ],
)
def test_polygons_that_cannot_be_used_are_one_sentence(points: list, words: str) -> None:
    with pytest.raises(ProLabError, match=words):
        polygon_mask(points, (6, 8))


def test_masks_that_cannot_be_used_are_one_sentence() -> None:
    assert check_mask(np.eye(3, dtype=np.uint8), (3, 3)).dtype == bool
    for mask, words in (
        (np.ones((3, 4), dtype=bool), r"shape \(3, 4\)"),
        (np.ones((3, 3)), "type float64"),
        (np.zeros((3, 3), dtype=bool), "holds no pixel"),
    ):
        with pytest.raises(ProLabError, match=words):
            check_mask(mask, (3, 3))


@pytest.mark.parametrize("pixel", [(8, 0), (0, 6), (-1, 0)])
def test_a_pixel_outside_the_image_is_refused(pixel: tuple[int, int]) -> None:
    with pytest.raises(ProLabError, match="outside the image of 8 x 6 pixels"):
        pixel_mask(*pixel, (6, 8))
    with pytest.raises(ProLabError, match="outside the image"):
        segment_mask(np.zeros((6, 8), dtype=int), *pixel)
