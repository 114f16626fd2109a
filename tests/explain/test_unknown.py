from __future__ import annotations

import numpy as np
import pytest
import torch

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.explain.unknown import describe_unknown, unknown_map, unknown_masks


def scene(space: LabelSpace) -> np.ndarray:
    """(K, 12, 20): car on the left, a mixture of meadow and sign symbol on the right."""
    activations = np.zeros((12, 12, 20))
    activations[:, :, :10] = space.signatures[3][:, None, None]
    activations[[1, 2, 9, 10], :, 10:] = 1.0
    return activations / np.linalg.norm(activations, axis=0)


def test_what_fits_no_signature_stands_out_by_every_measure(tiny_label_space: LabelSpace) -> None:
    u = torch.from_numpy(scene(tiny_label_space))
    weights = tiny_label_space.signatures / np.sqrt(tiny_label_space.signatures.sum(1))[:, None]
    scores = np.sort(np.tensordot(weights, scene(tiny_label_space), 1), axis=0)
    score, margin = scores[-1], scores[-1] - scores[-2]
    expected = {"score": 1 - score, "margin": 1 - margin, "both": 1 - (score + margin) / 2}
    for measure, values in expected.items():
        found = unknown_map(u, tiny_label_space, measure).numpy()
        np.testing.assert_allclose(found, values, atol=1e-6)
        assert found[:, 10:].min() > found[:, :10].max() + 0.2
    flat = unknown_map(u.flatten(1), tiny_label_space)
    assert torch.equal(flat.view(12, 20), unknown_map(u, tiny_label_space))
    with pytest.raises(ProLabError, match="measure 'entropy'"):
        unknown_map(u, tiny_label_space, "entropy")


def test_a_single_category_can_be_unlike_the_image_too(tiny_label_space: LabelSpace) -> None:
    u = torch.from_numpy(scene(tiny_label_space))
    found = unknown_map(u, tiny_label_space.subset(["car"]))
    assert found[:, :10].max() < 1e-6 and found[:, 10:].min() > 0.9


def test_regions_are_large_and_thick_enough_to_be_objects() -> None:
    unknown = np.zeros((40, 60))
    unknown[5:20, 5:25] = 0.9
    unknown[30:36, 40:50] = 0.8
    unknown[:, 33:35] = 0.9  # a seam
    unknown[38, 2] = 0.9
    masks = unknown_masks(unknown, (80, 120), 0.5, 0.002)
    assert [mask.shape for mask in masks] == [(80, 120)] * 2
    assert [int(mask.sum()) for mask in masks] == [4 * 15 * 20, 4 * 6 * 10]
    assert masks[0][10:40, 10:50].all()
    assert len(unknown_masks(unknown, (80, 120), 0.85, 0.002)) == 1
    assert len(unknown_masks(unknown, (80, 120), 0.5, 0.1)) == 1
    assert unknown_masks(unknown, (80, 120), 0.95, 0.0) == []


def test_an_unknown_region_is_described_by_what_it_shows(tiny_label_space: LabelSpace) -> None:
    mask = np.zeros((12, 20), dtype=bool)
    mask[:, 10:] = True
    u = scene(tiny_label_space)[:, mask].mean(axis=1)
    region = describe_unknown(mask, u, tiny_label_space)
    assert region.area == 0.5
    assert {item.index for item in region.properties} == {1, 2, 9, 10}
    assert region.nearest[0] == ("meadow", pytest.approx(1 / 3**0.5))
    assert region.score == region.nearest[0][1]
    assert region.margin == pytest.approx(region.nearest[0][1] - region.nearest[1][1])
    text = region.describe(top=3)
    assert "fits nothing known (best: meadow 0.577" in text
    assert "green blades of grass" in text and "and 1 more" in text
