from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from prolab_d2 import ProLabError
from prolab_d2.label_space import cluster, clustering
from prolab_d2.label_space.clustering import (
    CLUSTERINGS,
    auto_num_properties,
    count_distinct,
    cut_tree,
    means,
    unit_rows,
)

every_method = pytest.mark.parametrize("method", CLUSTERINGS)
trees = pytest.mark.parametrize("method", ["ward", "average"])


def blobs(k: int, members: int, dim: int = 6) -> np.ndarray:
    """(k * members, dim) points in k tight groups, one after the other."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(k, dim)) * 5
    return np.repeat(centres, members, axis=0) + rng.normal(size=(k * members, dim)) * 0.01


def directions(count: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    """(count, dim) float32 of unit length."""
    return unit_rows(np.random.default_rng(seed).normal(size=(count, dim)))


@every_method
def test_clusters_are_groups_with_their_means(method: str) -> None:
    points = unit_rows(blobs(5, 4))
    result = cluster(points, 5, method)
    assert result.labels.shape == (20,) and result.labels.dtype == np.int32
    assert result.centres.shape == (5, 6) and result.centres.dtype == np.float32
    groups = result.labels.reshape(5, 4)
    assert (groups == groups[:, :1]).all() and len(set(groups[:, 0])) == 5
    for k in range(5):
        np.testing.assert_allclose(
            result.centres[k], points[result.labels == k].mean(0), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("method", ["kmeans", "spherical"])
def test_the_seed_decides(method: str) -> None:
    points = directions(60)
    first, again, other = (cluster(points, 12, method, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.labels != other.labels).any()


@every_method
def test_numbers_of_clusters_at_both_ends(method: str) -> None:
    points = blobs(3, 1)
    assert cluster(points, 1, method).labels.tolist() == [0, 0, 0]
    assert sorted(cluster(points, 3, method).labels) == [0, 1, 2]
    assert cluster(points[:1], 1, method).labels.tolist() == [0]


def test_spherical_k_means_looks_at_directions_only() -> None:
    points = directions(80)
    length = np.random.default_rng(1).uniform(0.1, 9, size=(80, 1))
    plain, stretched = cluster(points, 12, "spherical"), cluster(points * length, 12, "spherical")
    np.testing.assert_array_equal(plain.labels, stretched.labels)
    np.testing.assert_allclose(plain.centres, stretched.centres, atol=1e-6)
    nearest = (points @ unit_rows(plain.centres).T).argmax(1)
    np.testing.assert_array_equal(plain.labels, nearest)


def test_spherical_k_means_leaves_no_cluster_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_place(rows: np.ndarray, k: int, **_: object) -> tuple[np.ndarray, None]:
        return np.repeat(rows[:1], k, axis=0), None

    monkeypatch.setattr("sklearn.cluster.kmeans_plusplus", one_place)
    points = directions(30)
    for k in (5, 30):
        assert (np.bincount(cluster(points, k, "spherical").labels, minlength=k) > 0).all()


@trees
def test_the_tree_is_that_of_scipy(method: str) -> None:
    from scipy.cluster.hierarchy import fcluster, is_valid_linkage, linkage

    points = directions(70)
    result = cluster(points, 9, method)
    expected = linkage(points, method, metric="cosine" if method == "average" else "euclidean")
    assert is_valid_linkage(result.tree)
    np.testing.assert_array_equal(result.tree[:, :2], expected[:, :2])
    np.testing.assert_allclose(result.tree[:, 2], expected[:, 2], atol=1e-6)
    theirs = fcluster(expected, 9, "maxclust")
    same = theirs[:, None] == theirs
    np.testing.assert_array_equal(result.labels[:, None] == result.labels, same)


@trees
def test_a_tree_is_cut_anywhere_and_finer_cuts_fit_in(method: str) -> None:
    points = directions(40)
    tree = cluster(points, 5, method).tree
    coarse = np.zeros(40, dtype=int)
    for k in range(1, 41):
        labels = cut_tree(tree, k)
        assert labels.dtype == np.int32 and len(np.unique(labels)) == k
        firsts = [int(np.flatnonzero(labels == i)[0]) for i in range(k)]
        assert firsts == sorted(firsts), "numbered as they come"
        assert len(set(zip(labels.tolist(), coarse.tolist(), strict=True))) == k
        np.testing.assert_array_equal(labels, cluster(points, k, method).labels)
        coarse = labels


@pytest.mark.parametrize("k", [0, 41])
def test_a_tree_has_so_many_clusters_and_no_more(k: int) -> None:
    tree = cluster(directions(40), 5, "ward").tree
    with pytest.raises(ProLabError, match="40 sentences cannot be cut into .*between 1 and 40"):
        cut_tree(tree, k)


@trees
def test_a_tree_that_is_too_large_is_refused(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "MAX_TREE_SENTENCES", 39)
    with pytest.raises(ProLabError, match="40 sentences .* 39 are the most: .* 'kmeans' or"):
        cluster(directions(40), 5, method)


@pytest.mark.parametrize("method", ["spherical", "average"])
def test_a_row_of_zeros_has_no_direction(method: str) -> None:
    points = directions(9)
    points[4] = 0
    with pytest.raises(ProLabError, match="row 4 is zero and has no direction"):
        cluster(points, 3, method)


def test_means_are_means_of_the_members() -> None:
    points = directions(12)
    labels = np.array([2, 0, 1, 1, 0, 2, 2, 2, 0, 1, 1, 1])
    expected = [points[labels == k].mean(0) for k in range(3)]
    np.testing.assert_allclose(means(points, labels, 3), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("sentences", "distinct", "expected"),
    [
        (110, 110, 16),
        (1478, 1414, 211),
        (30, 30, 8),
        (5, 4, 4),
        (10_827, 10_000, 1024),
        (1400, 50, 50),
    ],
)
def test_the_number_of_properties_follows_from_the_sentences(
    sentences: int, distinct: int, expected: int
) -> None:
    assert auto_num_properties(sentences, distinct) == expected


def test_an_unknown_method_names_the_choices() -> None:
    with pytest.raises(ProLabError, match="unknown clustering 'x': choose one of 'kmeans', 'sph"):
        cluster(blobs(2, 2), 2, method="x")


@every_method
@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_no_generator_takes(method: str, seed: int) -> None:
    with pytest.raises(ProLabError, match=f"seed {seed} of the clustering: give a whole number"):
        cluster(blobs(2, 2), 2, method, seed)


@pytest.mark.parametrize("k", [0, -1, 4, 100])
def test_more_clusters_than_different_sentences(k: int) -> None:
    points = np.concatenate([blobs(3, 1)] * 4)
    with pytest.raises(ProLabError, match="3 different sentences: choose a number between 1 and 3"):
        cluster(points, k)


def test_equal_sentences_from_two_batches_count_once() -> None:
    points = np.concatenate([blobs(3, 1), blobs(3, 1) + 1e-6])
    with pytest.raises(ProLabError, match="of 3 different sentences"):
        cluster(points, 4)


def test_equal_sentences_are_counted_once_wherever_rounding_puts_them() -> None:
    points = directions(50, dim=384)
    noise = np.random.default_rng(1).normal(size=(3, 50, 384)) * 1e-7
    assert count_distinct(np.concatenate([points, *(points + noise)])) == 50
    assert count_distinct(np.zeros((5, 3))) == 1


@every_method
def test_without_the_library(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(ProLabError, match=r"needs scikit-learn, .* 'prolab_d2\[label-space\]'"):
        cluster(blobs(2, 2), 2, method)


@pytest.mark.parametrize("points", [np.zeros(3), np.zeros((0, 4)), [[np.nan, 1.0], [1.0, 2.0]]])
def test_what_cannot_be_clustered(points: object) -> None:
    with pytest.raises(ProLabError, match="cannot be clustered: give one row of finite numbers"):
        cluster(points, 1)


@pytest.mark.slow
@every_method
def test_the_sentences_of_a_thousand_categories(method: str) -> None:
    """1,203 categories of 9 sentences: far below 5 minutes, and 4 GB, of which distances take 1."""
    rng = np.random.default_rng(0)
    topics = rng.normal(size=(1500, 384))
    points = topics[rng.integers(0, 1500, 1203 * 9)] + 0.8 * rng.normal(size=(1203 * 9, 384))
    start = time.process_time()
    labels = cluster(unit_rows(points), 1024, method).labels
    assert time.process_time() - start < 100
    assert len(np.unique(labels)) == 1024
