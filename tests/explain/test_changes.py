from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.explain import changes, find_changes


def random_space(rng: np.random.Generator, categories: int, properties: int) -> LabelSpace:
    """Distinct signatures with at least one property each."""
    signatures: list[np.ndarray] = []
    while len(signatures) < categories:
        row = rng.random(properties) < 0.4
        if row.any() and not any((row == other).all() for other in signatures):
            signatures.append(row)
    names = [f"category {i}" for i in range(categories)]
    return LabelSpace.from_arrays(names, np.eye(properties) + 1, np.stack(signatures))


def best_category(space: LabelSpace, u: np.ndarray) -> int:
    """The best one, -1 where it is not ahead by more than the rounding."""
    scores = space.signatures @ u / np.sqrt(space.signatures.sum(1))
    second, first = np.argsort(scores)[-2:]
    return int(first) if scores[first] - scores[second] > 1e-9 else -1


def smallest_size(space: LabelSpace, u: np.ndarray, wanted: int) -> int:
    """By trying every set of changes, the small ones first."""
    needed = np.where(space.signatures[wanted], u.max(), 0)
    for size in range(len(u) + 1):
        for chosen in combinations(range(len(u)), size):
            changed = u.copy()
            changed[list(chosen)] = needed[list(chosen)]
            if best_category(space, changed) == wanted:
                return size
    raise AssertionError


@pytest.mark.parametrize("seed", range(12))
def test_the_set_is_the_smallest_that_makes_the_category_the_answer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    space = random_space(rng, 6, 9)
    u = rng.random(9) ** 3
    u /= np.linalg.norm(u)
    for wanted in range(6):
        result = find_changes(u, space, wanted)
        changed = u.copy()
        for change in result.changes:
            assert change.activation == u[change.index]
            assert change.appears == space.signatures[wanted, change.index]
            changed[change.index] = change.needed
        assert best_category(space, changed) == wanted
        assert result.is_smallest
        assert len(result.changes) == smallest_size(space, u, wanted)


def test_a_known_case_in_words(tiny_label_space: LabelSpace) -> None:
    activations = np.zeros(12)
    activations[[3, 4, 5]] = 1.0, 1.0, 0.9
    result = find_changes(activations / np.linalg.norm(activations), tiny_label_space, "meadow")
    assert result.answer == "fence"
    assert result.describe().splitlines() == [
        "to be meadow instead of fence:",
        "  seen: wide and even without edges; green blades of grass",
    ]
    assert [change.needed for change in result.changes] == [max(activations) / 2.81**0.5] * 2
    lost = find_changes(activations / np.linalg.norm(activations), tiny_label_space, "car")
    assert {change.appears for change in lost.changes} == {True, False}
    assert "not seen: " in lost.describe()


def test_the_answer_needs_no_change(tiny_label_space: LabelSpace) -> None:
    result = find_changes(tiny_label_space.signatures[3] / 2.0, tiny_label_space, "car")
    assert result.changes == () and result.is_smallest
    assert result.describe() == "car is the answer already"


def test_negative_and_zero_activations_have_an_answer(tiny_label_space: LabelSpace) -> None:
    for u in (np.linspace(-1.0, -0.1, 12), np.zeros(12)):
        for wanted in range(5):
            result = find_changes(u, tiny_label_space, wanted)
            changed = u.copy()
            for change in result.changes:
                changed[change.index] = change.needed
            assert best_category(tiny_label_space, changed) == wanted


def test_categories_with_the_same_signature_are_no_rivals() -> None:
    space = LabelSpace.from_arrays(
        ["a", "b", "c"], np.eye(3) + 1, [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    )
    u = np.array([0.1, 0.0, 0.9])
    assert len(find_changes(u, space, "a").changes) == len(find_changes(u, space, "b").changes) > 0


def test_a_search_that_is_given_up_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    space = random_space(rng, 30, 40)
    u = rng.random(40)
    exact = [find_changes(u, space, j) for j in range(30)]
    monkeypatch.setattr(changes, "SEARCH_ENTRIES", 0)
    hasty = [find_changes(u, space, j) for j in range(30)]
    assert all(result.is_smallest for result in exact)
    assert not all(result.is_smallest for result in hasty)
    for one, other in zip(exact, hasty, strict=True):
        assert len(one.changes) <= len(other.changes)


def test_unknown_categories_are_refused(tiny_label_space: LabelSpace) -> None:
    with pytest.raises(ProLabError, match="not in the label space"):
        find_changes(np.ones(12), tiny_label_space, "lorry")
