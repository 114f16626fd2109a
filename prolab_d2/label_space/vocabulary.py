"""New categories, or those of another data set, for a network that is trained already.

Shapes: N categories, K properties, D embedding, M descriptions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np

from prolab_d2.errors import ProLabError
from prolab_d2.label_space.descriptions import Descriptions, check_descriptions
from prolab_d2.label_space.embedding import Encoder, load_encoder
from prolab_d2.label_space.encoder_check import ENCODER_KEYS, encoder_difference
from prolab_d2.label_space.growing import describe_extension
from prolab_d2.label_space.label_space import LabelSpace
from prolab_d2.label_space.synonyms import concept, plain_name, shared_name

__all__ = [
    "StoredEmbeddings",
    "Vocabulary",
    "check_swap",
    "encoder_of",
    "in_trained_properties",
    "nearest_categories",
    "parse_vocabulary",
    "trained_names",
]


@dataclass(frozen=True)
class Vocabulary:
    """Categories in the properties of a trained label space.

    Attributes:
        label_space: has the categories that were asked for, in their order, and the trained bank.
        trained_as: the trained category that each of them is, None for a new one.
    """

    label_space: LabelSpace
    trained_as: tuple[str | None, ...]

    def describe_new(self) -> str:
        """A line about every new category, see `describe_extension`; "" without any."""
        return describe_extension(self.label_space) if None in self.trained_as else ""


def parse_vocabulary(text: str) -> Descriptions:
    """Reads "a red letter box; a bicycle: two wheels, a saddle" into sentences by category.

    Categories end with ";". What follows a ":" are sentences, with "," between them; without any,
    the name is the sentence.

    Raises:
        ProLabError: no category, one without a name, or one that comes twice.
    """
    found: dict[str, list[str]] = {}
    for part in text.split(";"):
        name, colon, rest = part.partition(":")
        name = " ".join(name.split())
        lines = [line for line in map(str.strip, rest.split(",")) if line]
        if not name and not colon:
            continue
        if not name or (colon and not lines):
            raise ProLabError(
                f"vocabulary: {part.strip()!r} has no {'sentence' if name else 'name'}: write "
                "'category', or 'category: sentence, sentence', with ';' between categories"
            )
        if name in found:
            raise ProLabError(f"vocabulary: {name!r} comes twice: drop one of them")
        found[name] = lines or [name]
    if not found:
        raise ProLabError(
            "the vocabulary is empty: write categories such as 'a red letter box; a person on a "
            "bicycle: sits on two wheels, wears a helmet'"
        )
    return check_descriptions(found, "vocabulary")


class StoredEmbeddings:
    """An encoder that knows only the sentences of label spaces, and needs no model for them."""

    def __init__(self, *spaces: LabelSpace) -> None:
        """
        Args:
            spaces: with embeddings, made by the same encoder.
        Raises:
            ProLabError: they are not.
        """
        first = spaces[0]
        self._rows: dict[str, np.ndarray] = {}
        for space in spaces:
            if space.embeddings is None:
                raise ProLabError(
                    "a label space holds no embeddings: build it from descriptions with "
                    "tools/build_label_space.py"
                )
            difference = encoder_difference(first.provenance, space.provenance)
            if difference is not None:
                raise ProLabError(
                    f"two label spaces were made with different sentence encoders ({difference}): "
                    "build one of them again with the encoder of the other"
                )
            lines = (line for own in space.descriptions.values() for line in own)
            for line, row in zip(lines, space.embeddings.astype(np.float32), strict=True):
                self._rows.setdefault(line, row)
        self.provenance: dict[str, Any] = {
            key: first.provenance[key] for key in ENCODER_KEYS if key in first.provenance
        }

    def encode(self, sentences: Sequence[str]) -> np.ndarray:
        """(M, D) float32, rows as long as they are stored.

        Raises:
            ProLabError: a sentence that none of the label spaces has.
        """
        for line in sentences:
            if line not in self._rows:
                raise ProLabError(
                    f"the embedding of {line!r} is not stored: use the label space's own encoder"
                )
        return np.stack([self._rows[line] for line in sentences])


def encoder_of(space: LabelSpace, *others: LabelSpace, name: str | None = None) -> Encoder:
    """The encoder that a label space was made with.

    Args:
        others: label spaces whose sentences will be asked for; where all hold their embeddings
            by the same encoder, these are enough and no model is loaded.
        name: where the encoder lies, as `load_encoder` takes it; as recorded when left out.
    Raises:
        ProLabError: it is not recorded, or cannot be loaded.
    """
    if others and all(
        one.embeddings is not None and encoder_difference(space.provenance, one.provenance) is None
        for one in (space, *others)
    ):
        return StoredEmbeddings(space, *others)
    recorded = space.provenance.get("encoder")
    if name is None and recorded is None:
        raise ProLabError(
            "the label space does not say which sentence encoder made it, and new categories need "
            "it: give its folder or name as the encoder"
        )
    try:
        return load_encoder(
            name or recorded,
            pooling=space.provenance.get("pooling") or "mean",
            lower_case=space.provenance.get("lower_case", True),
        )
    except ProLabError as error:
        raise ProLabError(
            f"new categories need the sentence encoder of the label space, {recorded!r}: {error}"
        ) from error


def trained_names(
    names: Sequence[str], trained: Sequence[str]
) -> tuple[tuple[str | None, ...], tuple[bool, ...]]:
    """Which categories a network has been trained with.

    The same name (whatever its case) or a listed synonym (`synonyms.concept`) is the same. Beside
    "pot, flowerpot", which others call "pot", a plain "pot" is something else.

    Returns:
        The trained category that each of `names` is, None where there is none or another of
        `names` is it already; and whether each has been seen in training.
    """
    asked = [plain_name(name) for name in names]
    by_name = {plain_name(name): name for name in reversed(trained)}
    other = _heads(asked) - _heads(by_name)
    for name in _heads(by_name) - _heads(asked):
        by_name.pop(name, None)
    learnt = tuple(by_name.values())[::-1]
    found = [None if name in other else by_name.pop(name, None) for name in asked]
    rest = {concept(name): name for name in reversed(learnt) if name not in found}
    concepts = {concept(name) for name in learnt}
    for i, name in enumerate(asked):
        if found[i] is None and name not in other:
            found[i] = rest.pop(concept(name), None)
    return tuple(found), tuple(concept(n) in concepts and n not in other for n in asked)


def _heads(names: Iterable[str]) -> set[str]:
    """What others call the categories for which a data set lists several names."""
    return {shared_name(name) for name in names if "," in name}


def in_trained_properties(
    trained: LabelSpace, descriptions: Mapping[str, Sequence[str]], encoder: Encoder | None
) -> Vocabulary:
    """Categories in the properties that a network was trained with.

    A category of the training (see `trained_names`) keeps the signature that was trained; the
    others get theirs by `LabelSpace.extend`, with far sentences where a category has no near ones.

    Args:
        descriptions: sentences by category; those of trained categories are not used.
        encoder: may be None where no category is new.
    Raises:
        ProLabError: a new category has no sentence, or as `LabelSpace.extend`.
    """
    names = tuple(descriptions)
    trained_as, _ = trained_names(names, trained.categories)
    # A new category may have the name of a trained one that is asked for under another.
    chosen = [
        known or _free_name(name, trained.categories, names)
        for name, known in zip(names, trained_as, strict=True)
    ]
    new = {
        own: descriptions[name]
        for own, name, known in zip(chosen, names, trained_as, strict=True)
        if known is None
    }
    grown = trained.extend(new, encoder, allow_far=True) if new else trained
    return Vocabulary(_renamed(grown.subset(chosen), names), trained_as)


def _free_name(name: str, trained: Sequence[str], asked: Sequence[str]) -> str:
    if name not in trained:
        return name
    taken = {*trained, *asked}
    return next(other for i in count(2) if (other := f"{name} ({i})") not in taken)


def _renamed(space: LabelSpace, names: Sequence[str]) -> LabelSpace:
    """The same categories under other names."""
    if tuple(names) == space.categories:
        return space
    new = dict(zip(space.categories, names, strict=True))
    provenance = dict(space.provenance)
    if "extensions" in provenance:
        provenance["extensions"] = [_renamed_record(one, new) for one in provenance["extensions"]]
    return LabelSpace.from_arrays(
        names,
        space.bank,
        space.signatures,
        [
            replace(one, descriptions=tuple((new[name], line) for name, line in one.descriptions))
            for one in space.properties
        ],
        {new[name]: lines for name, lines in space.descriptions.items()},
        provenance,
        embeddings=space.embeddings,
        property_of_description=space.property_of_description,
        property_weights=space.property_weights,
        category_offsets=space.category_offsets,
        where="vocabulary",
    )


def _renamed_record(record: Mapping[str, Any], new: Mapping[str, str]) -> dict[str, Any]:
    """What `LabelSpace.extend` has noted, under the new names."""
    return {
        **record,
        "distances": {new.get(name, name): own for name, own in record["distances"].items()},
        "left_out": [
            {**entry, "category": new.get(entry["category"], entry["category"])}
            for entry in record["left_out"]
        ],
    }


def check_swap(trained: LabelSpace, other: LabelSpace) -> None:
    """Makes sure that pixel embeddings of one label space can be compared with another's bank.

    Raises:
        ProLabError: another encoder, pooling or width, or one that is not recorded.
    """
    cure = "build it with the encoder of the training, or test with signatures by extend alone"
    for space, which in ((trained, "training"), (other, "test")):
        if space.provenance.get("encoder") is None:
            raise ProLabError(
                f"the label space of the {which} does not say which encoder made its bank, so "
                f"banks cannot be swapped: {cure}"
            )
    difference = encoder_difference(trained.provenance, other.provenance)
    if difference is None and trained.embedding_dim != other.embedding_dim:
        difference = f"embeddings of {trained.embedding_dim}, here {other.embedding_dim} numbers"
    if difference is not None:
        raise ProLabError(
            "the bank of the test label space cannot take the place of the trained one, which was "
            f"made with {difference}: {cure}"
        )


def nearest_categories(
    trained: LabelSpace, descriptions: Mapping[str, Sequence[str]], encoder: Encoder
) -> tuple[int, ...]:
    """The trained category for each of `descriptions`: itself, or the one with nearest sentences.

    Of two categories the means of their sentences' embeddings are compared, by cosine.

    Returns:
        Ids of the trained label space.
    Raises:
        ProLabError: a category has no sentence to compare.
    """
    trained_as, _ = trained_names(tuple(descriptions), trained.categories)
    own = _means(trained.descriptions, encoder, "trained label space")
    result = []
    for (name, lines), known in zip(descriptions.items(), trained_as, strict=True):
        if known is not None:
            result.append(trained.categories.index(known))
            continue
        mean = _means({name: lines}, encoder, "test label space")[0]
        result.append(int((own @ mean).argmax()))
    return tuple(result)


def _means(descriptions: Mapping[str, Sequence[str]], encoder: Encoder, where: str) -> np.ndarray:
    """(N, D), unit length: mean of every category's sentence embeddings."""
    rows = []
    for lines in check_descriptions(descriptions, where).values():
        mean = encoder.encode(lines).mean(0)
        rows.append(mean / np.linalg.norm(mean))
    return np.stack(rows)
