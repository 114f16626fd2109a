"""Metrics from histograms, against scikit-learn on all values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from prolab_d2.evaluation.unknown_metrics import SOFTMAX_MEASURES, UnknownMetrics, softmax_measures


@pytest.fixture(scope="module")
def example() -> tuple[np.ndarray, np.ndarray]:
    """(P,) values, most of them tiny, and groups: known, two unknown categories, unlabelled."""
    rng = np.random.default_rng(0)
    groups = rng.choice([-1, 0, 1, 2], 6000, p=[0.1, 0.8, 0.06, 0.04])
    values = rng.random(6000) ** (8.0 - 2 * groups.clip(0))
    return values, groups


def test_metrics_are_those_of_sklearn(example: tuple[np.ndarray, np.ndarray]) -> None:
    values, groups = example
    metrics = UnknownMetrics(["one", "two"], ["bus", "hedge"])
    for part in (slice(0, 1000), slice(1000, None)):
        found = values[part]
        metrics.add({"one": found, "two": 0.7 * np.sqrt(found)}, groups[part])
    kept = groups >= 0
    truth, score = groups[kept] > 0, values[kept]
    results = metrics.results()
    one = results["one"]
    assert one["AP"] == pytest.approx(100 * average_precision_score(truth, score), abs=0.2)
    assert one["AUROC"] == pytest.approx(100 * roc_auc_score(truth, score), abs=0.05)
    false, true, _ = roc_curve(truth, score, drop_intermediate=False)
    assert one["FPR95"] == pytest.approx(100 * false[(true >= 0.95).argmax()], abs=0.3)
    for name in ("AP", "AUROC", "FPR95"):  # depend on the order alone
        assert results["two"][name] == pytest.approx(one[name], abs=0.3)
    alone = kept & (groups != 1)
    expected = average_precision_score(groups[alone] == 2, values[alone])
    assert one["categories"]["hedge"] == pytest.approx(100 * expected, abs=0.2)
    assert metrics.prevalence == pytest.approx(100 * truth.mean())


def test_without_unknown_or_known_pixels_there_is_no_metric() -> None:
    for group in (0, 1):
        metrics = UnknownMetrics(["one"], ["bus"])
        assert np.isnan(metrics.prevalence)
        metrics.add({"one": np.linspace(0, 1, 9)}, np.full(9, group))
        result = metrics.results()["one"]
        assert np.isnan([result["AP"], result["AUROC"], result["FPR95"]]).all()


def test_softmax_measures_of_known_cases() -> None:
    logits = torch.tensor([[0.0, 40.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1e9]])
    found = dict(
        zip(SOFTMAX_MEASURES, softmax_measures(logits[None, :, None])[0, :, 0], strict=True)
    )
    assert found["entropy"].tolist() == pytest.approx([1, 0, np.log(2) / np.log(3)], abs=1e-7)
    assert found["probability"].tolist() == pytest.approx([2 / 3, 0, 0.5], abs=1e-7)
    assert found["max_logit"].tolist() == pytest.approx([0.5, 0, 1 / (1 + np.e)], abs=1e-7)
    # Certain answers still differ.
    entropy, probability, _ = softmax_measures(
        torch.tensor([[60.0, 50.0], [0.0, 0.0]])[None, :, None]
    )[0, :, 0]
    assert 0 < probability[0] < probability[1]
    assert 0 < entropy[0] < entropy[1]
