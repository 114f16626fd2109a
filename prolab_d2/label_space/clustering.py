"""From sentence embeddings to clusters, the properties.

Shapes: M descriptions, D embedding, K properties. A tree is what SciPy calls a linkage: (M - 1, 4)
float64, one merge a row: the two nodes that are joined, their distance, the number of sentences.
Node m < M is sentence m, node M + i is the result of merge i; rows come in order of distance.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from prolab_d2.errors import ProLabError

__all__ = [
    "CLUSTERINGS",
    "Clusters",
    "auto_num_properties",
    "cluster",
    "count_distinct",
    "cut_tree",
    "means",
    "unit_rows",
]

# Distances of all pairs are held twice: 2 GiB for this many sentences.
MAX_TREE_SENTENCES = 16_000
# Embeddings of one sentence differ by less between batches and devices.
_SAME = 1e-4


@dataclass(frozen=True, eq=False)
class Clusters:
    """Which cluster every embedding belongs to.

    Attributes:
        labels: (M,) int32 in [0, K).
        centres: (K, D) float32, means of the members, not of unit length.
        tree: (M - 1, 4) float64, which `cut_tree` cuts at any K; None where the method has none.
    """

    labels: np.ndarray
    centres: np.ndarray
    tree: np.ndarray | None = None


def auto_num_properties(num_sentences: int, num_distinct: int) -> int:
    """About one property for every 7 sentences, at least 8 and at most 1,024 of them.

    The paper (section 4.3) finds the best results between one for 6 and one for 8.

    Args:
        num_distinct: number of different sentences, which bounds the result.
    """
    return min(max(round(num_sentences / 7), 8), 1024, num_distinct)


def cluster(embeddings: Any, k: int, method: str = "kmeans", seed: int = 0) -> Clusters:
    """Groups embeddings into `k` clusters, none of them empty.

    Labels depend on the seed and on the version of the library: store them, never recompute.

    Args:
        embeddings: (M, D) numbers, usually of unit length.
        method: a key of `CLUSTERINGS`. "kmeans" is the published choice, "spherical" K-Means
            compares directions only. "ward" and "average" (on cosine distance) join clusters
            step by step, without a seed, and give a tree.
        seed: from 0, below 2 ** 32.
    Raises:
        ProLabError: unknown method, bad values, fewer than `k` different embeddings, or too many
            embeddings for a tree.
    """
    if method not in CLUSTERINGS:
        raise ProLabError(
            f"unknown clustering {method!r}: choose one of {', '.join(map(repr, CLUSTERINGS))}"
        )
    if not 0 <= seed < 2**32:
        raise ProLabError(
            f"seed {seed} of the clustering: give a whole number from 0 to {2**32 - 1}"
        )
    embeddings = np.asarray(embeddings, dtype=np.float32)
    if embeddings.ndim != 2 or not embeddings.size or not np.isfinite(embeddings).all():
        raise ProLabError(
            f"embeddings of shape {embeddings.shape} cannot be clustered: give one row of finite "
            "numbers per sentence"
        )
    distinct = count_distinct(embeddings)
    if not 1 <= k <= distinct:
        raise ProLabError(
            f"{k} properties cannot be made of {distinct} different sentences: choose a number "
            f"between 1 and {distinct}, about one for every 7 sentences works well"
        )
    return CLUSTERINGS[method](embeddings, k, seed)


def cut_tree(tree: np.ndarray, k: int) -> np.ndarray:
    """Cuts a tree where it has `k` clusters, numbered in the order of their first sentences.

    Args:
        tree: (M - 1, 4).
    Returns:
        (M,) int32 in [0, k).
    Raises:
        ProLabError: `k` is below 1 or above M.
    """
    count = len(tree) + 1
    if not 1 <= k <= count:
        raise ProLabError(
            f"a tree of {count} sentences cannot be cut into {k} properties: choose a number "
            f"between 1 and {count}"
        )
    parent = np.arange(2 * count - 1)
    for row, (first, second) in enumerate(tree[: count - k, :2].astype(int)):
        parent[first] = parent[second] = count + row
    # A parent has a higher number: from the top down, every node takes over its parent's root.
    for node in range(2 * count - 2, -1, -1):
        parent[node] = parent[parent[node]]
    return _number_by_appearance(parent[:count])


def means(embeddings: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """(k, D) float32: the mean of the embeddings of every label; none may be without."""
    order = labels.argsort(kind="stable")
    starts = np.searchsorted(labels[order], np.arange(k))
    sums = np.add.reduceat(embeddings[order], starts, axis=0, dtype=np.float64)
    return (sums / np.bincount(labels, minlength=k)[:, None]).astype(np.float32)


def unit_rows(array: np.ndarray) -> np.ndarray:
    """(M, D) float32: rows scaled to unit length; rows of zeros stay."""
    array = np.asarray(array, dtype=np.float32)
    norm = np.linalg.norm(array, axis=1, keepdims=True)
    return array / np.maximum(norm, np.finfo(np.float32).tiny)


def _number_by_appearance(groups: np.ndarray) -> np.ndarray:
    """(M,) int32: any numbers of groups, replaced by 0, 1, ... in the order they come in."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    number = np.empty(len(first), dtype=np.int32)
    number[first.argsort()] = np.arange(len(first))
    return number[inverse]


def count_distinct(embeddings: np.ndarray) -> int:
    """How many rows of (M, D) differ by more than what two batches make of one sentence."""
    embeddings = np.asarray(embeddings, dtype=np.float32)
    direction = np.random.default_rng(0).normal(size=embeddings.shape[1])
    direction /= np.linalg.norm(direction)
    place = embeddings @ direction
    order = place.argsort()
    embeddings, place = embeddings[order], place[order]
    distinct: list[int] = []
    for row in range(len(place)):
        # Rows that are nearly the same are also neighbours on this line.
        for other in reversed(distinct):
            if place[row] - place[other] > _SAME:
                distinct.append(row)
                break
            if np.linalg.norm(embeddings[row] - embeddings[other]) <= _SAME:
                break
        else:
            distinct.append(row)
    return len(distinct)


@contextlib.contextmanager
def _scikit_learn() -> Iterator[None]:
    """Tells who lacks the library what to install, and keeps it to one thread.

    One thread is several times faster on a busy machine, and the labels are the same.
    """
    try:
        import sklearn.cluster  # noqa: F401
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise ProLabError(
            "clustering needs scikit-learn, which is not installed: "
            "run pip install 'prolab_d2[label-space]'"
        ) from error
    with threadpool_limits(1):
        yield


def _kmeans(embeddings: np.ndarray, k: int, seed: int) -> Clusters:
    with _scikit_learn(), warnings.catch_warnings():
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        warnings.simplefilter("error", ConvergenceWarning)
        try:
            result = KMeans(n_clusters=k, random_state=seed, n_init="auto").fit(embeddings)
        except ConvergenceWarning as error:
            raise ProLabError(
                f"K-Means found fewer than {k} clusters: choose fewer properties, or write "
                "sentences that differ more"
            ) from error
    return Clusters(
        labels=result.labels_.astype(np.int32),
        centres=np.asarray(result.cluster_centers_, dtype=np.float32),
    )


def _spherical_kmeans(embeddings: np.ndarray, k: int, seed: int) -> Clusters:
    """K-Means on the unit sphere: the nearest centre is the one of the highest cosine."""
    rows = _directions(embeddings)
    with _scikit_learn():
        from sklearn.cluster import kmeans_plusplus

        directions, _ = kmeans_plusplus(rows, k, random_state=seed)
        labels = np.full(len(rows), -1)
        for _ in range(300):
            former, labels = labels, _nearest_directions(rows, directions)
            if (labels == former).all():
                break
            directions = unit_rows(means(rows, labels, k))
    return Clusters(labels.astype(np.int32), means(rows, labels, k))


def _nearest_directions(rows: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(M,) the direction of the highest cosine; one that nobody is near gets the loneliest row."""
    similarity = rows @ directions.T
    labels = similarity.argmax(1)
    closeness = similarity[np.arange(len(rows)), labels]
    sizes = np.bincount(labels, minlength=len(directions))
    for empty in np.flatnonzero(sizes == 0):
        row = np.where(sizes[labels] > 1, closeness, np.inf).argmin()
        sizes[labels[row]] -= 1
        labels[row], sizes[empty] = empty, 1
    return labels


def _ward(embeddings: np.ndarray, k: int, seed: int) -> Clusters:
    return _agglomerative(embeddings, embeddings, k, "ward")


def _average(embeddings: np.ndarray, k: int, seed: int) -> Clusters:
    return _agglomerative(embeddings, _directions(embeddings), k, "average")


def _agglomerative(
    embeddings: np.ndarray, points: np.ndarray, k: int, linkage_method: str
) -> Clusters:
    """Joins the two nearest clusters until one is left, and cuts that tree at `k`."""
    if len(points) > MAX_TREE_SENTENCES:
        raise ProLabError(
            f"the tree of {len(points)} sentences does not fit into memory, "
            f"{MAX_TREE_SENTENCES} are the most: cluster with 'kmeans' or 'spherical' instead"
        )
    if len(points) == 1:
        return Clusters(np.zeros(1, dtype=np.int32), embeddings.copy())
    with _scikit_learn():
        from scipy.cluster.hierarchy import linkage

        tree = linkage(_pair_distances(points, cosine=linkage_method == "average"), linkage_method)
    labels = cut_tree(tree, k)
    return Clusters(labels, means(embeddings, labels, k), tree)


def _pair_distances(points: np.ndarray, cosine: bool) -> np.ndarray:
    """(M (M - 1) / 2,) float64 in SciPy's order: Euclidean, or cosine of rows of unit length."""
    points = points.astype(np.float64)
    count = len(points)
    squares = (points**2).sum(1)
    result = np.empty(count * (count - 1) // 2)
    end, block = 0, 256
    for start in range(0, count, block):
        inner = points[start : start + block] @ points[start:].T
        for row, products in enumerate(inner, start):
            products = products[row - start + 1 :]
            begin, end = end, end + len(products)
            if cosine:
                result[begin:end] = 1 - products
            else:
                result[begin:end] = squares[row] + squares[row + 1 :] - 2 * products
    np.maximum(result, 0, out=result)
    return result if cosine else np.sqrt(result, out=result)


def _directions(embeddings: np.ndarray) -> np.ndarray:
    """(M, D) rows of unit length."""
    zero = np.flatnonzero(~embeddings.any(1))
    if len(zero):
        raise ProLabError(
            f"the embedding in row {zero[0]} is zero and has no direction: check the sentence "
            "encoder, or cluster with 'kmeans'"
        )
    return unit_rows(embeddings)


# Name -> function of (embeddings (M, D) float32, k, seed).
CLUSTERINGS: dict[str, Callable[[np.ndarray, int, int], Clusters]] = {
    "kmeans": _kmeans,
    "spherical": _spherical_kmeans,
    "ward": _ward,
    "average": _average,
}
