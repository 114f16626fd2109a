from __future__ import annotations

import sys

import numpy as np
import pytest

from prolab_d2 import ProLabError
from prolab_d2.label_space import cluster


def blobs(k: int, members: int, dim: int = 6) -> np.ndarray:
    """(k * members, dim) points in k tight groups, one after the other."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(k, dim)) * 5
    return np.repeat(centres, members, axis=0) + rng.normal(size=(k * members, dim)) * 0.01


def test_clusters_are_groups_with_their_means() -> None:
    points = blobs(5, 4)
    result = cluster(points, 5)
    assert result.labels.shape == (20,) and result.labels.dtype == np.int32
    assert result.centres.shape == (5, 6) and result.centres.dtype == np.float32
    groups = result.labels.reshape(5, 4)
    assert (groups == groups[:, :1]).all() and len(set(groups[:, 0])) == 5
    for k in range(5):
        np.testing.assert_allclose(
            result.centres[k], points[result.labels == k].mean(0), rtol=1e-5, atol=1e-6
        )


def test_the_seed_decides() -> None:
    points = np.random.default_rng(1).normal(size=(60, 6))
    first, again, other = (cluster(points, 12, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.labels != other.labels).any()


def test_numbers_of_clusters_at_both_ends() -> None:
    points = blobs(3, 1)
    assert cluster(points, 1).labels.tolist() == [0, 0, 0]
    assert sorted(cluster(points, 3).labels) == [0, 1, 2]


def test_an_unknown_method_names_the_choices() -> None:
    with pytest.raises(ProLabError, match="unknown clustering 'ward': choose one of 'kmeans'"):
        cluster(blobs(2, 2), 2, method="ward")


@pytest.mark.parametrize("k", [0, -1, 4, 100])
def test_more_clusters_than_different_sentences(k: int) -> None:
    points = np.concatenate([blobs(3, 1)] * 4)
    with pytest.raises(ProLabError, match="3 different sentences: choose a number between 1 and 3"):
        cluster(points, k)


def test_equal_sentences_from_two_batches_count_once() -> None:
    points = np.concatenate([blobs(3, 1), blobs(3, 1) + 1e-6])
    with pytest.raises(ProLabError, match="of 3 different sentences"):
        cluster(points, 4)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(ProLabError, match=r"needs scikit-learn, .* 'prolab_d2\[label-space\]'"):
        cluster(blobs(2, 2), 2)


@pytest.mark.parametrize("points", [np.zeros(3), np.zeros((0, 4)), [[np.nan, 1.0], [1.0, 2.0]]])
def test_what_cannot_be_clustered(points: object) -> None:
    with pytest.raises(ProLabError, match="cannot be clustered: give one row of finite numbers"):
        cluster(points, 1)
