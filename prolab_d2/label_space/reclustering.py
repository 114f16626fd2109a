"""New properties of sentences that are embedded already: two label spaces in one, or another K.

Used through `LabelSpace.merge` and `LabelSpace.cut`.

Shapes: M descriptions, D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from prolab_d2.errors import ProLabError
from prolab_d2.label_space.builder import assemble, package_versions
from prolab_d2.label_space.clustering import (
    Clusters,
    auto_num_properties,
    cluster,
    count_distinct,
    cut_tree,
    means,
)
from prolab_d2.label_space.descriptions import Descriptions
from prolab_d2.label_space.encoder_check import ENCODER_KEYS, check_encoder
from prolab_d2.label_space.label_space import LabelSpace
from prolab_d2.label_space.storage import LOGGED

__all__ = ["cut", "merge"]

# What is said of one label space, not of its sentences.
_OF_ONE_SPACE = (
    *LOGGED,
    "clustering",
    "cut_of",
    "extensions",
    "merged",
    "property_names",
    "subset_of",
    "united",
)


def merge(
    first: LabelSpace,
    second: LabelSpace,
    num_properties: int | None = None,
    *,
    method: str = "kmeans",
    seed: int = 0,
) -> LabelSpace:
    """See `LabelSpace.merge`."""
    for space, which in ((first, "first"), (second, "second")):
        if space.embeddings is None:
            raise ProLabError(
                f"the {which} label space holds no embeddings, which merging needs: build it "
                "from descriptions"
            )
        if space.provenance.get("encoder") is None:
            raise ProLabError(
                f"the {which} label space does not say which encoder made it: record the encoder "
                "in its provenance, or build it from descriptions"
            )
        missing = next((name for name, lines in space.descriptions.items() if not lines), None)
        if missing is not None:
            raise ProLabError(
                f"category {missing!r} of the {which} label space has no description, which "
                "merging needs: drop it with LabelSpace.subset(), or describe it and build again"
            )
    check_encoder(first.provenance, second.provenance)
    if first.embedding_dim != second.embedding_dim:
        raise ProLabError(
            f"the label spaces have embeddings of {first.embedding_dim} and "
            f"{second.embedding_dim} numbers: build both with the same sentence encoder"
        )
    descriptions, embeddings = _unite(first, second)
    if num_properties is None:
        num_properties = auto_num_properties(len(embeddings), count_distinct(embeddings))
    clusters = cluster(embeddings, num_properties, method, seed)
    provenance = {
        **_shared_provenance(first.provenance, second.provenance),
        "merged": [
            {
                "hash": space.hash,
                "categories": space.num_categories,
                "provenance": {k: v for k, v in space.provenance.items() if k not in LOGGED},
            }
            for space in (first, second)
        ],
        "united": [name for name in second.categories if name in first.categories],
        "clustering": {"method": method, "num_properties": num_properties},
        "seed": seed,
        "versions": package_versions(),
    }
    return assemble(descriptions, embeddings, clusters, provenance)


def _unite(first: LabelSpace, second: LabelSpace) -> tuple[Descriptions, np.ndarray]:
    """(sentences by category, (M, D) float32): those of the first, then what the second adds."""
    descriptions: Descriptions = {}
    rows: list[np.ndarray] = []
    for name in dict.fromkeys((*first.categories, *second.categories)):
        lines: dict[str, tuple[str, np.ndarray]] = {}
        for space in (first, second):
            if name in space.categories:
                own = np.flatnonzero(space.category_of_description == space.categories.index(name))
                for line, row in zip(space.descriptions[name], space.embeddings[own], strict=True):
                    # The same sentence in both counts once.
                    lines.setdefault(line.lower(), (line, row))
        descriptions[name] = tuple(line for line, _ in lines.values())
        rows += [row for _, row in lines.values()]
    return descriptions, np.stack(rows).astype(np.float32)


def _shared_provenance(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """What is true of all sentences: the encoder, and what else both say alike."""
    alike = {key: value for key, value in first.items() if second.get(key) == value}
    encoder = {key: first[key] for key in ENCODER_KEYS if key in first}
    return {k: v for k, v in {**alike, **encoder}.items() if k not in _OF_ONE_SPACE}


def cut(space: LabelSpace, num_properties: int) -> LabelSpace:
    """See `LabelSpace.cut`."""
    if space.tree is None or space.embeddings is None:
        raise ProLabError(
            "the label space has no tree that could be cut at another number of properties: "
            "build it with the clustering 'ward' or 'average'"
        )
    embeddings = space.embeddings.astype(np.float32)
    distinct = count_distinct(embeddings)
    if not 1 <= num_properties <= distinct:
        raise ProLabError(
            f"{num_properties} properties cannot be made of {distinct} different sentences: choose "
            f"a number between 1 and {distinct}"
        )
    labels = cut_tree(space.tree, num_properties)
    centres = means(embeddings, labels, num_properties)
    provenance = {**space.provenance, "cut_of": space.hash}
    provenance["clustering"] = {
        **space.provenance.get("clustering", {}),
        "num_properties": num_properties,
    }
    # The names are new, and those of members.
    provenance.pop("property_names", None)
    clusters = Clusters(labels, centres, space.tree)
    return assemble(space.descriptions, embeddings, clusters, provenance)
