from __future__ import annotations

import numpy as np
import pytest
import torch

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.evaluation.grounding import GroundingStatistics, calibration, visibility
from prolab_d2.evaluation.property_metrics import PropertyMetrics, property_histograms
from prolab_d2.evaluation.property_weighting import (
    METHODS,
    Pixels,
    choose_weights,
    drop_harmful,
    drop_invisible,
    mean_iou,
)


def three() -> LabelSpace:
    """Category 0 and 1 are told apart by properties 0 and 1, category 2 by the third alone."""
    signatures = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0]], dtype=bool)
    return LabelSpace.from_arrays(["a", "b", "c"], np.eye(4), signatures, list("wxyz"))


def noisy(seed: int, pixels: int = 3000) -> Pixels:
    """The signatures of `three` but for property 0, which is noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, pixels)
    activations = three().signatures[labels] * 0.6 + 0.4 * rng.random((pixels, 4))
    activations[:, 0] = rng.random(pixels)
    return Pixels(activations.astype(np.float32), labels)


def test_calibration_is_zero_where_activations_are_true_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    activations = rng.random((1, 200_000))
    # Category 1 has the property, with the probability of the activation.
    labels = (rng.random(200_000) < activations[0]).astype(np.int64)
    table = torch.tensor([[False], [True]])
    given = torch.from_numpy(activations)
    right = calibration(property_histograms(given, torch.from_numpy(labels), table))
    assert right.error[0] < 0.01
    assert right.confidence[0] == pytest.approx(right.truth[0], abs=0.02)
    assert right.pixels.sum() == 200_000
    always = calibration(property_histograms(given * 0 + 0.95, torch.from_numpy(labels), table))
    assert always.error[0] == pytest.approx(0.95 - labels.mean(), abs=1e-3)
    assert np.isnan(always.truth[0, :9]).all()


def test_calibration_of_a_case_computed_by_hand() -> None:
    # Activations at the centres of their bins; label 1 has the property.
    given = [(0.0495, 0)] * 6 + [(0.2495, 1), (0.2095, 0)] + [(0.9495, 1)] * 3 + [(0.9095, 0)]
    activations, labels = (torch.tensor(column) for column in zip(*given, strict=True))
    found = calibration(
        property_histograms(activations[None], labels, torch.tensor([[False], [True]]))
    )
    assert found.pixels[0].tolist() == [6, 0, 2, 0, 0, 0, 0, 0, 0, 4]
    assert found.confidence[0, [0, 2, 9]] == pytest.approx([0.0495, 0.2295, 0.9395])
    assert found.truth[0, [0, 2, 9]] == pytest.approx([0, 0.5, 0.75])
    assert found.error[0] == pytest.approx((6 * 0.0495 + 2 * 0.2705 + 4 * 0.1895) / 12)
    assert found.active_error[0] == pytest.approx(0.1895)


def test_a_rare_property_that_is_never_found_has_a_small_error_and_one_found_wrongly_a_large() -> (
    None
):
    labels = torch.zeros(1000, dtype=torch.int64)
    labels[:10] = 1
    activations = torch.full((2, 1000), 0.0005)
    activations[1, 10:20] = 0.9995  # active in the wrong places
    table = torch.tensor([[False, False], [True, True]])
    found = calibration(property_histograms(activations, labels, table))
    assert found.error == pytest.approx([0.0095, 0.01945], abs=1e-4)
    assert np.isnan(found.active_error[0])
    assert found.active_error[1] == pytest.approx(0.9995)


def test_visibility_is_one_for_what_is_seen_and_zero_for_noise() -> None:
    pixels = noisy(0, 20_000)
    histograms = property_histograms(
        torch.from_numpy(pixels.activations.T),
        torch.from_numpy(pixels.labels),
        torch.tensor(three().signatures),
    )
    seen = visibility(PropertyMetrics(histograms))
    assert seen[1:] == pytest.approx([1, 1, 1], abs=1e-6)
    assert seen[0] == pytest.approx(0, abs=0.03)


def test_leaving_a_property_out_is_scoring_without_its_column() -> None:
    space, pixels = three(), noisy(1)
    for weights in (None, np.array([0.5, 1, 0.7, 0.2])):
        weighted = space.with_property_weights(weights)
        statistics = GroundingStatistics(weighted)
        for part in range(2):  # in two images
            statistics.add(torch.from_numpy(pixels.activations[part::2].T), pixels.labels[part::2])
        full = np.ones(4) if weights is None else weights
        expected = [
            mean_iou(pixels, space.signatures, full * (np.arange(4) != k)) for k in (0, 1, 3)
        ]
        assert statistics.mean_iou[[0, 1, 3]] == pytest.approx(expected)
        assert statistics.mean_iou[-1] == pytest.approx(mean_iou(pixels, space.signatures, full))
        # Without its only property, c is never found.
        assert statistics.hits[2, 2] == 0 and statistics.predicted[2, 2] == 0
        for k in range(4):
            change = sum(statistics.resolved[k].values()) - sum(statistics.caused[k].values())
            assert change == statistics.hits[-1].sum() - statistics.hits[k].sum()
        assert sum(statistics.resolved[2].values()) == statistics.hits[-1, 2]
    assert {pair[0] for pair in statistics.resolved[2]} == {2}


def test_parts_of_a_margin_add_up_to_the_mean_lead() -> None:
    space, pixels = three(), noisy(2)
    statistics = GroundingStatistics(space)
    statistics.add(torch.from_numpy(pixels.activations.T), pixels.labels)
    own = pixels.activations[pixels.labels == 0].astype(np.float64)
    unit = own / np.linalg.norm(own, axis=1, keepdims=True)
    lead = (unit[:, [0, 3]].sum(1) - unit[:, [1, 3]].sum(1)).mean() / np.sqrt(2)
    parts = statistics.margin_parts(0, 1)
    assert parts.sum() == pytest.approx(lead, rel=1e-5)
    assert parts[2] == parts[3] == 0


def test_pixels_without_a_label_do_not_count() -> None:
    statistics = GroundingStatistics(three())
    statistics.add(torch.rand(4, 10), np.full(10, -1))
    assert not statistics.histograms.any()
    with pytest.raises(ProLabError, match="no pixel has a label"):
        _ = statistics.mean_iou


def test_noise_is_dropped_and_what_is_needed_is_kept() -> None:
    signatures = three().signatures
    for method in (drop_invisible, drop_harmful):
        weights = method(noisy(3), signatures)
        assert weights.tolist() == [0, 1, 1, 1], method.__name__
    # Without z as well as w, category a would have no property left.
    assert signatures[:, weights > 0].any(1).all()


def test_every_method_is_as_good_as_equal_weights_where_one_property_is_noise() -> None:
    weights, values, best = choose_weights(noisy(4), noisy(5), three().signatures)
    assert list(weights) == list(values) == list(METHODS)
    assert values["equal"] < values["drop_harmful"]
    assert min(values.values()) == values["equal"]
    assert values[best] == max(values.values())
    for name in ("visibility", "fitted", "fitted_balanced"):
        assert weights[name][0] < 0.6 * weights[name][1], name
        assert weights[name].min() > 0
