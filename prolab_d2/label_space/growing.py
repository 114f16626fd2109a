"""Label spaces that grow: new categories in old properties.

Used through `LabelSpace.extend`.

Shapes: K properties, D embedding, M descriptions, m new ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from prolab_d2.errors import ProLabError
from prolab_d2.label_space.clustering import means, unit_rows
from prolab_d2.label_space.descriptions import Descriptions, check_descriptions
from prolab_d2.label_space.encoder_check import check_encoder, encode_as_stored
from prolab_d2.label_space.label_space import LabelSpace
from prolab_d2.label_space.quality import signatures_of

if TYPE_CHECKING:
    from prolab_d2.label_space.embedding import Encoder

__all__ = ["describe_extension", "extend", "far_distance"]

# Part of a label space's own sentences that would count as near enough, were they new.
_NEAR_PART = 0.95
_BLOCK = 1024


def extend(
    space: LabelSpace,
    new: Mapping[str, Sequence[str]],
    encoder: Encoder,
    *,
    max_distance: float | None = None,
    allow_far: bool = False,
) -> LabelSpace:
    """See `LabelSpace.extend`."""
    new = check_descriptions(new, "new categories")
    for name in new:
        if name in space.categories:
            raise ProLabError(
                f"the label space has a category {name!r} already: give the new one another name"
            )
    sentences = [line for lines in new.values() for line in lines]
    owner = np.repeat(np.arange(len(new)), [len(lines) for lines in new.values()])
    check_encoder(space.provenance, encoder.provenance)
    embeddings = encode_as_stored(space, sentences, encoder)
    rule, assigned, known = _assign(space, sentences, embeddings)
    distance = 1 - (unit_rows(embeddings) * unit_rows(space.bank)[assigned]).sum(1)
    limit = far_distance(space) if max_distance is None else max_distance
    used = known | (distance <= limit)
    names = tuple(new)
    for number, name in enumerate(names):
        own = np.flatnonzero(owner == number)
        if used[own].any():
            continue
        if not allow_far:
            nearest = own[distance[own].argmin()]
            raise ProLabError(
                f"no sentence of the new category {name!r} is near a property: the nearest, "
                f"{sentences[nearest]!r}, is at cosine distance {distance[nearest]:.3f} and "
                f"{limit:.3f} is allowed, so describe it in the words of the existing properties, "
                "raise max_distance, or use its far sentences with allow_far"
            )
        used[own] = True

    def by_category(rows: np.ndarray, values: Sequence[Any]) -> dict[str, list[Any]]:
        result: dict[str, list[Any]] = {name: [] for name in new}
        for i in rows:
            result[names[owner[i]]].append(values[i])
        return result

    rounded = [round(float(value), 4) for value in distance]
    kept = np.flatnonzero(used)
    record = {
        "of": space.hash,
        "rule": rule,
        "max_distance": round(limit, 4),
        "distances": by_category(kept, rounded),
        "left_out": [
            {
                "category": names[owner[i]],
                "sentence": sentences[i],
                "property": space.properties[assigned[i]].name,
                "distance": rounded[i],
            }
            for i in np.flatnonzero(~used)
        ],
    }
    added = {name: tuple(lines) for name, lines in by_category(kept, sentences).items()}
    return _with_categories(space, added, embeddings[kept], assigned[kept], owner[kept], record)


def _with_categories(
    space: LabelSpace,
    added: Descriptions,
    embeddings: np.ndarray,
    assigned: np.ndarray,
    owner: np.ndarray,
    record: dict[str, Any],
) -> LabelSpace:
    """The label space with more categories; bank, properties and their order stay.

    Args:
        embeddings: (m, D), `assigned`: (m,) in [0, K), `owner`: (m,) in [0, number of new
            categories), all of the new sentences.
    """
    signatures = signatures_of(assigned, owner, space.num_properties)
    members: list[list[tuple[str, str]]] = [[] for _ in space.properties]
    pairs = ((name, line) for name, lines in added.items() for line in lines)
    for pair, number in zip(pairs, assigned, strict=True):
        members[number].append(pair)
    stored, labels = space.embeddings, space.property_of_description
    offsets = space.category_offsets
    return LabelSpace.from_arrays(
        (*space.categories, *added),
        space.bank,
        np.concatenate([space.signatures, signatures]),
        [
            replace(entry, descriptions=(*entry.descriptions, *group))
            for entry, group in zip(space.properties, members, strict=True)
        ],
        {**space.descriptions, **added},
        {**space.provenance, "extensions": [*space.provenance.get("extensions", ()), record]},
        embeddings=None if stored is None else np.concatenate([stored, embeddings]),
        property_of_description=None if labels is None else np.concatenate([labels, assigned]),
        property_weights=space.property_weights,
        category_offsets=None if offsets is None else np.pad(offsets, (0, len(added))),
        where="extended label space",
    )


def describe_extension(space: LabelSpace) -> str:
    """What the last `extend` did, for people: every new category, and what was left out."""
    record = space.provenance["extensions"][-1]
    lines = []
    for name, distances in record["distances"].items():
        row = space.signatures[space.categories.index(name)]
        lines.append(
            f"{name}: {row.sum()} properties from {len(distances)} sentences, median distance "
            f"{np.median(distances):.3f} (at most {record['max_distance']:.3f} is near)"
        )
    lines += [
        f"left out: {entry['sentence']!r} of {entry['category']}, at distance "
        f"{entry['distance']:.3f} from {entry['property']!r}"
        for entry in record["left_out"]
    ]
    return "\n".join(lines)


def far_distance(space: LabelSpace) -> float:
    """The cosine distance to a property beyond which a new sentence is too far from it.

    Within it would lie 95 of 100 sentences of the label space itself, were they new: each is
    taken out of its cluster, and then measured to the nearest centre.

    Raises:
        ProLabError: the label space does not hold the embeddings.
    """
    if space.embeddings is None or space.property_of_description is None:
        raise ProLabError(
            "the label space holds no embeddings to learn from how far a sentence may be from a "
            "property: give max_distance, about 0.5 is usual"
        )
    own = _clustered(space)
    rows = unit_rows(space.embeddings[own])
    _, labels = np.unique(space.property_of_description[own], return_inverse=True)
    sizes = np.bincount(labels)
    sums = means(rows, labels, len(sizes)) * sizes[:, None]
    centres = unit_rows(sums)
    nearest = np.empty(len(rows))
    for start in range(0, len(rows), _BLOCK):
        block, label = rows[start : start + _BLOCK], labels[start : start + _BLOCK]
        distance = 1 - block @ centres.T
        without = unit_rows(sums[label] - block)
        # 2 is the largest there is: a sentence alone in its cluster has only the others.
        left = np.where(sizes[label] > 1, 1 - (block * without).sum(1), 2.0)
        distance[np.arange(len(block)), label] = left
        nearest[start : start + _BLOCK] = distance.min(1)
    return float(np.quantile(nearest, _NEAR_PART))


def _clustered(space: LabelSpace) -> np.ndarray:
    """(M,) bool: sentences that the clustering has seen, not those of later extensions.

    So it does not matter in how many steps a label space is extended.
    """
    later = {
        name for record in space.provenance.get("extensions", ()) for name in record["distances"]
    }
    seen = np.array([name not in later for name in space.categories])[space.category_of_description]
    return seen if seen.any() else ~seen


def _assign(
    space: LabelSpace, sentences: Sequence[str], embeddings: np.ndarray
) -> tuple[str, np.ndarray, np.ndarray]:
    """The property of every sentence, by the rule of the stored clustering.

    K-Means gives a sentence to the nearest centre, on the sphere to the nearest direction. A tree
    has no such rule: there, and where the method is not known, a sentence goes where the nearest
    stored sentence is. What was clustered keeps its property, so that the last digits of an
    embedding, which differ between machines, cannot move it.

    Returns:
        name of the rule; (m,) properties; (m,) bool, which sentences were clustered.
    """
    rule, assigned = _nearest_property(space, embeddings)
    stored: dict[str, int] = {}
    if space.property_of_description is not None:
        own = [line for lines in space.descriptions.values() for line in lines]
        for i in np.flatnonzero(_clustered(space)):
            stored.setdefault(own[i], int(space.property_of_description[i]))
    known = np.array([line in stored for line in sentences])
    assigned[known] = [stored[line] for line in sentences if line in stored]
    return rule, assigned, known


def _nearest_property(space: LabelSpace, embeddings: np.ndarray) -> tuple[str, np.ndarray]:
    """(name of the rule, (m,) properties), whatever the sentences are."""
    method = space.provenance.get("clustering", {}).get("method")
    stored, labels = space.embeddings, space.property_of_description
    if method == "kmeans":
        scores = embeddings @ space.bank.T - (space.bank**2).sum(1) / 2
        return "nearest centre", scores.argmax(1)
    if method == "spherical" or stored is None or labels is None:
        return "nearest direction", (embeddings @ unit_rows(space.bank).T).argmax(1)
    own = _clustered(space)
    nearest = (embeddings @ unit_rows(stored[own]).T).argmax(1)
    return "nearest sentence", labels[own][nearest].astype(np.intp)
