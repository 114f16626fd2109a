"""The label space: categories, their descriptions, the properties found in them, the signatures.

Shapes: N categories, K properties, D embedding, M descriptions.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from prolab_d2.errors import ProLabError
from prolab_d2.label_space import storage, validation
from prolab_d2.label_space.properties import Property, make_properties, property_from_json
from prolab_d2.label_space.quality import confused_groups

if TYPE_CHECKING:
    from prolab_d2.label_space.embedding import Encoder

__all__ = ["LabelSpace", "Property"]

# Arrays that say how a network's scores are read: they are stored, but no part of the hash.
_READINGS = ("property_weights", "category_offsets")


@dataclass(frozen=True, eq=False)
class LabelSpace:
    """Everything that turns category ids into properties and back (paper, sections 3.1 and 3.2).

    Made by `load`, `from_arrays`, `from_state` or `build_label_space`, which all validate it.
    Arrays are read-only, so that the hash keeps its word.

    Attributes:
        categories: names in the order of the data set's ids, length N.
        properties: length K.
        bank: (K, D) float32, one embedding per property as clustered, not of unit length.
        signatures: (N, K) bool, the properties of every category.
        descriptions: sentences by category; categories without any have an empty tuple.
        embeddings: (M, D) float16 of all sentences in the order of `descriptions`, or None.
        property_of_description: (M,) int32, the property of every sentence, or None.
        tree: (M - 1, 4) float64, the hierarchy of the sentences that `cut` cuts, or None.
        provenance: how it was made. JSON data; "dates" and "timings" in it are kept in build.log.
        property_weights: (K,) float32, how much every property counts in a score; None for all
            alike. A way of reading the label space: no part of its content, nor of its hash.
        category_offsets: (N,) float32, added to the scores that a network gives the categories;
            None for 0 each. As the weights no part of the content.
    """

    categories: tuple[str, ...]
    properties: tuple[Property, ...]
    bank: np.ndarray
    signatures: np.ndarray
    descriptions: dict[str, tuple[str, ...]]
    embeddings: np.ndarray | None = None
    property_of_description: np.ndarray | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    tree: np.ndarray | None = None
    property_weights: np.ndarray | None = None
    category_offsets: np.ndarray | None = None

    @classmethod
    def from_arrays(
        cls,
        categories: Sequence[str],
        bank: Any,
        signatures: Any,
        properties: Sequence[Property | str] | None = None,
        descriptions: Mapping[str, Sequence[str]] | None = None,
        provenance: Mapping[str, Any] | None = None,
        *,
        embeddings: Any = None,
        property_of_description: Any = None,
        tree: Any = None,
        property_weights: Any = None,
        category_offsets: Any = None,
        where: str = "label space",
    ) -> LabelSpace:
        """A label space from its parts; anything that NumPy can read is an array here.

        Args:
            bank: (K, D), any length of rows but zero.
            signatures: (N, K) bool, or numbers that are all 0 or 1.
            properties: properties, or only their names; "property 0", ... when left out.
                Without members given, they follow from `property_of_description`.
            descriptions: sentences by category, for all or some of the categories.
            embeddings: (M, D), rows in the order of the categories and their sentences.
            property_of_description: (M,) integers in [0, K), same order.
            tree: (M - 1, 4), see `clustering`; needs the two arrays above.
            property_weights: (K,), see `with_property_weights`.
            category_offsets: (N,), see `with_category_offsets`.
            where: how errors call the label space.
        Raises:
            ProLabError: the parts do not fit together; the message says which, and what to do.
        """
        names = validation.category_names(categories, where)
        sentences = validation.descriptions_by_category(descriptions or {}, names, where)
        bank = validation.number_array(bank, "bank", np.float32, 2, where)
        signatures = validation.signature_array(signatures, where)
        validation.check_bank_and_signatures(names, bank, signatures, where)
        if embeddings is not None:
            embeddings = validation.number_array(embeddings, "embeddings", np.float16, 2, where)
        if property_of_description is not None:
            property_of_description = validation.index_array(
                property_of_description, "property_of_description", len(bank), where
            )
        num_sentences = sum(map(len, sentences.values()))
        validation.check_sentence_arrays(
            num_sentences, bank.shape[1], embeddings, property_of_description, where
        )
        if tree is not None:
            tree = validation.tree_array(tree, num_sentences, where)
        space = cls(
            categories=names,
            properties=make_properties(
                properties, sentences, property_of_description, len(bank), where
            ),
            bank=_read_only(bank),
            signatures=_read_only(signatures),
            descriptions=sentences,
            embeddings=_read_only(embeddings),
            property_of_description=_read_only(property_of_description),
            provenance=dict(provenance or {}),
            tree=_read_only(tree),
        )
        space.validate(where)
        return space.with_property_weights(property_weights).with_category_offsets(category_offsets)

    @classmethod
    def load(cls, folder_or_name: str | os.PathLike[str]) -> LabelSpace:
        """Reads a folder written by `save`, or a label space that comes with the package.

        A folder that holds a label space comes first, then a name such as "camvid".

        Raises:
            ProLabError: there is none, or it is broken.
        """
        folder = storage.find_folder(folder_or_name)
        with storage.without_garbage_collection():
            data = storage.read_folder(folder)
            space = cls._from_data(data, str(folder))
            storage.check_files_belong_together(folder, data)
            del data  # or the collector would look through what is thrown away next
        return space

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the folder: a new one appears whole, in an existing one only its own files change.

        Raises:
            ProLabError: the folder cannot be written.
        """
        storage.write_folder(folder, self.files())

    def files(self) -> dict[str, bytes]:
        """The files that `save` writes: content by name."""
        return storage.folder_files(*self._data())

    def state(self) -> dict[str, Any]:
        """The label space for a checkpoint: {"json": str, "arrays": {name: np.ndarray}}."""
        document, arrays, log = self._data()
        return {"json": json.dumps({**document, "log": log}, ensure_ascii=False), "arrays": arrays}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], where: str = "label space") -> LabelSpace:
        """The inverse of `state`; its arrays may have become torch tensors.

        Raises:
            ProLabError: something else than what `state` returned.
        """
        return cls._from_data(storage.read_state(state, where), where)

    @classmethod
    def _from_data(cls, data: storage.Data, where: str) -> LabelSpace:
        document, arrays, log = data
        return cls.from_arrays(
            document["categories"],
            arrays["bank"],
            arrays["signatures"],
            [property_from_json(entry, where) for entry in document["properties"]],
            document["descriptions"],
            {**document["provenance"], **log},
            embeddings=arrays.get("embeddings"),
            property_of_description=arrays.get("property_of_description"),
            tree=arrays.get("tree"),
            property_weights=arrays.get("property_weights"),
            category_offsets=arrays.get("category_offsets"),
            where=where,
        )

    def _data(self) -> storage.Data:
        log = {k: v for k, v in self.provenance.items() if k in storage.LOGGED}
        document = {
            "categories": list(self.categories),
            "descriptions": {name: list(lines) for name, lines in self.descriptions.items()},
            "properties": [
                {"name": entry.name, "members": [list(pair) for pair in entry.descriptions]}
                for entry in self.properties
            ],
            "provenance": {k: v for k, v in self.provenance.items() if k not in log},
        }
        arrays = {"bank": self.bank, "signatures": self.signatures.astype(np.uint8)}
        for name in ("embeddings", "property_of_description", "tree", *_READINGS):
            if getattr(self, name) is not None:
                arrays[name] = getattr(self, name)
        return document, arrays, log

    def validate(self, where: str = "label space") -> None:
        """Checks that all parts fit together.

        Raises:
            ProLabError: they do not; one sentence that says what is wrong and how to mend it.
        """
        validation.check_label_space(self, where)

    @property
    def num_categories(self) -> int:
        return len(self.categories)

    @property
    def num_properties(self) -> int:
        return len(self.properties)

    @property
    def embedding_dim(self) -> int:
        return self.bank.shape[1]

    @cached_property
    def category_of_description(self) -> np.ndarray:
        """(M,) integers in [0, N): the category of every sentence, in the order of both."""
        counts = [len(lines) for lines in self.descriptions.values()]
        return np.repeat(np.arange(self.num_categories), counts)

    @cached_property
    def category_embeddings(self) -> np.ndarray:
        """(N, D) float32, of length 1: the mean of the unit embeddings of a category's sentences.

        Raises:
            ProLabError: the label space holds no embeddings, or a category has no sentence.
        """
        counts = np.bincount(self.category_of_description, minlength=self.num_categories)
        if self.embeddings is None or not counts.all():
            lacking = "embeddings of its sentences"
            if self.embeddings is not None:
                lacking = f"sentence about {self.categories[int(counts.argmin())]!r}"
            raise ProLabError(
                f"the label space has no {lacking}, from which the embedding of a category is "
                "made: build it with tools/build_label_space.py from descriptions of all categories"
            )
        sentences = self.embeddings.astype(np.float32)
        sentences /= np.linalg.norm(sentences, axis=1, keepdims=True).clip(1e-12)
        sums = np.add.reduceat(sentences, np.cumsum(counts) - counts)
        return _read_only(sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-12))

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the content: everything but provenance, weights and offsets."""
        document, arrays, _ = self._data()
        del document["provenance"]
        for name in _READINGS:
            arrays.pop(name, None)
        text = json.dumps(document, ensure_ascii=False, sort_keys=True).encode()
        return hashlib.sha256(text + storage.hash_arrays(arrays).encode()).hexdigest()

    def __repr__(self) -> str:
        return (
            f"LabelSpace({self.num_categories} categories, {self.num_properties} properties, "
            f"embeddings of {self.embedding_dim}, hash {self.hash[:12]})"
        )

    def confused_categories(self) -> list[tuple[str, ...]]:
        """Groups of categories with the same signature, which no score can tell apart."""
        groups = confused_groups(self.signatures)
        return [tuple(self.categories[i] for i in group) for group in groups]

    def with_property_weights(self, weights: Any) -> LabelSpace:
        """The same label space with other weights of its properties in the scores.

        The score of a category is then the cosine of weighted activations and weighted signature;
        0 drops a property.

        Args:
            weights: (K,) finite numbers from 0; None for all alike.
        Raises:
            ProLabError: something else, or a category keeps no property with a weight above 0.
        """
        if weights is not None:
            weights = validation.number_array(
                weights, "property_weights", np.float32, 1, "label space"
            )
            validation.check_property_weights(weights, self.signatures, self.categories)
        return replace(self, property_weights=_read_only(weights))

    def with_category_offsets(self, offsets: Any) -> LabelSpace:
        """The same label space with other numbers to add to the scores of its categories.

        They belong to the scores of one network, see `prolab_d2.evaluation.stacking`.

        Args:
            offsets: (N,) finite numbers; None for 0 each.
        Raises:
            ProLabError: something else.
        """
        if offsets is not None:
            offsets = validation.number_array(
                offsets, "category_offsets", np.float32, 1, "label space"
            )
            if len(offsets) != self.num_categories:
                raise ProLabError(
                    f"{len(offsets)} category offsets for {self.num_categories} categories: give a "
                    "number for each"
                )
        return replace(self, category_offsets=_read_only(offsets))

    def subset(self, names: Iterable[str], *, drop_unused: bool = False) -> LabelSpace:
        """The label space of some categories, in the order of `names`, with unchanged signatures.

        By default all K properties stay, with their names and bank, so that a network trained
        with this label space serves the subset, too; those without a kept category keep
        no members. `drop_unused` removes them and renumbers the others in the same order. A tree
        of all sentences is dropped.

        Raises:
            ProLabError: a name is unknown or comes twice, or there is none.
        """
        from prolab_d2.label_space import subsets

        return subsets.subset(self, names, drop_unused=drop_unused)

    def extend(
        self,
        new: Mapping[str, Sequence[str]],
        encoder: Encoder,
        *,
        max_distance: float | None = None,
        allow_far: bool = False,
    ) -> LabelSpace:
        """The label space with more categories, described in terms of its own properties.

        Every new sentence gets a property by the assignment rule of the stored clustering: the
        nearest centre for K-Means, the property of the nearest stored sentence for a tree. A
        sentence that was clustered keeps its property, so a category's own sentences give its own
        row. Bank, properties and their order stay, so a trained network serves the new
        categories at once; a tree, which cannot take sentences in, is dropped.

        A sentence too far from its property is left out. `provenance["extensions"]` holds the
        rule, the distances of all sentences (the confidence), and what was left out;
        `growing.describe_extension` puts it in words.

        Args:
            new: sentences by category.
            encoder: the one the label space was made with, as its provenance says.
            max_distance: largest cosine distance between a sentence and its property's row of
                the bank. When left out, 95 of 100 sentences of the label space itself would be
                near enough, were they new.
            allow_far: use the sentences of a category that has only far ones.
        Raises:
            ProLabError: a name is taken, the encoder is another one, or all sentences of a
                category are too far.
        """
        from prolab_d2.label_space import growing

        return growing.extend(self, new, encoder, max_distance=max_distance, allow_far=allow_far)

    def merge(
        self,
        other: LabelSpace,
        num_properties: int | None = None,
        *,
        method: str = "kmeans",
        seed: int = 0,
    ) -> LabelSpace:
        """The categories of two label spaces over one new clustering of all their sentences.

        The own categories come first, then those that only `other` has; `subset` with the names
        of either gives them in its order. A category that both have gets the sentences of both,
        and stands in `provenance["united"]`. Properties are new: a trained network serves neither.

        Args:
            num_properties: K; about one for every 7 sentences when left out.
            method, seed: of the clustering.
        Raises:
            ProLabError: made by different encoders, or without embeddings of all sentences.
        """
        from prolab_d2.label_space import reclustering

        return reclustering.merge(self, other, num_properties, method=method, seed=seed)

    def cut(self, num_properties: int) -> LabelSpace:
        """The same sentences with another number of properties, from the stored tree.

        Cuts of one tree fit into each other: with more properties, some are parted, none is mixed.

        Raises:
            ProLabError: there is no tree, or not so many different sentences.
        """
        from prolab_d2.label_space import reclustering

        return reclustering.cut(self, num_properties)


def _read_only(array: np.ndarray | None) -> np.ndarray | None:
    if array is not None:
        array.flags.writeable = False
    return array
