"""Offsets of new categories: what they cost the trained ones, and what they are chosen on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from prolab_d2 import Predictor, ProLabError
from prolab_d2.data import register_folder
from prolab_d2.evaluation.sem_seg_metrics import SemSegMetrics, confusion_matrix
from prolab_d2.evaluation.stacking import (
    Stacking,
    area_under_curve,
    choose_offsets,
    choose_stacking,
)
from tests.conftest import TINY_CATEGORIES

TRAINED = np.array([True, True, False, True, False])


def random_scores(seed: int, pixels: int = 9000) -> tuple[np.ndarray, np.ndarray]:
    """Trained categories far ahead, mostly the right one."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 3], pixels, p=[0.7, 0.28, 0.02])
    scores = rng.normal(0, 0.2, (pixels, 5)).astype(np.float32)
    scores[np.arange(pixels), labels] += 0.6
    scores[:, ~TRAINED] -= [0.5, 1.5]
    return scores, labels


def trained_miou(scores: np.ndarray, labels: np.ndarray) -> float:
    return 100 * SemSegMetrics(confusion_matrix(scores.argmax(1), labels, 5, -1)).mean_iou


@pytest.mark.parametrize("seed", range(2))
def test_every_new_category_costs_its_share_and_not_more(seed: int) -> None:
    scores, labels = random_scores(seed)
    alone = np.where(TRAINED, scores, -np.inf)
    before = trained_miou(alone, labels)
    offsets = choose_offsets(scores, labels, TRAINED, cost=2.0)
    assert (offsets[TRAINED] == 0).all()
    for j in np.flatnonzero(~TRAINED):
        competing = alone.copy()
        for factor, allowed in ((1 - 1e-4, True), (1 + 1e-2, False)):
            competing[:, j] = scores[:, j] + offsets[j] * factor
            cost = before - trained_miou(competing, labels)
            assert (cost <= 1.0 + 1e-6) == allowed, (j, factor, cost)
    # The second lies further from what is answered, and gets what makes up for it.
    assert offsets[4] - offsets[2] == pytest.approx(1.0, abs=0.15)
    more = choose_offsets(scores, labels, TRAINED, cost=4.0)
    assert (more[~TRAINED] > offsets[~TRAINED]).all()


def test_an_offset_may_hold_a_new_category_back() -> None:
    scores, labels = random_scores(0)
    scores[:, 2] = scores[:, 0] + 0.1  # it would take everything from category 0
    offsets = choose_offsets(scores, labels, TRAINED)
    assert offsets[2] < -0.05


def test_what_may_all_be_taken_is() -> None:
    scores = np.array([[0.9, 0.1, 0.2], [0.2, 0.8, 0.1]])
    offsets = choose_offsets(scores, np.array([0, 1]), np.array([True, True, False]), cost=100)
    assert offsets[2] == pytest.approx(0.7)


def test_area_under_the_curve_of_seen_and_unseen() -> None:
    labels = np.repeat([0, 1, 2, 3], 50)
    perfect = np.eye(4)[labels] * 0.5
    seen = np.array([True, True, False, False])
    perfect[:, seen] += 5.0  # hides it until a constant is added
    assert area_under_curve(perfect, labels, seen) == pytest.approx(1, abs=1e-3)
    # Within seen and within unseen all are told apart, but not the ones from the others: every
    # constant moves equal parts, a share p of the seen pixels stays, and as much of the unseen.
    blind = np.eye(4)[labels] + np.eye(4)[(labels + 2) % 4]
    blind[:, seen] += np.tile(np.linspace(1, 100, 50), 4)[:, None]
    p = np.linspace(0, 1, 2001)
    x, y = p / (1 + p), (1 - p) / (2 - p)
    expected = ((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2).sum()
    assert area_under_curve(blind, labels, seen) == pytest.approx(expected, abs=0.02)
    assert np.isnan(area_under_curve(perfect[:100], labels[:100], seen))


@pytest.fixture
def train_set(tiny_dataset_folder: Path) -> str:
    return register_folder(tiny_dataset_folder)["train"]


def test_pixels_of_new_categories_are_not_looked_at(
    tiny_checkpoint: Path, train_set: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor.from_checkpoint(tiny_checkpoint, "cpu")
    trained_as = ("Sky", "meadow", None, "car", None)
    found = choose_stacking(predictor, trained_as, [train_set], cost=5.0, images=3)
    assert set(found.offsets) == {"fence", "sign symbol"}
    assert found.images == 3 and found.trained_with_new <= found.trained_alone
    assert found.record()["data_sets"] == (train_set,)
    assert f"chosen on 3 images of {train_set}" in found.describe()

    # Fence and sign symbol drawn over by "no label" give the same.
    from prolab_d2.evaluation import low_resolution

    read = low_resolution.read_sem_seg

    def without_new(*args: object) -> np.ndarray:
        mask = read(*args)
        return np.where(np.isin(mask, (2, 4)), 255, mask)

    monkeypatch.setattr(low_resolution, "read_sem_seg", without_new)
    assert choose_stacking(predictor, trained_as, [train_set], cost=5.0, images=3) == found


def test_with_too_many_scores_fewer_pixels_are_kept(
    tiny_checkpoint: Path, train_set: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prolab_d2.evaluation.stacking._MOST_SCORES", 5 * 100 * 7)
    predictor = Predictor.from_checkpoint(tiny_checkpoint, "cpu")
    found = choose_stacking(predictor, ("sky", "meadow", "fence", "car", None), [train_set])
    assert found.images == 4 and 0 < found.pixels <= 4 * 7


def test_what_there_is_nothing_to_choose_from_is_said(
    tiny_checkpoint: Path, train_set: str
) -> None:
    predictor = Predictor.from_checkpoint(tiny_checkpoint, "cpu")
    for trained_as, words in (
        (TINY_CATEGORIES, "there are no new ones"),
        ((None,) * 5, "none of these was trained"),
        (("a", None, "b", "c", "d"), "no pixel of .* has a trained category"),
    ):
        with pytest.raises(ProLabError, match=words):
            choose_stacking(predictor, trained_as, [train_set])
    with pytest.raises(ProLabError, match="data set nowhere is not known"):
        choose_stacking(predictor, ("sky", None, None, None, None), ["nowhere"])


def test_offsets_decide_labels_scores_and_what_is_said_of_them(tiny_checkpoint: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    options = ["TEST.OUTPUT", "scores", "INPUT.MIN_SIZE_TEST", "61"]
    plain = Predictor.from_checkpoint(tiny_checkpoint, "cpu", options)
    before = plain(image)
    stacking = Stacking({"fence": 0.3, "car": -0.1}, 1.0, ("x",), 1, 1, 0.0, 0.0)
    offsets = stacking.for_categories(TINY_CATEGORIES)
    np.testing.assert_allclose(offsets, [0, 0, 0.3, -0.1, 0])
    other = plain.with_category_offsets(offsets)
    assert plain.label_space.category_offsets is None
    after = other(image)
    np.testing.assert_array_equal(plain(image).labels, before.labels)

    def scores(predictor: Predictor) -> torch.Tensor:
        return predictor.model([{"image": predictor.prepare(image), "height": 64, "width": 80}])[0][
            "sem_seg"
        ]

    expected = scores(plain) + torch.tensor(offsets)[:, None, None]
    torch.testing.assert_close(scores(other), expected, atol=1e-5, rtol=0)
    assert (after.labels == expected.argmax(0).numpy()).mean() > 0.999
    assert (after.labels != before.labels).any()
    np.testing.assert_array_equal(after.unit_activations, before.unit_activations)

    y, x = np.argwhere((after.labels == 2) & (before.labels != 2))[0]
    explanation = after.explain(x, y)
    assert explanation.category == "fence" and explanation.offset == pytest.approx(0.3)
    assert sum(item.share for item in explanation.evidence) == pytest.approx(explanation.score)
    assert explanation.score + 0.3 > explanation.others[0][1]
    assert f"score {explanation.score:.3f} +0.300 (next best" in explanation.describe()
    contrast = after.contrast(after.pixel(x, y))
    assert contrast.category == "fence" and contrast.difference + contrast.offset > 0
    assert "by their offsets" in contrast.describe()
    assert after.changes(after.pixel(x, y), "fence").changes == ()
    assert other.with_category_offsets(None).label_space.category_offsets is None
