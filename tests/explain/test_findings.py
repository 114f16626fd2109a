from __future__ import annotations

import numpy as np
import pytest

from prolab_d2 import LabelSpace
from prolab_d2.explain import doubtful_first, find_categories


@pytest.fixture
def labels() -> np.ndarray:
    """(10, 10) ids: 60 % fence, 30 % car, 10 % sky."""
    return np.repeat([2, 3, 0], [60, 30, 10]).reshape(10, 10)


@pytest.fixture
def activations(tiny_label_space: LabelSpace) -> np.ndarray:
    """Every category like its signature, the fence in part like the meadow."""
    u = tiny_label_space.signatures.astype(float)
    u[2] += 0.8 * u[1]
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    u[[1, 4]] = np.nan
    return u


def test_categories_come_with_area_explanation_contrast_and_changes(
    tiny_label_space: LabelSpace, labels: np.ndarray, activations: np.ndarray
) -> None:
    findings = find_categories(labels, activations, tiny_label_space)
    assert [f.category_index for f in findings] == [2, 3, 0]
    assert [f.area for f in findings] == pytest.approx([0.6, 0.3, 0.1])
    fence = findings[0]
    assert fence.explanation.category == fence.contrast.category == "fence"
    assert fence.contrast.other == fence.changes.category == "meadow"
    assert fence.changes.changes
    assert [f.category_index for f in doubtful_first(findings)][0] == 2


def test_small_categories_can_be_left_out_but_never_all(
    tiny_label_space: LabelSpace, labels: np.ndarray, activations: np.ndarray
) -> None:
    def found(**options: float) -> list[int]:
        findings = find_categories(labels, activations, tiny_label_space, **options)
        return [f.category_index for f in findings]

    assert found(least_area=0.2) == [2, 3]
    assert found(least_area=0.9) == [2]
    assert found(most=2) == [2, 3]


def test_a_single_category_has_nothing_to_be_compared_with(tiny_label_space: LabelSpace) -> None:
    space = tiny_label_space.subset(["car"])
    u = space.signatures.astype(float) / 2
    findings = find_categories(np.zeros((4, 4), dtype=int), u, space)
    assert findings[0].contrast is None and findings[0].changes is None
    assert findings[0].explanation.score == pytest.approx(1)
    assert doubtful_first(findings) == []
