from __future__ import annotations

import math

import numpy as np
import pytest

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.explain import contrast_categories, explain_pixel


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values)


def random_unit(label_space: LabelSpace, seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).random(label_space.num_properties))


@pytest.mark.parametrize("seed", range(3))
def test_terms_add_up_to_the_difference_of_the_scores_of_any_two_categories(
    tiny_label_space: LabelSpace, seed: int
) -> None:
    u = random_unit(tiny_label_space, seed)
    for a in range(5):
        for b in range(5):
            if a == b:
                continue
            contrast = contrast_categories(u, tiny_label_space, a, b)
            scores = [explain_pixel(u, tiny_label_space, j).score for j in (a, b)]
            assert (contrast.score, contrast.other_score) == pytest.approx(scores, abs=1e-15)
            assert math.fsum(t.difference for t in contrast.terms) == contrast.difference
            assert contrast.difference == pytest.approx(scores[0] - scores[1], abs=1e-15)
            either = tiny_label_space.signatures[a] | tiny_label_space.signatures[b]
            assert {t.index for t in contrast.terms} == set(np.flatnonzero(either))


def test_properties_part_into_those_of_one_of_the_other_and_of_both(
    tiny_label_space: LabelSpace,
) -> None:
    activations = np.zeros(12)
    activations[[3, 4, 5, 6]] = 1.0, 0.8, 0.3, 0.6
    length = np.linalg.norm(activations)
    contrast = contrast_categories(activations / length, tiny_label_space, "fence", "car")
    assert [t.index for t in contrast.supporting] == [3, 4]
    assert [t.index for t in contrast.opposing] == [6, 7, 8]
    assert [t.index for t in contrast.shared] == [5]
    assert contrast.supporting[0].difference == pytest.approx(1 / length / 3**0.5)
    assert contrast.opposing[0].difference == pytest.approx(-0.6 / length / 4**0.5)
    # It weighs more for the fence, which has fewer properties.
    assert contrast.shared[0].difference == pytest.approx(0.3 / length * (3**-0.5 - 4**-0.5))
    assert contrast.terms[0].index == 3, "the most decisive first"


def test_the_best_categories_are_compared_unless_others_are_named(
    tiny_label_space: LabelSpace,
) -> None:
    activations = tiny_label_space.signatures[2] + 0.5 * tiny_label_space.signatures[1]
    u = unit(activations.astype(float))
    assert names(contrast_categories(u, tiny_label_space)) == ("fence", "meadow")
    assert names(contrast_categories(u, tiny_label_space, "car")) == ("car", "fence")
    assert names(contrast_categories(u, tiny_label_space, other="fence")) == ("meadow", "fence")
    assert contrast_categories(u, tiny_label_space, "car").difference < 0


def names(contrast: object) -> tuple[str, str]:
    return contrast.category, contrast.other


def test_description_names_scores_sides_and_what_it_leaves_out(
    tiny_label_space: LabelSpace,
) -> None:
    u = unit(tiny_label_space.signatures[4].astype(float))
    text = contrast_categories(u, tiny_label_space, "sign symbol", "car").describe(top=2)
    assert text.splitlines() == [
        "sign symbol 1.000, not car 0.224: difference +0.776",
        "  only sign symbol has (together +0.800):",
        "    +0.200  thin upright bars or posts",
        "    +0.200  round or triangular plate",
        "    +0.400  in 2 more",
        "  only car has (together +0.000):",
        "    +0.000  made of metal with a painted surface",
        "    +0.000  four wheels with black tyres",
        "    +0.000  in 1 more",
        "  both have 1 (together -0.024)",
    ]


def test_what_cannot_be_compared_is_refused(tiny_label_space: LabelSpace) -> None:
    u = random_unit(tiny_label_space, 0)
    with pytest.raises(ProLabError, match="'car' is compared with itself"):
        contrast_categories(u, tiny_label_space, "car", 3)
    with pytest.raises(ProLabError, match="'lorry' is not in the label space"):
        contrast_categories(u, tiny_label_space, "lorry", "car")
    with pytest.raises(ProLabError, match="do not fit"):
        contrast_categories(u[:5], tiny_label_space)
    with pytest.raises(ProLabError, match="one category"):
        contrast_categories(u, tiny_label_space.subset(["car"]))
