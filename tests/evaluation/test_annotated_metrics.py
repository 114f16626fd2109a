"""Metrics of annotated pixels, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from prolab_d2.data.property_annotations import PropertyAnnotations
from prolab_d2.evaluation.annotated_metrics import AnnotatedHistograms

# Property 0: categories 0 and 1; property 1: category 1; property 2: category 2, not annotated.
SIGNATURES = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]], dtype=bool)


def annotated(seed: int, side: int = 60) -> tuple[torch.Tensor, np.ndarray, PropertyAnnotations]:
    """Activations (3, h, w), categories (h, w), 10 regions: activations know the category well, and
    of property 0 also a little of the truth.
    """
    rng = np.random.default_rng(seed)
    regions = rng.integers(0, 10, (side, side))
    categories = np.array([-1, 0, 0, 0, 1, 1, 1, 2, 2, 2])[regions]
    truth = np.full((10, 3), -1, dtype=np.int8)
    truth[1:, 0] = [1, 0, -1, 1, 0, 0, 1, 0, -1]
    truth[1:, 1] = [0, 0, 0, 1, 1, 0, 0, 0, 1]
    known = SIGNATURES[categories].transpose(2, 0, 1)
    values = 0.4 * known + 0.6 * rng.random((3, side, side))
    values[0] += 0.1 * (truth[regions, 0] == 1)
    # At bins' centres, so that the histograms lose nothing.
    values = (np.floor(values.clip(0, 0.999) * 1000) + 0.5) / 1000
    return torch.from_numpy(values), categories, PropertyAnnotations(regions, truth)


def counted(*seeds: int) -> AnnotatedHistograms:
    histograms = AnnotatedHistograms.empty(SIGNATURES)
    for seed in seeds:
        activations, categories, annotations = annotated(seed)
        histograms.add(activations, torch.from_numpy(categories), annotations)
    return histograms


def test_numbers_of_scikit_learn_on_all_annotated_pixels() -> None:
    parts = [annotated(seed) for seed in (0, 1)]  # two images with regions of the same numbers
    values = torch.cat([activations.flatten(1) for activations, _, _ in parts], dim=1).numpy()
    categories = np.concatenate([labels.ravel() for _, labels, _ in parts])
    truth = np.concatenate([one.truth[one.regions.ravel()] for _, _, one in parts]).T
    found = counted(0, 1)
    for k in (0, 1):
        known = (truth[k] >= 0) & (categories >= 0)
        by_signature = SIGNATURES[categories, k]
        assert found.pixels[k] == known.sum()
        assert found.metrics.positives[k] == (truth[k][known] == 1).sum()
        for metrics, right in (
            (found.metrics, truth[k] == 1),
            (found.signature_metrics, by_signature),
        ):
            expected = average_precision_score(right[known], values[k][known])
            assert metrics.average_precision[k] == pytest.approx(expected, abs=1e-9)
        own, active = known & by_signature, values[k] > 0.5
        without, elsewhere = own & (truth[k] == 0), known & ~by_signature & (truth[k] == 1)
        assert found.active_without[k] == pytest.approx(active[without].mean())
        assert found.active_elsewhere[k] == pytest.approx(active[elsewhere].mean())
        wins = pairs = 0.0
        for category in np.flatnonzero(SIGNATURES[:, k]):
            chosen = known & (categories == category)
            having = truth[k][chosen] == 1
            weight = having.sum() * (~having).sum()
            wins += weight * roc_auc_score(having, values[k][chosen])
            pairs += weight
        assert found.same_category_auroc[k] == pytest.approx(wins / pairs, abs=1e-9)
    assert found.same_category_auroc[0] > 0.6  # seen, a little
    assert found.same_category_auroc[1] == pytest.approx(0.5, abs=0.05)  # known, not seen
    assert found.signature_metrics.average_precision[1] > 0.9


def test_what_nobody_has_annotated_is_not_a_number() -> None:
    found = counted(0)
    assert found.pixels[2] == 0
    for values in (
        found.metrics.average_precision,
        found.signature_metrics.average_precision,
        found.same_category_auroc,
        found.active_without,
        found.active_elsewhere,
    ):
        assert np.isnan(values[2])
    nothing = AnnotatedHistograms.empty(SIGNATURES)
    activations, categories, annotations = annotated(0)
    unknown = np.full_like(annotations.truth, -1)
    nothing.add(
        activations, torch.from_numpy(categories), PropertyAnnotations(annotations.regions, unknown)
    )
    assert not nothing.counts.any()


def test_annotations_are_read_at_the_centres_of_the_cells() -> None:
    activations, categories, annotations = annotated(0, 20)
    small = AnnotatedHistograms.empty(SIGNATURES)
    small.add(activations, torch.from_numpy(categories), annotations)
    # Four times as large, with another region around the centre of every cell.
    regions = np.full((80, 80), 1, dtype=np.uint16)
    regions[2::4, 2::4] = annotations.regions
    large = AnnotatedHistograms.empty(SIGNATURES)
    large.add(
        activations, torch.from_numpy(categories), PropertyAnnotations(regions, annotations.truth)
    )
    assert np.array_equal(small.counts, large.counts)
