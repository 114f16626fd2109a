from __future__ import annotations

import numpy as np
import pytest

from prolab_d2 import LabelSpace
from prolab_d2.label_space import summarize


def test_the_summary_counts() -> None:
    signatures = [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 0, 1]]
    sentences = {"a": ["one", "two"], "c": ["three"]}
    space = LabelSpace.from_arrays(["a", "b", "c"], np.eye(4), signatures, descriptions=sentences)
    summary = summarize(space)
    assert (summary.categories, summary.properties, summary.sentences) == (3, 4, 3)
    assert summary.properties_per_category == pytest.approx(7 / 3)
    assert (summary.fewest_properties, summary.most_properties) == (2, 3)
    assert summary.shared_per_category == pytest.approx(5 / 3)
    assert summary.categories_per_property == 7 / 4 and summary.shared_properties == 2
    assert [pair[:2] for pair in summary.alike] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert summary.closest == ("a", "b") and summary.confused == []
    assert summary.closest_distance == pytest.approx(1 - 2 / np.sqrt(6))
    assert "2.33 (2 to 3), 1.67 of them shared with another category" in str(summary)
    assert (
        "most alike: a and b (cosine distance of signatures 0.184), a and c (0.500), "
        "b and c (0.592)"
    ) in str(summary)


def test_categories_that_share_nothing_are_not_called_alike() -> None:
    space = LabelSpace.from_arrays(["a", "b", "c"], np.eye(3), [[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    assert "a and b" in str(summarize(space)) and "and c" not in str(summarize(space))


def test_the_summary_of_one_and_of_equal_categories() -> None:
    one = summarize(LabelSpace.from_arrays(["a"], np.eye(2), [[1, 0]]))
    assert one.closest is None and one.closest_distance == 1 and "most alike" not in str(one)
    equal = summarize(LabelSpace.from_arrays(["a", "b"], np.eye(2), [[1, 0], [1, 0]]))
    assert equal.closest_distance == 0 and equal.confused == [("a", "b")]
