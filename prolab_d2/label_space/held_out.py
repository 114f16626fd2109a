"""Label spaces that know nothing of some categories, to find out how new ones are recognised.

The protocol: clustering, names of properties and K come from the sentences of the seen categories
alone; each category that is held out must have properties that the seen ones teach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prolab_d2.errors import ProLabError
from prolab_d2.label_space.builder import build_label_space
from prolab_d2.label_space.embedding import Encoder
from prolab_d2.label_space.label_space import LabelSpace
from prolab_d2.label_space.validation import unknown_name
from prolab_d2.label_space.vocabulary import in_trained_properties, nearest_categories

__all__ = ["LEAST_SHARED", "LEAST_SHARING", "HeldOut", "examine_held_out", "without_categories"]

# A held-out category needs this many properties, each of this many seen categories.
LEAST_SHARED = 3
LEAST_SHARING = 2


@dataclass(frozen=True)
class HeldOut:
    """What a label space of other categories has for one that is held out.

    Attributes:
        category: its name.
        sentences: how many describe it.
        left_out: those of them that are too far from every property.
        properties: how many properties the others give it; all of them are seen in training.
        taught: names of those that at least `LEAST_SHARING` seen categories have.
        known_sentences: sentences that a seen category has word by word.
        nearest: the seen category whose sentences are nearest.
    """

    category: str
    sentences: int
    left_out: int
    properties: int
    taught: tuple[str, ...]
    known_sentences: int
    nearest: str

    @property
    def fulfils(self) -> bool:
        """Whether enough of it is taught by the seen categories."""
        return len(self.taught) >= LEAST_SHARED


def without_categories(space: LabelSpace, held_out: Sequence[str], encoder: Encoder) -> LabelSpace:
    """A new label space of the other categories, made of their sentences alone.

    Number of properties, method and seed are those of `space`.

    Args:
        encoder: that of `space`, or its `StoredEmbeddings`.
    Raises:
        ProLabError: a name is unknown, none or all are named, or `space` has no sentences.
    """
    if not held_out:
        raise ProLabError("no category is held out: name at least one")
    for name in held_out:
        if name not in space.categories:
            raise unknown_name("category", name, space.categories)
    seen = {name: lines for name, lines in space.descriptions.items() if name not in held_out}
    if not seen:
        raise ProLabError("every category is held out: leave some to train on")
    clustering = space.provenance.get("clustering", {})
    return build_label_space(
        seen,
        encoder,
        space.num_properties,
        method=clustering.get("method", "kmeans"),
        seed=space.provenance.get("seed", 0),
        provenance={"held_out": list(held_out), "held_out_of": space.hash},
    )


def examine_held_out(
    seen: LabelSpace, space: LabelSpace, held_out: Sequence[str], encoder: Encoder
) -> list[HeldOut]:
    """What the seen categories teach about each of the others.

    Args:
        seen: label space of the seen categories, see `without_categories`.
        space: that of all of them.
    Raises:
        ProLabError: `seen` knows a held-out category.
    """
    members = {category for entry in seen.properties for category, _ in entry.descriptions}
    for name in held_out:
        if name in members | set(seen.categories):
            raise ProLabError(
                f"the label space of the seen categories has sentences of {name!r}, which is held "
                "out: build it without them"
            )
    descriptions = {name: space.descriptions[name] for name in held_out}
    vocabulary = in_trained_properties(seen, descriptions, encoder)
    nearest = nearest_categories(seen, descriptions, encoder)
    sharing = seen.signatures.sum(0)
    known = {line for lines in seen.descriptions.values() for line in lines}
    result = []
    for i, name in enumerate(held_out):
        own = np.flatnonzero(vocabulary.label_space.signatures[i])
        lines = descriptions[name]
        result.append(
            HeldOut(
                category=name,
                sentences=len(lines),
                left_out=len(lines) - len(vocabulary.label_space.descriptions[name]),
                properties=len(own),
                taught=tuple(seen.properties[k].name for k in own if sharing[k] >= LEAST_SHARING),
                known_sentences=sum(line in known for line in lines),
                nearest=seen.categories[nearest[i]],
            )
        )
    return result
