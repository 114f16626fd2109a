from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from prolab_d2 import LabelSpace
from prolab_d2.explain import explain_pixel
from prolab_d2.visualizer import (
    SegmentationVisualizer,
    draw_explanation,
    draw_segmentation,
    label_metadata,
    property_heatmap_sheet,
)
from tests.conftest import TINY_CATEGORIES, TINY_NAMES, tiny_scene

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


def test_ids_beyond_8_bits_are_drawn() -> None:
    labels = np.full((20, 20), 300)
    image = np.full((20, 20, 3), GREY, dtype=np.uint8)
    metadata = label_metadata([f"category {i}" for i in range(301)])
    overlay = draw_segmentation(image, labels, metadata, alpha=1.0, fit_screen=False)
    assert (overlay == metadata.stuff_colors[300]).all()


def test_explanation_marks_the_pixel_and_grows_with_the_evidence(
    scene: tuple[np.ndarray, np.ndarray], tiny_label_space: LabelSpace
) -> None:
    image, labels = scene
    metadata = label_metadata(tiny_label_space.categories)
    u = np.random.default_rng(0).random(12)
    explanation = explain_pixel(u / np.linalg.norm(u), tiny_label_space, "car")
    plain = draw_segmentation(image, labels, metadata)
    picture = draw_explanation(image, labels, metadata, explanation, 20, 50)
    assert picture.shape[0] >= plain.shape[0]
    assert picture.shape[1] > plain.shape[1] + 300
    factor = plain.shape[1] / image.shape[1]
    x, y = round(20.5 * factor), round(50.5 * factor)
    assert (picture[y, x] == 255).all()
    changed = (picture[: plain.shape[0], : plain.shape[1]] != plain).any(axis=2)
    rows, columns = changed.nonzero()
    assert abs(rows.mean() - y) < 1 and abs(columns.mean() - x) < 1
    assert changed.sum() < 1500


def test_a_pixel_in_the_corner_can_be_explained(
    scene: tuple[np.ndarray, np.ndarray], tiny_label_space: LabelSpace
) -> None:
    image, labels = scene
    metadata = label_metadata(tiny_label_space.categories)
    explanation = explain_pixel(np.eye(12)[0], tiny_label_space)
    for x, y in ((0, 0), (79, 63)):
        draw_explanation(image, labels, metadata, explanation, x, y)


def test_a_long_explanation_is_taller_than_its_image(tiny_label_space: LabelSpace) -> None:
    many = LabelSpace.from_arrays(
        ["one", "two"],
        np.eye(40, 8) + 1,
        np.stack([np.arange(40) < 30, np.arange(40) >= 25]),
        [f"a long name of property {i} that needs more than a line in the panel" * 2
         for i in range(40)],
    )  # fmt: skip
    image = np.zeros((100, 900, 3), dtype=np.uint8)
    labels = np.zeros((100, 900), dtype=np.int64)
    explanation = explain_pixel(np.full(40, 40**-0.5), many)
    picture = draw_explanation(image, labels, label_metadata(many.categories), explanation, 5, 5)
    assert picture.shape[0] > 400
    # White below the last line: nothing is cut.
    assert (picture[-10:] == 255).all()


def heat_tiles(sheet: np.ndarray, columns: int, width: int, top: int, height: int) -> np.ndarray:
    return np.stack(
        [sheet[top : top + height, 16 + i * (width + 16) :][:, :width] for i in range(columns)]
    )


def test_heat_maps_are_those_of_the_most_active_properties() -> None:
    properties = np.zeros((12, 8, 10), dtype=np.float32)
    properties[4] = 0.9
    properties[7, :, :5] = 0.8
    properties[2] = 0.1
    image = np.full((64, 80, 3), GREY, dtype=np.uint8)
    sheet = property_heatmap_sheet(image, properties, TINY_NAMES, top=3, columns=3, tile_width=160)
    first = int((sheet < 250).all(axis=2)[:, 30].argmax())
    first += int((sheet[first:, 16:176] < 255).any(axis=2).all(axis=1).argmax())
    tiles = heat_tiles(sheet, 3, 160, first, 128).astype(float).mean(axis=3)
    assert tiles[0].std() < 1  # active everywhere
    assert tiles[1][:, :60].mean() > tiles[1][:, 100:].mean() + 50  # active in the left half
    assert tiles[0].mean() > tiles[1].mean() > tiles[2].mean()


def test_heat_map_sheet_of_fewer_properties_than_asked_for() -> None:
    image = np.zeros((30, 40, 3), dtype=np.uint8)
    sheet = property_heatmap_sheet(image, np.ones((2, 3, 4)), ["one", "two"], top=12)
    assert sheet.shape[1] == 2 * 310 + 3 * 16


def test_heat_map_sheet_scales_to_values_above_one() -> None:
    image = np.zeros((30, 40, 3), dtype=np.uint8)
    properties = np.full((1, 3, 4), 7.0)
    sheet = property_heatmap_sheet(image, properties, ["one"], tile_width=400)
    # The brightest colour, light yellow, where the activation is the largest.
    assert (sheet[60:200, 30:300].mean(axis=(0, 1)) > (160, 160, 90)).all()
