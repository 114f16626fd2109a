from __future__ import annotations

import numpy as np

from prolab_d2 import LabelSpace
from prolab_d2.explain import contrast_categories, find_changes
from prolab_d2.visualizer import draw_contrast, draw_segmentation, label_metadata
from prolab_d2.visualizer.contrast import contrast_panel
from prolab_d2.visualizer.palette import SUPPORTS, UNEXPECTED


def columns_of(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Columns of the picture with at least some pixels of exactly this colour."""
    return np.flatnonzero((picture == color).all(axis=2).sum(axis=0) > 4)


def fence_or_car() -> np.ndarray:
    activations = np.zeros(12)
    activations[[3, 4, 5, 6]] = 1.0, 0.8, 0.3, 0.5
    return activations / np.linalg.norm(activations)


def test_bars_lie_on_the_side_they_speak_for_and_are_as_long_as_their_terms(
    tiny_label_space: LabelSpace,
) -> None:
    metadata = label_metadata(tiny_label_space.categories)
    contrast = contrast_categories(fence_or_car(), tiny_label_space, "fence", "car")
    panel = contrast_panel(contrast, "here", metadata, width=600)
    middle = 300
    right, left = columns_of(panel, SUPPORTS), columns_of(panel, UNEXPECTED)
    assert right.min() >= middle - 1 and left.max() <= middle + 1
    expected = contrast.opposing[0].difference / contrast.supporting[0].difference
    ratio = -(middle - left.min()) / (right.max() - middle)
    assert abs(ratio - expected) < 0.05


def test_changes_make_the_panel_taller(tiny_label_space: LabelSpace) -> None:
    metadata = label_metadata(tiny_label_space.categories)
    u = fence_or_car()
    contrast = contrast_categories(u, tiny_label_space, "fence", "car")
    changes = find_changes(u, tiny_label_space, "car")
    without = contrast_panel(contrast, "here", metadata)
    panel = contrast_panel(contrast, "here", metadata, changes=changes)
    assert panel.shape[0] > without.shape[0] + 15 * len(changes.changes)
    assert (panel[: without.shape[0] - 20] == without[: without.shape[0] - 20]).all()


def test_a_lost_comparison_without_any_activation_can_be_drawn(
    tiny_label_space: LabelSpace,
) -> None:
    metadata = label_metadata(tiny_label_space.categories)
    for u in (np.zeros(12), -fence_or_car()):
        contrast = contrast_categories(u, tiny_label_space, "sky", "sign symbol")
        panel = contrast_panel(contrast, "here", metadata)
        assert panel.ndim == 3 and (panel[-10:] == 255).all(), "nothing is cut at the bottom"


def test_the_region_is_marked_beside_the_panel(tiny_label_space: LabelSpace) -> None:
    image = np.full((60, 90, 3), 100, dtype=np.uint8)
    labels = np.full((60, 90), 2)
    region = np.zeros((60, 90), dtype=bool)
    region[20:40, 30:60] = True
    metadata = label_metadata(tiny_label_space.categories)
    contrast = contrast_categories(fence_or_car(), tiny_label_space, "fence", "car")
    plain = draw_segmentation(image, labels, metadata)
    picture = draw_contrast(image, labels, metadata, contrast, region, "here")
    assert picture.shape[1] > plain.shape[1] + 300
    changed = (picture[:600, :900] != plain).any(axis=2)
    rows, columns = changed.nonzero()
    assert 190 <= rows.min() <= 202 and 395 <= rows.max() <= 406
    assert 290 <= columns.min() <= 302 and 595 <= columns.max() <= 606
