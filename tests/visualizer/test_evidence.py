from __future__ import annotations

import numpy as np
import pytest

from prolab_d2 import LabelSpace
from prolab_d2.explain import explain_pixel, pixel_mask
from prolab_d2.visualizer import draw_explanation, draw_segmentation, label_metadata
from tests.conftest import tiny_scene


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray]:
    """(64, 80, 3) image and (64, 80) ids, 255 where unlabelled."""
    image, labels = tiny_scene(np.random.default_rng(3))
    return image, labels.astype(np.int64)


def test_explanation_marks_the_pixel_and_grows_with_the_evidence(
    scene: tuple[np.ndarray, np.ndarray], tiny_label_space: LabelSpace
) -> None:
    image, labels = scene
    metadata = label_metadata(tiny_label_space.categories)
    u = np.random.default_rng(0).random(12)
    explanation = explain_pixel(u / np.linalg.norm(u), tiny_label_space, "car")
    plain = draw_segmentation(image, labels, metadata)
    picture = draw_explanation(
        image, labels, metadata, explanation, pixel_mask(20, 50, (64, 80)), "here"
    )
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
        draw_explanation(image, labels, metadata, explanation, pixel_mask(x, y, (64, 80)), "here")


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
    region = labels == 0
    picture = draw_explanation(
        image, labels, label_metadata(many.categories), explanation, region, "here"
    )
    assert picture.shape[0] > 400
    # White below the last line: nothing is cut.
    assert (picture[-10:] == 255).all()
