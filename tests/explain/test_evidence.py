from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.explain import explain_pixel


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values)


def random_unit(label_space: LabelSpace, seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).random(label_space.num_properties))


@pytest.mark.parametrize("seed", range(5))
def test_shares_add_up_to_the_cosine_score_of_every_category(
    tiny_label_space: LabelSpace, seed: int
) -> None:
    u = random_unit(tiny_label_space, seed)
    for j, name in enumerate(tiny_label_space.categories):
        explanation = explain_pixel(u, tiny_label_space, name)
        signature = tiny_label_space.signatures[j].astype(float)
        cosine = signature @ u / np.linalg.norm(signature) / np.linalg.norm(u)
        assert explanation.category_index == j
        assert explanation.score == pytest.approx(cosine, abs=1e-14)
        assert math.fsum(item.share for item in explanation.evidence) == explanation.score
        assert {item.index for item in explanation.evidence} == set(np.flatnonzero(signature))


def test_evidence_missing_and_unexpected_properties_of_a_known_case(
    tiny_label_space: LabelSpace,
) -> None:
    activations = np.zeros(12)
    activations[[3, 4, 6]] = 1.0, 0.8, 0.6  # a fence without property 5, with one of a car
    activations[7] = 0.4  # less than half of the strongest: not active
    explanation = explain_pixel(unit(activations), tiny_label_space)
    length = np.linalg.norm(activations)
    assert explanation.category == "fence"
    assert [item.index for item in explanation.evidence] == [3, 4, 5]
    shares = [item.share for item in explanation.evidence]
    assert shares == pytest.approx([1.0 / length / 3**0.5, 0.8 / length / 3**0.5, 0.0])
    assert [item.name for item in explanation.missing] == ["made of metal with a painted surface"]
    assert [item.index for item in explanation.unexpected] == [6]
    assert explanation.unexpected[0].activation == pytest.approx(0.6 / length)
    assert explanation.unexpected[0].share == 0
    assert explanation.others[0][0] == "meadow"
    assert explanation.others[0][1] == pytest.approx(1.0 / length / 3**0.5)


def test_the_best_category_is_explained_unless_another_is_named(
    tiny_label_space: LabelSpace,
) -> None:
    u = unit(tiny_label_space.signatures[3].astype(float))
    assert explain_pixel(u, tiny_label_space).category == "car"
    assert explain_pixel(u, tiny_label_space).score == pytest.approx(1.0)
    assert explain_pixel(u, tiny_label_space, 0).category == "sky"
    assert explain_pixel(u, tiny_label_space, np.int64(2)).category == "fence"


def test_the_mean_over_a_region_is_explained_like_a_pixel(tiny_label_space: LabelSpace) -> None:
    pixels = [random_unit(tiny_label_space, seed) for seed in range(7)]
    scores = [explain_pixel(u, tiny_label_space, "car").score for u in pixels]
    region = explain_pixel(np.mean(pixels, axis=0), tiny_label_space, "car")
    assert region.score == pytest.approx(np.mean(scores), abs=1e-12)


def test_tensors_are_read_like_arrays(tiny_label_space: LabelSpace) -> None:
    u = random_unit(tiny_label_space, 0).astype(np.float32)
    from_array = explain_pixel(u, tiny_label_space)
    assert explain_pixel(torch.from_numpy(u), tiny_label_space) == from_array


def test_negative_activations_of_plain_cosine_similarity_are_never_active(
    tiny_label_space: LabelSpace,
) -> None:
    u = unit(np.linspace(-1.0, -0.1, 12))
    explanation = explain_pixel(u, tiny_label_space, "car")
    assert explanation.score < 0
    assert len(explanation.missing) == 4
    assert explanation.unexpected == ()


def test_description_names_score_properties_and_rival(tiny_label_space: LabelSpace) -> None:
    activations = np.zeros(12)
    activations[[3, 4, 6]] = 1.0, 0.8, 0.6
    text = explain_pixel(unit(activations), tiny_label_space).describe()
    assert text.splitlines() == [
        "fence: score 0.735 (next best: meadow 0.408)",
        "  what speaks for fence (shares of the score):",
        "     0.408  stands on the ground in a field",
        "     0.327  thin upright bars or posts",
        "  expected of fence, not seen here:",
        "     0.000  made of metal with a painted surface",
        "  seen here, not expected of fence:",
        "     0.424  four wheels with black tyres",
    ]


def test_description_sums_up_what_it_leaves_out(tiny_label_space: LabelSpace) -> None:
    u = unit(tiny_label_space.signatures[4].astype(float))
    text = explain_pixel(u, tiny_label_space).describe(top=2)
    assert text.splitlines()[-1] == "     0.600  in 3 more"


@pytest.mark.parametrize("size", [11, 13])
def test_another_number_of_properties_is_refused(tiny_label_space: LabelSpace, size: int) -> None:
    with pytest.raises(ProLabError, match="do not fit the label space's 12 properties"):
        explain_pixel(np.ones(size), tiny_label_space)


@pytest.mark.parametrize("category", ["lorry", 5, -1])
def test_an_unknown_category_is_refused(tiny_label_space: LabelSpace, category: str | int) -> None:
    with pytest.raises(ProLabError, match="is not in the label space: use one of sky, meadow"):
        explain_pixel(random_unit(tiny_label_space, 0), tiny_label_space, category)


def test_values_that_are_not_finite_are_refused(tiny_label_space: LabelSpace) -> None:
    u = random_unit(tiny_label_space, 0)
    u[3] = np.nan
    with pytest.raises(ProLabError, match="not finite"):
        explain_pixel(u, tiny_label_space)
