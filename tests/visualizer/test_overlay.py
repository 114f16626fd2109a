from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from prolab_d2.visualizer import (
    SegmentationVisualizer,
    draw_segmentation,
    label_metadata,
    mark_region,
)
from tests.conftest import TINY_CATEGORIES, tiny_scene

GREY = 100


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray]:
    """(64, 80, 3) image and (64, 80) ids, 255 where unlabelled."""
    image, labels = tiny_scene(np.random.default_rng(3))
    return image, labels.astype(np.int64)


def halves(height: int = 60, width: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """A grey image, category 0 left, category 3 in the middle, unlabelled right."""
    image = np.full((height, width, 3), GREY, dtype=np.uint8)
    labels = np.zeros((height, width), dtype=np.int64)
    labels[:, width // 3 :] = 3
    labels[:, 2 * width // 3 :] = 255
    return image, labels


def test_overlay_mixes_image_and_category_color_and_spares_unlabelled_pixels() -> None:
    image, labels = halves()
    metadata = label_metadata(TINY_CATEGORIES)
    overlay = draw_segmentation(image, labels, metadata, alpha=0.5, fit_screen=False)
    assert overlay.shape == image.shape and overlay.dtype == np.uint8
    for category, x in ((0, 4), (3, 34)):
        expected = (np.array(metadata.stuff_colors[category]) + GREY) / 2
        assert np.abs(overlay[2, x].astype(float) - expected).max() <= 2
    assert (overlay[2, 65:] == GREY).all()


def test_pictures_fit_a_screen() -> None:
    metadata = label_metadata(TINY_CATEGORIES)
    assert draw_segmentation(*halves(60, 90), metadata).shape == (600, 900, 3)
    assert draw_segmentation(*halves(30, 1200), metadata).shape == (30, 1200, 3)
    assert draw_segmentation(*halves(2100, 1000), metadata).shape == (1400, 667, 3)
    assert draw_segmentation(*halves(3000, 1), metadata).shape == (1400, 1, 3)


def test_legend_shows_every_category_in_the_picture_and_no_other() -> None:
    image, labels = halves()
    metadata = label_metadata(TINY_CATEGORIES)
    plain = draw_segmentation(image, labels, metadata)
    strip = draw_segmentation(image, labels, metadata, legend=True)[plain.shape[0] :]
    shown = [
        (strip == color).all(axis=2).sum() > 100  # pixels of a patch
        for color in metadata.stuff_colors
    ]
    assert shown == [True, False, False, True, False]


def test_legend_of_many_categories_breaks_into_rows() -> None:
    names = [f"a category with a long name {i}" for i in range(40)]
    labels = np.arange(40).repeat(50).reshape(40, 50)
    image = np.zeros((40, 50, 3), dtype=np.uint8)
    metadata = label_metadata(names)
    plain = draw_segmentation(image, labels, metadata)
    strip = draw_segmentation(image, labels, metadata, legend=True)[plain.shape[0] :]
    assert strip.shape[1] == plain.shape[1]
    for color in metadata.stuff_colors:
        assert (strip == color).all(axis=2).sum() > 100


def test_names_keep_clear_of_one_another_and_inside_the_picture(
    scene: tuple[np.ndarray, np.ndarray],
) -> None:
    image, labels = scene
    names = [name * 2 for name in TINY_CATEGORIES]
    for scale in (1.0, 4.0):
        visualizer = SegmentationVisualizer(image, label_metadata(names), scale=scale)
        output = visualizer.draw_sem_seg(labels)
        renderer = output.canvas.get_renderer()
        boxes = [text.get_window_extent(renderer) for text in output.ax.texts]
        assert len(boxes) >= (1 if scale == 1 else 3)
        frame = output.ax.get_window_extent(renderer)
        for first, second in combinations(boxes, 2):
            assert not first.overlaps(second)
        for box in boxes:
            assert box.x0 >= frame.x0 and box.x1 <= frame.x1
            assert box.y0 >= frame.y0 and box.y1 <= frame.y1


def test_a_name_stands_inside_its_region() -> None:
    labels = np.full((300, 300), 1)
    labels[40:260, 40:80] = 2  # a "C" of category 2, whose centre belongs to category 1
    labels[40:80, 40:260] = 2
    labels[220:260, 40:260] = 2
    image = np.zeros((300, 300, 3), dtype=np.uint8)
    output = SegmentationVisualizer(image, label_metadata(["x", "y", "z"])).draw_sem_seg(labels)
    places = {text.get_text(): text.get_position() for text in output.ax.texts}
    x, y = places["z"]
    assert labels[int(y), int(x)] == 2


def test_a_name_that_looks_like_a_formula_is_drawn_as_it_is() -> None:
    labels = np.zeros((60, 200), dtype=np.int64)
    image = np.zeros((60, 200, 3), dtype=np.uint8)
    output = SegmentationVisualizer(image, label_metadata([r"$\frac{$"])).draw_sem_seg(labels)
    assert output.ax.texts[0].get_text() == r"$\frac{$"
    assert output.get_image().any()


def test_ids_beyond_8_bits_are_drawn() -> None:
    labels = np.full((20, 20), 300)
    image = np.full((20, 20, 3), GREY, dtype=np.uint8)
    metadata = label_metadata([f"category {i}" for i in range(301)])
    overlay = draw_segmentation(image, labels, metadata, alpha=1.0, fit_screen=False)
    assert (overlay == metadata.stuff_colors[300]).all()


@pytest.mark.parametrize("legend", [False, True])
def test_the_long_side_can_be_limited(legend: bool) -> None:
    metadata = label_metadata(TINY_CATEGORIES)
    for size, expected in (((60, 90), (400, 600)), ((400, 2000), (120, 600))):
        picture = draw_segmentation(*halves(*size), metadata, legend=legend, largest=600)
        assert picture.shape[1] == expected[1]
        assert (picture.shape[0] > expected[0]) == legend


def test_a_small_region_gets_a_ring_and_a_large_one_an_outline() -> None:
    picture = np.full((300, 400, 3), GREY, dtype=np.uint8)
    region = np.zeros((60, 80), dtype=bool)
    region[30, 20] = True
    ring = (mark_region(picture, region) != GREY).any(axis=2)
    rows, columns = ring.nonzero()
    assert abs(rows.mean() - 30.5 * 5) < 1 and abs(columns.mean() - 20.5 * 5) < 1
    assert 200 < ring.sum() < 1500
    region[10:40, 10:50] = True
    region[20:30, 20:40] = False  # a hole has an outline of its own
    marked = mark_region(picture, region)
    assert (marked[50:54, 100] == 255).all(axis=1).any(), "white at the upper edge"
    assert (marked[150:154, 150] != GREY).any(), "at the edge of the hole"
    assert (marked[75, 75] == GREY).all() and (marked[125, 150] == GREY).all()
    assert (picture == GREY).all(), "the picture itself stays as it was"
