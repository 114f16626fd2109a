from __future__ import annotations

import numpy as np
import pytest

from prolab_d2.label_space import cluster
from prolab_d2.label_space.clustering import CLUSTERINGS, Clusters, cut_tree, means, unit_rows
from prolab_d2.label_space.quality import (
    closest_pairs,
    confused_groups,
    measure_quality,
    propose_cure,
    signatures_of,
    silhouette,
)


def directions(count: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    """(count, dim) float32 of unit length."""
    return unit_rows(np.random.default_rng(seed).normal(size=(count, dim)))


def clusters_of(embeddings: np.ndarray, labels: list[int]) -> Clusters:
    labels = np.array(labels, dtype=np.int32)
    return Clusters(labels, means(embeddings, labels, labels.max() + 1))


def test_the_figures_of_a_clustering() -> None:
    # a: 0 1, b: 0 1, c: 1 1 2, d: 3
    owner = np.array([0, 0, 1, 1, 2, 2, 2, 3])
    embeddings = directions(8)
    seen = measure_quality(
        embeddings, clusters_of(embeddings, [0, 1, 0, 1, 1, 1, 2, 3]), owner, ["a", "b", "c", "d"]
    )
    assert (seen.categories, seen.sentences, seen.properties) == (4, 8, 4)
    assert (seen.smallest, seen.median, seen.largest, seen.singles) == (1, 1.5, 4, 2)
    assert seen.categories_per_property == 7 / 4 and seen.most_shared == 3
    assert seen.properties_per_category == 7 / 4
    assert seen.rank == 3
    assert seen.closest == ("a", "b") and seen.closest_distance == 0
    assert seen.lonely == ("d",)
    assert seen.confused == (("a", "b"),)
    text = str(seen)
    assert "silhouette (cosine): " in text
    assert "sentences per property: 1 to 4, median 1.5, 2 properties of one sentence" in text
    assert "rank of the signatures: 3 of 4" in text
    assert "share no property with another category: d" in text
    assert "cannot be told apart: a = b" in text


def test_one_category_and_one_property() -> None:
    embeddings = directions(3)
    seen = measure_quality(embeddings, clusters_of(embeddings, [0, 0, 0]), np.zeros(3, int), ["a"])
    assert seen.silhouette is None and seen.closest is None and seen.closest_distance is None
    assert seen.rank == 1 and seen.confused == ()
    assert "silhouette" not in str(seen) and "closest" not in str(seen)


@pytest.mark.parametrize("method", CLUSTERINGS)
def test_the_silhouette_is_that_of_scikit_learn(method: str) -> None:
    from sklearn.metrics import silhouette_score

    embeddings = directions(1500, dim=5) * np.random.default_rng(1).uniform(1, 3, size=(1500, 1))
    labels = cluster(embeddings, 300, method).labels
    labels[:5] = np.arange(300, 305)  # clusters of one count as 0
    expected = silhouette_score(embeddings, labels, metric="cosine")
    assert silhouette(embeddings, labels) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("count", [1, 7, 3000])
def test_the_closest_pairs_of_many_rows(count: int) -> None:
    signatures = np.random.default_rng(0).random((1300, 12)) < 0.4
    signatures[:, 0] |= ~signatures.any(1)
    rows = signatures / np.linalg.norm(signatures, axis=1, keepdims=True)
    first, second = np.triu_indices(1300, 1)
    distance = np.maximum(1 - (rows @ rows.T)[first, second], 0)
    found = closest_pairs(signatures, count)
    assert len(found) == min(count, len(first))
    assert all(i < j for i, j, _ in found)
    np.testing.assert_allclose([d for *_, d in found], np.sort(distance)[:count], atol=1e-12)
    assert found[:9] == sorted(found[:9], key=lambda pair: (pair[2], pair[0], pair[1]))


def test_there_may_be_no_pair() -> None:
    assert closest_pairs(np.ones((1, 3), bool), 5) == []
    assert closest_pairs(np.ones((3, 3), bool), 9) == [(0, 1, 0), (0, 2, 0), (1, 2, 0)]
    assert confused_groups(np.ones((1, 3), bool)) == []


def confused_by(method: str) -> tuple[list[str], np.ndarray, Clusters, np.ndarray, list[str]]:
    """Sentences, embeddings, clusters, owners, categories: with 2 properties, a and b are equal."""
    points = unit_rows(
        np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0.01], [0, 1, 0.3], [0, 0.9, 0.1], [0, 1, 0.01]])
    )
    sentences = ["tall", "green", "high", "bluish", "grass green", "green too"]
    return sentences, points, cluster(points, 2, method), np.array([0, 0, 1, 1, 2, 2]), [*"abc"]


@pytest.mark.parametrize("method", CLUSTERINGS)
def test_a_number_of_properties_that_parts_confused_categories_is_found(method: str) -> None:
    sentences, points, clusters, owner, categories = confused_by(method)
    cure = propose_cure(sentences, points, clusters, owner, categories, method=method)
    assert cure.num_properties == 3 and 3 in cure.tried
    labels = cluster(points, 3, method).labels
    assert not confused_groups(signatures_of(labels, owner, 3))
    assert cure.sentences == (("a", "green"), ("b", "bluish")) and cure.identical == ()
    assert str(cure).startswith("3 properties part them; the sentences that differ most are a: 'gr")


def test_a_tree_gives_the_smallest_number_of_all() -> None:
    points = directions(60)
    owner = np.repeat(np.arange(12), 5)
    names = [f"category {i}" for i in range(12)]
    clusters = cluster(points, 2, "ward")
    cure = propose_cure([f"{i}" for i in range(60)], points, clusters, owner, names, method="ward")

    def confused(k: int) -> bool:
        return bool(confused_groups(signatures_of(cut_tree(clusters.tree, k), owner, k)))

    assert not confused(cure.num_properties)
    assert all(confused(k) for k in range(2, cure.num_properties))
    assert len(cure.tried) < 10


def test_the_time_is_kept_but_one_number_is_tried() -> None:
    points = directions(60)
    owner = np.repeat(np.arange(12), 5)
    names = [f"category {i}" for i in range(12)]
    sentences = [f"{i}" for i in range(60)]
    clusters = cluster(points, 2)
    short = propose_cure(sentences, points, clusters, owner, names, seconds=0)
    assert len(short.tried) == 1 and short.num_properties is None
    assert f"no number of properties that was tried parts them ({short.tried[0]})" in str(short)
    full = propose_cure(sentences, points, clusters, owner, names)
    assert full.num_properties == full.tried[-1] and full.tried[0] == short.tried[0]


def test_categories_with_the_same_sentences_need_other_sentences() -> None:
    points = directions(4)[[0, 1, 0, 1, 2, 3]]
    owner = np.array([0, 0, 1, 1, 2, 2])
    sentences = ["red", "round", "red", "round", "soft", "wide"]
    clusters = cluster(points, 3)
    cure = propose_cure(sentences, points, clusters, owner, ["apple", "ball", "sofa"])
    assert cure.identical == ("apple", "ball")
    assert cure.num_properties is None and cure.tried == () and cure.sentences == ()
    assert str(cure) == (
        "apple, ball have the same sentences as others: add some on what tells them apart"
    )


def test_a_category_with_only_some_sentences_of_another_can_be_parted() -> None:
    red, tall, pink = unit_rows(np.array([[1.0, 0, 0], [0, 1, 0], [1, 0.2, 0]]))
    points = np.stack([red, tall, red, tall, pink])
    owner = np.array([0, 0, 1, 1, 1])
    sentences = ["red", "tall", "red", "tall", "pink"]
    cure = propose_cure(sentences, points, cluster(points, 2), owner, ["tower", "rose"])
    assert cure.identical == () and cure.num_properties == 3
    assert cure.sentences == (("rose", "pink"),)


def test_without_confusion_there_is_nothing_to_cure() -> None:
    points = directions(4)
    owner = np.array([0, 0, 1, 1])
    assert propose_cure([*"abcd"], points, cluster(points, 4), owner, ["x", "y"]) is None
