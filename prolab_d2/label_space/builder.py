"""From descriptions to a label space: embed, cluster, name the properties, write signatures.

Shapes: N categories, K properties, D embedding, M descriptions.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np

from prolab_d2.errors import ProLabError
from prolab_d2.label_space.clustering import Clusters, cluster
from prolab_d2.label_space.descriptions import Descriptions, check_descriptions
from prolab_d2.label_space.embedding import Encoder, SentenceEncoder
from prolab_d2.label_space.label_space import LabelSpace
from prolab_d2.label_space.naming import property_names

__all__ = ["assemble", "build_label_space", "check_num_properties"]

_RECORDED_PACKAGES = ("numpy", "scikit-learn", "sentence-transformers", "torch", "transformers")


def build_label_space(
    descriptions: Mapping[str, Sequence[str]],
    encoder: Encoder | str | os.PathLike[str],
    num_properties: int,
    *,
    method: str = "kmeans",
    seed: int = 0,
    provenance: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
) -> LabelSpace:
    """Builds a label space from sentences (paper, section 3.1).

    Args:
        descriptions: sentences by category, categories in the order of the data set's ids.
        encoder: an `Encoder`, or the name or folder of one (then with mean pooling).
        num_properties: K.
        method: a key of `clustering.CLUSTERINGS`.
        provenance: where the sentences come from; the rest is added here.
        progress: is told what happens, in words.
    Raises:
        ProLabError: descriptions, encoder or number of properties cannot be used.
    """
    tell = progress or (lambda _: None)
    descriptions = check_descriptions(descriptions)
    check_num_properties(descriptions, num_properties)
    timings: dict[str, float] = {}
    with _timed(timings, "load_encoder"):
        if isinstance(encoder, (str, os.PathLike)):
            tell(f"loading the sentence encoder {os.fspath(encoder)}")
            encoder = SentenceEncoder(encoder)
    with _timed(timings, "embed"):
        embeddings = _embed(descriptions, encoder, tell)
    with _timed(timings, "cluster"):
        tell(f"clustering {len(embeddings)} sentences into {num_properties} properties")
        clusters = cluster(embeddings, num_properties, method, seed)
    record = {
        "llm": None,
        "prompt_hash": None,
        **(provenance or {}),
        "descriptions_sha256": _hash_descriptions(descriptions),
        **encoder.provenance,
        "clustering": {"method": method, "num_properties": num_properties},
        "seed": seed,
        "versions": _versions(),
        "dates": {"built": datetime.now(timezone.utc).isoformat(timespec="seconds")},
        "timings": timings,
    }
    return assemble(descriptions, embeddings, clusters, record)


def check_num_properties(descriptions: Descriptions, num_properties: int) -> None:
    """Fails before anything is embedded when there are too few sentences.

    Raises:
        ProLabError: `num_properties` is below 1 or above the number of different sentences.
    """
    distinct = len({line.lower() for lines in descriptions.values() for line in lines})
    if not 1 <= num_properties <= distinct:
        raise ProLabError(
            f"{num_properties} properties cannot be made of {distinct} different sentences: choose "
            f"a number between 1 and {distinct}, about one for every 7 sentences works well"
        )


def assemble(
    descriptions: Descriptions,
    embeddings: np.ndarray,
    clusters: Clusters,
    provenance: Mapping[str, Any],
) -> LabelSpace:
    """The label space of embedded and clustered descriptions.

    A category has every property that at least one of its sentences belongs to. Properties keep
    the numbers of the clusters.

    Args:
        embeddings: (M, D), in the order of the descriptions.
    """
    owner = np.repeat(np.arange(len(descriptions)), [len(v) for v in descriptions.values()])
    signatures = np.zeros((len(descriptions), len(clusters.centres)), dtype=bool)
    signatures[owner, clusters.labels] = True
    sentences = [line for lines in descriptions.values() for line in lines]
    return LabelSpace.from_arrays(
        tuple(descriptions),
        clusters.centres,
        signatures,
        property_names(sentences, embeddings, clusters),
        descriptions,
        provenance,
        embeddings=embeddings,
        property_of_description=clusters.labels,
        tree=clusters.tree,
    )


def _embed(descriptions: Descriptions, encoder: Encoder, tell: Callable[[str], None]) -> np.ndarray:
    """(M, D) float32, encoded in blocks so that progress can be told."""
    sentences = [line for lines in descriptions.values() for line in lines]
    block = 512
    parts = []
    for start in range(0, len(sentences), block):
        parts.append(encoder.encode(sentences[start : start + block]))
        tell(f"embedded {min(start + block, len(sentences))} of {len(sentences)} sentences")
    embeddings = np.concatenate(parts)
    if embeddings.ndim != 2 or len(embeddings) != len(sentences):
        raise ProLabError(
            f"the sentence encoder gave an array of shape {embeddings.shape} for "
            f"{len(sentences)} sentences: use another one"
        )
    return embeddings


class _timed:
    """Writes the seconds of a block into a dict."""

    def __init__(self, timings: dict[str, float], name: str) -> None:
        self._timings, self._name = timings, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *exception: object) -> None:
        self._timings[self._name] = round(time.perf_counter() - self._start, 2)


def _hash_descriptions(descriptions: Descriptions) -> str:
    text = json.dumps(descriptions, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _RECORDED_PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
