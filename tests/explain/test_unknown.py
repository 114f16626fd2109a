from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.explain.unknown import (
    UNKNOWN_MEASURES,
    describe_unknown,
    measures_of,
    unknown_map,
    unknown_masks,
    without_seams,
)
from prolab_d2.modeling import PropertySpace


def property_space(space: LabelSpace, similarity: str = "cosine_sigmoid") -> PropertySpace:
    return PropertySpace(space.bank, space.signatures, similarity=similarity, temperature=0.04)


def logits_of(activations: np.ndarray) -> torch.Tensor:
    """(1, K, h, w): what gives these activations, those of 0 and 1 nearly."""
    return 0.04 * torch.logit(torch.from_numpy(activations).float(), eps=1e-5)[None]


def scene(space: LabelSpace) -> np.ndarray:
    """(K, 12, 20): car on the left, a mixture of meadow and sign symbol on the right."""
    activations = np.zeros((12, 12, 20))
    activations[:, :, :10] = space.signatures[3][:, None, None]
    activations[[1, 2, 9, 10], :, 10:] = 1.0
    return activations / np.linalg.norm(activations, axis=0)


def test_what_fits_no_signature_stands_out(tiny_label_space: LabelSpace) -> None:
    space = property_space(tiny_label_space)
    logits = logits_of(np.ceil(scene(tiny_label_space)))
    weights = tiny_label_space.signatures / np.sqrt(tiny_label_space.signatures.sum(1))[:, None]
    scores = np.sort(np.tensordot(weights, scene(tiny_label_space), 1), axis=0)
    score, margin = scores[-1], scores[-1] - scores[-2]
    expected = {"score": 1 - score, "margin": 1 - margin, "both": 1 - (score + margin) / 2}
    for measure in UNKNOWN_MEASURES:
        found = unknown_map(logits, space, measure)[0].numpy()
        assert found.shape == (12, 20) and found.min() >= 0 and found.max() <= 1
        if measure in expected:
            np.testing.assert_allclose(found, expected[measure], atol=1e-4)
        if measure not in ("evidence", "property_entropy"):  # four sure properties on both sides
            assert found[:, 10:].min() > found[:, :10].max(), measure
    with pytest.raises(ProLabError, match="measure 'energy'"):
        unknown_map(logits, space, "energy")


def test_measures_are_their_formulas(tiny_label_space: LabelSpace) -> None:
    """Against plain loops, for one pixel."""
    space = property_space(tiny_label_space)
    a = np.random.default_rng(0).uniform(0.02, 0.98, (12, 1, 1))
    logits = logits_of(a)
    values, odds = a.ravel(), np.log(a / (1 - a)).ravel()
    signatures = tiny_label_space.signatures
    presence = max(math.prod(values[y]) ** (1 / y.sum()) for y in signatures)
    absence = [math.prod((1 - values)[~y]) ** (1 / (~y).sum()) for y in signatures]
    own = [math.prod(values[y]) ** (1 / y.sum()) for y in signatures]
    cosines = signatures @ values / np.linalg.norm(values) / np.sqrt(signatures.sum(1))
    p = np.exp(cosines / 0.04) / np.exp(cosines / 0.04).sum()
    expected = {
        "entropy": -(p * np.log(p)).sum() / np.log(5),
        "presence": 1 - presence,
        "likelihood": 1 - max(math.sqrt(x * y) for x, y in zip(own, absence, strict=True)),
        "max_logit": 1 / (1 + np.exp(max(odds[y].mean() for y in signatures))),
        "evidence": 1 / (1 + np.log1p(np.exp(odds)).mean()),
        "property_entropy": -(values * np.log2(values) + (1 - values) * np.log2(1 - values)).mean(),
    }
    for measure, value in expected.items():
        assert unknown_map(logits, space, measure).item() == pytest.approx(value, abs=1e-4), measure


def test_without_sigmoid_there_are_the_measures_of_scores(tiny_label_space: LabelSpace) -> None:
    space = property_space(tiny_label_space, "cosine")
    assert measures_of(space) == ("score", "margin", "both", "entropy")
    assert unknown_map(torch.zeros(1, 12, 2, 2), space).tolist() == [[[1, 1], [1, 1]]]
    with pytest.raises(ProLabError, match="needs activations in"):
        unknown_map(torch.zeros(1, 12, 2, 2), space, "likelihood")


def test_a_single_category_can_be_unlike_the_image_too(tiny_label_space: LabelSpace) -> None:
    space = property_space(tiny_label_space.subset(["car"]))
    logits = logits_of(np.ceil(scene(tiny_label_space)))
    for measure in ("score", "margin"):
        found = unknown_map(logits, space, measure)[0]
        assert found[:, :10].max() < 1e-3 and found[:, 10:].min() > 0.9
    assert not unknown_map(logits, space, "entropy").any()


def test_opening_takes_seams_away_and_thresholds_as_masks_do() -> None:
    unknown = np.random.default_rng(0).random((30, 40)).astype(np.float32)
    unknown[:, 20:22] = 1
    unknown[5:11, 4:12] = 1
    opened = without_seams(unknown)
    assert (opened <= unknown).all() and (opened[5:11, 4:12] == 1).all()
    assert opened[15:, 20:22].max() < 1
    masks = unknown_masks(unknown, unknown.shape, 0.3, 0.0)
    np.testing.assert_array_equal(np.any(masks, axis=0), opened > 0.3)


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
