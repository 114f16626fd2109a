"""How good clusters are as properties, and what parts categories that look the same.

Shapes: N categories, K properties, D embedding, M descriptions.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from prolab_d2.errors import ProLabError
from prolab_d2.label_space.clustering import (
    Clusters,
    cluster,
    count_distinct,
    cut_tree,
    means,
    unit_rows,
)

__all__ = [
    "Cure",
    "Quality",
    "closest_pairs",
    "confused_groups",
    "measure_quality",
    "propose_cure",
    "signatures_of",
    "silhouette",
]

_BLOCK = 1024
# Numbers of properties to try, as a part of the present one. Fewer seldom part what more do not.
_STEPS = (1 / 32, -1 / 32, 1 / 16, -1 / 16, 1 / 8, -1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
# Cosine similarity from which on two sentences say the same.
_EQUAL = 0.999


@dataclass(frozen=True)
class Quality:
    """Figures of one clustering; `str()` of it is a short text.

    Attributes:
        silhouette: mean over all sentences, cosine distance, in [-1, 1]; None with one property.
        smallest, median, largest: sentences per property.
        singles: properties of one sentence.
        categories_per_property: mean.
        most_shared: the largest number of categories that have one property.
        properties_per_category: mean.
        rank: of the signature matrix; full at min(N, K).
        closest: the two categories whose signatures are most alike, None with one category.
        closest_distance: their cosine distance, None with one category.
        lonely: categories that share no property with any other one.
        confused: groups of categories with equal signatures.
    """

    categories: int
    sentences: int
    properties: int
    silhouette: float | None
    smallest: int
    median: float
    largest: int
    singles: int
    categories_per_property: float
    most_shared: int
    properties_per_category: float
    rank: int
    closest: tuple[str, str] | None
    closest_distance: float | None
    lonely: tuple[str, ...]
    confused: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        lines = [
            f"sentences per property: {self.smallest} to {self.largest}, median {self.median:g}, "
            f"{self.singles} properties of one sentence",
            f"categories per property: {self.categories_per_property:.2f} "
            f"(at most {self.most_shared}), properties per category: "
            f"{self.properties_per_category:.2f}",
            f"rank of the signatures: {self.rank} of {min(self.categories, self.properties)}",
        ]
        if self.silhouette is not None:
            lines.insert(0, f"silhouette (cosine): {self.silhouette:.3f}")
        if self.closest:
            lines.append(
                f"closest signatures: {self.closest[0]} and {self.closest[1]} "
                f"(cosine distance {self.closest_distance:.3f})"
            )
        if self.lonely:
            lines.append(f"share no property with another category: {_listed(self.lonely)}")
        if self.confused:
            groups = [" = ".join(group) for group in self.confused]
            lines.append(f"cannot be told apart: {_listed(groups, '; ')}")
        return "\n".join(lines)


def _listed(names: Sequence[str], separator: str = ", ", most: int = 10) -> str:
    more = f"{separator}and {len(names) - most} more" if len(names) > most else ""
    return separator.join(names[:most]) + more


def measure_quality(
    embeddings: np.ndarray, clusters: Clusters, owner: np.ndarray, categories: Sequence[str]
) -> Quality:
    """Figures of a clustering, before or after a label space is made of it.

    Args:
        embeddings: (M, D).
        owner: (M,) integers in [0, N), the category of every sentence; all N occur.
        categories: N names.
    """
    k = len(clusters.centres)
    signatures = signatures_of(clusters.labels, owner, k)
    sizes = np.bincount(clusters.labels, minlength=k)
    sharers = signatures.sum(0)
    pairs = closest_pairs(signatures, 1)
    shares = (signatures & (sharers > 1)).any(1)
    return Quality(
        categories=len(categories),
        sentences=len(owner),
        properties=k,
        silhouette=silhouette(embeddings, clusters.labels) if k > 1 else None,
        smallest=int(sizes.min()),
        median=float(np.median(sizes)),
        largest=int(sizes.max()),
        singles=int((sizes == 1).sum()),
        categories_per_property=float(sharers.mean()),
        most_shared=int(sharers.max()),
        properties_per_category=float(signatures.sum(1).mean()),
        rank=int(np.linalg.matrix_rank(signatures.astype(np.float64))),
        closest=(categories[pairs[0][0]], categories[pairs[0][1]]) if pairs else None,
        closest_distance=pairs[0][2] if pairs else None,
        lonely=tuple(categories[i] for i in np.flatnonzero(~shares)),
        confused=tuple(
            tuple(categories[i] for i in group) for group in confused_groups(signatures)
        ),
    )


def signatures_of(labels: np.ndarray, owner: np.ndarray, k: int) -> np.ndarray:
    """(N, k) bool: a category has every property that at least one of its sentences belongs to."""
    signatures = np.zeros((int(owner.max()) + 1, k), dtype=bool)
    signatures[owner, labels] = True
    return signatures


def confused_groups(signatures: np.ndarray) -> list[tuple[int, ...]]:
    """Groups of rows that are equal, in the order of their first rows."""
    groups: dict[bytes, list[int]] = {}
    for row, bits in enumerate(np.packbits(signatures, axis=1)):
        groups.setdefault(bits.tobytes(), []).append(row)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def closest_pairs(signatures: np.ndarray, count: int) -> list[tuple[int, int, float]]:
    """The `count` pairs of rows of the smallest cosine distance, the nearest first.

    Args:
        signatures: (N, K) bool, no row without a property.
    Returns:
        (row, later row, distance in [0, 1]); fewer when there are not so many pairs.
    """
    rows = signatures.astype(np.float32)
    sizes = signatures.sum(1)
    pairs: list[tuple[float, int, int]] = []
    for start in range(0, len(rows), _BLOCK):
        # Whole numbers first, so that equal distances are equal to the last digit.
        shared = (rows[start : start + _BLOCK] @ rows.T).astype(np.float64)
        distance = 1 - shared / np.sqrt(sizes[start : start + _BLOCK, None] * sizes)
        distance[np.tri(*distance.shape, start, dtype=bool)] = np.inf
        flat = distance.ravel()
        bound = np.partition(flat, min(count, flat.size) - 1)[min(count, flat.size) - 1]
        nearest = np.flatnonzero(flat <= bound if np.isfinite(bound) else np.isfinite(flat))
        nearest = nearest[flat[nearest].argsort(kind="stable")][:count]
        pairs += [(flat[i], start + i // len(rows), i % len(rows)) for i in nearest]
    return [(int(i), int(j), float(d)) for d, i, j in sorted(pairs)[:count]]


def silhouette(embeddings: np.ndarray, labels: np.ndarray) -> float:
    """Mean silhouette of all sentences with cosine distance, as scikit-learn defines it; exact.

    The mean cosine distance to the members of a cluster is 1 minus the inner product with their
    mean, so no distance of two sentences is needed.

    Args:
        embeddings: (M, D).
        labels: (M,) integers in [0, K), K at least 2, no number missing.
    """
    rows = unit_rows(embeddings)
    sizes = np.bincount(labels)
    centres = means(rows, labels, len(sizes))
    total = 0.0
    for start in range(0, len(rows), _BLOCK):
        own = labels[start : start + _BLOCK]
        distance = 1 - rows[start : start + _BLOCK] @ centres.T
        places = np.arange(len(own)), own
        # Its distance to itself, 0, is in the mean and does not count.
        within = distance[places] * sizes[own] / np.maximum(sizes[own] - 1, 1)
        distance[places] = np.inf
        nearest = distance.min(1)
        score = (nearest - within) / np.maximum(np.maximum(nearest, within), 1e-12)
        total += score[sizes[own] > 1].sum(dtype=np.float64)
    return float(total / len(rows))


@dataclass(frozen=True)
class Cure:
    """What would part categories that have the same signature; `str()` of it says so.

    Attributes:
        num_properties: of the numbers that were tried, the nearest to the present one that parts
            all categories, or None.
        tried: the numbers of properties that were tried.
        sentences: (category, sentence): for every confused category the sentence that is least
            like those of the categories it is confused with.
        identical: categories that have the same sentences as another one; with those, nothing is
            tried.
    """

    num_properties: int | None
    tried: tuple[int, ...]
    sentences: tuple[tuple[str, str], ...]
    identical: tuple[str, ...]

    def __str__(self) -> str:
        parts = []
        if self.num_properties is not None:
            parts.append(f"{self.num_properties} properties part them")
        elif self.tried:
            numbers = _listed([str(k) for k in self.tried])
            parts.append(f"no number of properties that was tried parts them ({numbers})")
        if self.sentences:
            listed = _listed([f"{name}: {line!r}" for name, line in self.sentences], most=6)
            parts.append(f"the sentences that differ most are {listed}: more like these would help")
        if self.identical:
            parts.append(
                f"{_listed(self.identical)} have the same sentences as others: add some on what "
                "tells them apart"
            )
        return "; ".join(parts)


def propose_cure(
    sentences: Sequence[str],
    embeddings: np.ndarray,
    clusters: Clusters,
    owner: np.ndarray,
    categories: Sequence[str],
    *,
    method: str = "kmeans",
    seed: int = 0,
    seconds: float = 20.0,
) -> Cure | None:
    """Looks for what parts the confused categories of a clustering; None when there are none.

    Args:
        sentences: M of them.
        embeddings: (M, D).
        owner: (M,) integers in [0, N), the category of every sentence; all N occur.
        categories: N names.
        method, seed: of the clustering. One with a tree is cut instead of repeated.
        seconds: no further number of properties is tried after this time.
    """
    embeddings = np.asarray(embeddings, dtype=np.float32)
    k = len(clusters.centres)
    groups = confused_groups(signatures_of(clusters.labels, owner, k))
    if not groups:
        return None
    told, hopeless = _differing_sentences(embeddings, owner, groups)
    found, tried = None, []
    if not hopeless:
        distinct = count_distinct(embeddings)
        if clusters.tree is not None:
            found, tried = _bisect(clusters.tree, owner, k, distinct)
        else:
            found, tried = _try_numbers(embeddings, owner, k, distinct, method, seed, seconds)
    return Cure(
        num_properties=found,
        tried=tuple(tried),
        sentences=tuple((categories[owner[row]], sentences[row]) for row in told),
        identical=tuple(categories[i] for i in hopeless),
    )


def _differing_sentences(
    embeddings: np.ndarray, owner: np.ndarray, groups: Sequence[Sequence[int]]
) -> tuple[list[int], list[int]]:
    """(a sentence for every confused category that has one of its own, categories to despair of).

    Two categories with the same sentences cannot be parted by any clustering.
    """
    rows = unit_rows(embeddings)
    told: list[int] = []
    hopeless: list[int] = []
    for group in groups:
        lines = [np.flatnonzero(owner == category) for category in group]
        starts = np.cumsum([0, *map(len, lines[:-1])])
        theirs = rows[np.concatenate(lines)].T
        covered = np.empty((len(group), len(group)), dtype=bool)
        for place, own in enumerate(lines):
            # (sentences, categories): how like the likest sentence of each category.
            likeness = np.maximum.reduceat(rows[own] @ theirs, starts, axis=1)
            covered[place] = (likeness >= _EQUAL).all(0)
            likeness = np.delete(likeness, place, axis=1).max(1)
            if likeness.min() < _EQUAL:
                told.append(int(own[likeness.argmin()]))
        np.fill_diagonal(covered, False)
        hopeless += [group[i] for i in np.flatnonzero((covered & covered.T).any(1))]
    return told, hopeless


def _parts_all(labels: np.ndarray, owner: np.ndarray, k: int) -> bool:
    return not confused_groups(signatures_of(labels, owner, k))


def _bisect(
    tree: np.ndarray, owner: np.ndarray, k: int, distinct: int
) -> tuple[int | None, list[int]]:
    """The smallest number that parts all: what a cut of a tree parts, every finer cut parts."""
    low, high, tried = k, distinct + 1, []
    while high - low > 1:
        middle = (low + high) // 2 if tried else distinct
        tried.append(middle)
        if _parts_all(cut_tree(tree, middle), owner, middle):
            high = middle
        else:
            low = middle
    return (high if high <= distinct else None), sorted(tried)


def _try_numbers(
    embeddings: np.ndarray,
    owner: np.ndarray,
    k: int,
    distinct: int,
    method: str,
    seed: int,
    seconds: float,
) -> tuple[int | None, list[int]]:
    end, tried = time.monotonic() + seconds, []
    for number in _numbers_around(k, distinct):
        if tried and time.monotonic() > end:
            break
        tried.append(number)
        try:
            labels = cluster(embeddings, number, method, seed).labels
        except ProLabError:  # K-Means finds fewer clusters
            continue
        if _parts_all(labels, owner, number):
            return number, tried
    return None, tried


def _numbers_around(k: int, distinct: int) -> Iterator[int]:
    """Numbers of properties other than `k`, near ones first."""
    seen = {k}
    for step in _STEPS:
        number = min(max(k + round(step * k) + (1 if step > 0 else -1), 1), distinct)
        if number not in seen:
            seen.add(number)
            yield number
