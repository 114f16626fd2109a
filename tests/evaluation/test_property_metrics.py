"""Property metrics from histograms, against scikit-learn on all values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, jaccard_score
from torch import Tensor

from prolab_d2.evaluation import property_metrics
from prolab_d2.evaluation.property_metrics import (
    NUM_BINS,
    PropertyMetrics,
    property_histograms,
    sample_at_cell_centres,
)

SIGNATURES = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0]], dtype=torch.bool)


def example(pixels: int = 5000, power: float = 1.0) -> tuple[Tensor, Tensor]:
    """Activations (4, P) that are higher where the property is true, and labels (P,)."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (pixels,), generator=generator)
    noise = torch.rand(4, pixels, generator=generator)
    return (0.35 * SIGNATURES.t()[:, labels] + 0.65 * noise) ** power, labels


@pytest.mark.parametrize("power", [1.0, 4.0])
def test_average_precision_equals_sklearn_within_the_width_of_a_bin(power):
    activations, labels = example(power=power)
    metrics = PropertyMetrics(property_histograms(activations, labels, SIGNATURES))
    bins = (activations * NUM_BINS).ceil()
    for k in range(3):
        truth = SIGNATURES[labels, k]
        exact = average_precision_score(truth, activations[k])
        binned = average_precision_score(truth, bins[k])
        assert metrics.average_precision[k] == pytest.approx(exact, abs=2e-3)
        assert metrics.average_precision[k] == pytest.approx(binned, abs=1e-12)


def test_iou_is_exact():
    activations, labels = example()
    activations[:, :100] = 0.5
    metrics = PropertyMetrics(property_histograms(activations, labels, SIGNATURES))
    for k in range(3):
        expected = jaccard_score(SIGNATURES[labels, k], activations[k] > 0.5)
        assert metrics.iou()[k] == pytest.approx(expected, abs=1e-12)


def test_properties_that_do_not_occur_are_left_out_of_the_means():
    activations, labels = example()
    metrics = PropertyMetrics(property_histograms(activations, labels, SIGNATURES))
    assert np.isnan(metrics.iou()[3]) and np.isnan(metrics.average_precision[3])
    results = metrics.results()
    assert results["mIoU"] == pytest.approx(100 * metrics.iou()[:3].mean())
    assert results["mAP"] == pytest.approx(100 * metrics.average_precision[:3].mean())


def test_histograms_of_parts_add_up(monkeypatch):
    activations, labels = example()
    whole = property_histograms(activations, labels, SIGNATURES)
    assert whole.sum() == activations.numel()
    parts = [
        property_histograms(activations[:, part], labels[part], SIGNATURES)
        for part in (slice(0, 1234), slice(1234, None))
    ]
    assert np.array_equal(parts[0] + parts[1], whole)
    monkeypatch.setattr(property_metrics, "CHUNK", 5000)
    assert np.array_equal(property_histograms(activations, labels, SIGNATURES), whole)


def test_values_outside_0_to_1_are_clipped():
    activations = torch.tensor([[-3.0, 0.0, 1.0, 7.0]])
    labels = torch.zeros(4, dtype=torch.int64)
    counts = property_histograms(activations, labels, torch.ones(1, 1, dtype=torch.bool))
    assert counts[0, 1, 0] == 2 and counts[0, 1, -1] == 2


def test_image_without_labels_gives_empty_histograms():
    counts = property_histograms(torch.empty(4, 0), torch.empty(0, dtype=torch.int64), SIGNATURES)
    assert counts.shape == (4, 2, NUM_BINS) and not counts.any()
    assert np.isnan(PropertyMetrics(counts).results()["mAP"])


def test_labels_are_sampled_at_the_centres_of_cells():
    mask = np.arange(48).reshape(6, 8)
    # Centres of a 2 x 2 grid: rows 1.5 and 4.5, columns 2 and 6 (edges, the next pixel).
    assert sample_at_cell_centres(mask, (2, 2)).tolist() == [[10, 14], [34, 38]]
    assert np.array_equal(sample_at_cell_centres(mask, (6, 8)), mask)
    assert sample_at_cell_centres(mask, (12, 16)).shape == (12, 16)
