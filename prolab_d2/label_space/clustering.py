"""From sentence embeddings to clusters, the properties.

Shapes: M descriptions, D embedding, K properties.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from prolab_d2.errors import ProLabError

__all__ = ["CLUSTERINGS", "Clusters", "cluster"]


@dataclass(frozen=True, eq=False)
class Clusters:
    """Which cluster every embedding belongs to.

    Attributes:
        labels: (M,) int32 in [0, K).
        centres: (K, D) float32, means of the members, not of unit length.
    """

    labels: np.ndarray
    centres: np.ndarray


def cluster(embeddings: Any, k: int, method: str = "kmeans", seed: int = 0) -> Clusters:
    """Groups embeddings into `k` clusters, none of them empty.

    Labels depend on the seed and on the version of the library: store them, never recompute.

    Args:
        embeddings: (M, D) numbers, usually of unit length.
        method: a key of `CLUSTERINGS`. "kmeans" is the published choice.
    Raises:
        ProLabError: unknown method, bad values, or fewer than `k` different embeddings.
    """
    if method not in CLUSTERINGS:
        raise ProLabError(
            f"unknown clustering {method!r}: choose one of {', '.join(map(repr, CLUSTERINGS))}"
        )
    embeddings = np.asarray(embeddings, dtype=np.float32)
    if embeddings.ndim != 2 or not embeddings.size or not np.isfinite(embeddings).all():
        raise ProLabError(
            f"embeddings of shape {embeddings.shape} cannot be clustered: give one row of finite "
            "numbers per sentence"
        )
    # The same sentence in two batches differs in the last bits.
    distinct = len(np.unique(embeddings.round(4), axis=0))
    if not 1 <= k <= distinct:
        raise ProLabError(
            f"{k} properties cannot be made of {distinct} different sentences: choose a number "
            f"between 1 and {distinct}, about one for every 7 sentences works well"
        )
    return CLUSTERINGS[method](embeddings, k, seed)


def _kmeans(embeddings: np.ndarray, k: int, seed: int) -> Clusters:
    try:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise ProLabError(
            "clustering needs scikit-learn, which is not installed: "
            "run pip install 'prolab_d2[label-space]'"
        ) from error

    # One thread: several times faster on a busy machine, and the labels are the same.
    with threadpool_limits(1), warnings.catch_warnings():
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


# Name -> function of (embeddings (M, D) float32, k, seed).
CLUSTERINGS: dict[str, Callable[[np.ndarray, int, int], Clusters]] = {"kmeans": _kmeans}
