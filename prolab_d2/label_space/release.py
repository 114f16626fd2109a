"""Label spaces of the published implementation: its descriptor, embedding and property files.

Shapes: N categories, K properties, D embedding, M descriptions.

The embedding file (.pth) is a pickled dict with "descriptions" {category: [sentence, ...]} and
"<encoder>_<language model>_cluster_<K>_embeddings_and_labels": [centres (D, K) float32,
multi-hot (K, N) float64]. A property file (JSON) is {property: ["category: sentence", ...]}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from prolab_d2.errors import ProLabError
from prolab_d2.files import sha256_of
from prolab_d2.label_space.clustering import Clusters
from prolab_d2.label_space.descriptions import Descriptions, check_descriptions, read_descriptions
from prolab_d2.label_space.embedding import Encoder
from prolab_d2.label_space.label_space import LabelSpace, Property
from prolab_d2.label_space.naming import property_names
from prolab_d2.label_space.safe_pickle import load_pth

__all__ = ["read_release"]

_SUFFIX = "_embeddings_and_labels"
_KEY = re.compile(rf"(?P<encoder>.+)_(?P<llm>[^_]+)_cluster_\d+{_SUFFIX}")

# (category, sentence); property -> its members.
Pair = tuple[str, str]
Members = dict[str, tuple[Pair, ...]]


def read_release(
    descriptors: str | PathLike[str],
    embeddings: str | PathLike[str],
    properties: str | PathLike[str] | None = None,
    *,
    encoder: Encoder | None = None,
    key: str | None = None,
) -> LabelSpace:
    """The label space of a released checkpoint, with the properties in the checkpoint's order.

    The embedding file does not say which sentence belongs to which property. The property file of
    the same release does, and names the properties, but does not number them: they are found by
    their categories. An encoder tells, too, because it puts every sentence near its property. With
    neither, properties have numbers for names and no members.

    Args:
        descriptors: JSON file {category: [sentence, ...]}, categories in the order of the ids.
        embeddings: .pth file; no code in it is run.
        properties: JSON file {property: ["category: sentence", ...]}.
        encoder: the one that the release used. It also gives the embeddings that
            `LabelSpace.extend` and `merge` need.
        key: which entry of the embedding file, where it holds several.
    Raises:
        ProLabError: a file cannot be read safely, or they do not belong together.
    """
    sentences = _trimmed(read_descriptions(descriptors), descriptors)
    content = load_pth(embeddings)
    key, pair = _entry(content, key, embeddings)
    inside = content.get("descriptions")
    if inside is not None:
        inside = _trimmed(check_descriptions(inside, str(embeddings)), embeddings)
        if list(inside.items()) != list(sentences.items()):
            raise ProLabError(
                f"{embeddings} was made of other sentences than those in {descriptors}: give the "
                "descriptor file of the same release"
            )
    bank, signatures = _bank_and_signatures(pair, len(sentences), f"{embeddings}: {key!r}")
    names: Sequence[Property | str] | None = None
    labels = rows = None
    if encoder is not None:
        lines = [line for lines in sentences.values() for line in lines]
        rows = encoder.encode(lines)
        labels = _nearest_properties(rows, sentences, bank, signatures, embeddings)
        names = property_names(lines, rows, Clusters(labels, bank))
    if properties is not None:
        members = _read_members(properties, sentences)
        columns = _find_columns(members, sentences, signatures, labels, properties)
        names, labels = _numbered(members, columns, sentences)
    files = [Path(path) for path in (descriptors, embeddings, properties) if path is not None]
    return LabelSpace.from_arrays(
        tuple(sentences),
        bank,
        signatures,
        names,
        sentences,
        _provenance(key, files, encoder, len(bank)),
        embeddings=rows,
        property_of_description=labels,
        where=str(embeddings),
    )


def _provenance(key: str, files: Iterable[Path], encoder: Encoder | None, k: int) -> dict[str, Any]:
    parts = _KEY.fullmatch(key)
    return {
        "note": "released with the published implementation of ProLab (arXiv 2312.13764)",
        "release": {"key": key, "sha256": {path.name: sha256_of(path) for path in files}},
        "llm": parts["llm"] if parts else None,
        # What the published recipe does; an encoder that was given says it of itself.
        "encoder": parts["encoder"] if parts else None,
        "pooling": "mean",
        "lower_case": True,
        **(encoder.provenance if encoder is not None else {}),
        "clustering": {"method": "kmeans", "num_properties": k},
        "seed": 0,
    }


def _trimmed(descriptions: Descriptions, where: str | PathLike[str]) -> Descriptions:
    """Some released names end in a space."""
    result = {name.strip(): lines for name, lines in descriptions.items()}
    if len(result) < len(descriptions):
        raise ProLabError(
            f"{where}: two categories have the same name but for spaces around it: rename one"
        )
    return result


def _entry(content: Any, key: str | None, where: str | PathLike[str]) -> tuple[str, Any]:
    names = [str(name) for name in content] if isinstance(content, dict) else []
    names = [name for name in names if name.endswith(_SUFFIX)]
    if not names:
        raise ProLabError(
            f"{where} has no entry '...{_SUFFIX}': give an embedding file of the release"
        )
    if key is None and len(names) == 1:
        key = names[0]
    if key not in names:
        problem = "several entries" if key is None else f"no entry {key!r}"
        raise ProLabError(f"{where} has {problem}: choose the key {' or '.join(map(repr, names))}")
    return key, content[key]


def _bank_and_signatures(pair: Any, n: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """(K, D) and (N, K) from the published columns, or from rows such as ours."""
    arrays = pair if isinstance(pair, (list, tuple)) else ()
    if len(arrays) != 2 or any(getattr(array, "ndim", 0) != 2 for array in arrays):
        raise ProLabError(
            f"{where} is no list of two arrays, centres and labels: give an embedding file of the "
            "release"
        )
    centres, labels = arrays
    if n not in labels.shape:
        raise ProLabError(
            f"{where} has labels of shape {labels.shape}, but there are {n} categories: give the "
            "descriptor file of the same data set"
        )
    if labels.shape[1] == n:
        centres, labels = centres.T, labels.T
    if len(centres) != labels.shape[1]:
        raise ProLabError(
            f"{where} has labels of {labels.shape[1]} properties, but {len(centres)} centres: "
            "download the file again"
        )
    return centres, labels


def _nearest_properties(
    rows: np.ndarray,
    descriptions: Descriptions,
    bank: np.ndarray,
    signatures: np.ndarray,
    where: str | PathLike[str],
) -> np.ndarray:
    """(M,) int32: for every sentence the nearest among the properties of its category."""
    if rows.shape[1] != bank.shape[1]:
        raise ProLabError(
            f"{where} holds embeddings of {bank.shape[1]} numbers, the encoder gives "
            f"{rows.shape[1]}: use the encoder of the release"
        )
    owner = _owners(descriptions)
    # Squared distance without the part that is the same for all properties.
    distance = (bank**2).sum(1) - 2 * rows @ bank.T
    labels = np.where(signatures[owner] > 0, distance, np.inf).argmin(1)
    reached = np.zeros(signatures.shape, dtype=bool)
    reached[owner, labels] = True
    missed = np.argwhere((signatures > 0) & ~reached)
    if len(missed):
        category = list(descriptions)[missed[0, 0]]
        raise ProLabError(
            f"{where}: no sentence of {len(missed)} pairs of category and property is near enough, "
            f"first of category {category!r}: use the encoder of the release, with its pooling"
        )
    return labels.astype(np.int32)


def _owners(descriptions: Descriptions) -> np.ndarray:
    """(M,) the category of every sentence."""
    return np.repeat(np.arange(len(descriptions)), [len(v) for v in descriptions.values()])


def _read_members(path: str | PathLike[str], descriptions: Descriptions) -> Members:
    """Members of every property, which together are all sentences, each once."""
    left = {(name, line) for name, lines in descriptions.items() for line in lines}
    members: Members = {}
    for title, lines in read_descriptions(path).items():
        members[title] = tuple(_split(line) for line in lines)
        for pair in members[title]:
            if pair not in left:
                raise ProLabError(
                    f"{path}: {': '.join(pair)!r} of property {title!r} is no sentence of the "
                    "descriptors, or comes twice: give the property file of the same release"
                )
            left.remove(pair)
    if left:
        raise ProLabError(
            f"{path}: {': '.join(min(left))!r} belongs to no property: give the property file of "
            "the same release"
        )
    return members


def _split(line: str) -> Pair:
    category, _, sentence = line.partition(": ")
    return category.strip(), sentence.strip()


def _find_columns(
    members: Members,
    descriptions: Descriptions,
    signatures: np.ndarray,
    labels: np.ndarray | None,
    where: str | PathLike[str],
) -> dict[str, list[int]]:
    """The number of every property, found by its categories.

    Several properties may have the same categories. `labels`, if there are any, tell them apart;
    otherwise each of them gets the numbers of all.
    """
    category_ids = {name: i for i, name in enumerate(descriptions)}
    by_categories: dict[frozenset[int], list[int]] = {}
    for number, column in enumerate(signatures.T):
        by_categories.setdefault(frozenset(np.flatnonzero(column).tolist()), []).append(number)
    columns = {
        title: by_categories.get(frozenset(category_ids[category] for category, _ in pairs), [])
        for title, pairs in members.items()
    }
    odd = [
        title
        for title in members
        if list(columns.values()).count(columns[title]) != len(columns[title])
    ]
    if odd or len(members) != signatures.shape[1]:
        raise ProLabError(
            f"{where}: {len(members)} properties do not fit the {signatures.shape[1]} in the "
            "embedding file"
            + (f", the categories of {odd[0]!r} are not those of one there" if odd else "")
            + ": give the property file of the same release"
        )
    if labels is not None:
        rows = _rows(descriptions)
        for title, pairs in members.items():
            if len(columns[title]) > 1:
                votes = np.bincount([labels[rows[pair]] for pair in pairs])
                columns[title] = [int(votes.argmax())]
        if len({number for (number,) in columns.values()}) < len(columns):
            raise ProLabError(
                f"{where}: the encoder does not tell properties of the same categories apart: use "
                "the encoder of the release, with its pooling"
            )
    return columns


def _rows(descriptions: Descriptions) -> dict[Pair, int]:
    pairs = ((name, line) for name, lines in descriptions.items() for line in lines)
    return {pair: row for row, pair in enumerate(pairs)}


def _numbered(
    members: Members, columns: Mapping[str, Sequence[int]], descriptions: Descriptions
) -> tuple[list[Property], np.ndarray | None]:
    """All properties by number, and the (M,) property of every sentence where that is certain.

    Properties that nothing tells apart share their names and members.
    """
    rows = _rows(descriptions)
    titles: dict[int, list[str]] = {}
    for title, numbers in columns.items():
        for number in numbers:
            titles.setdefault(number, []).append(title)
    properties = []
    for number in range(len(titles)):
        name = " or ".join(titles[number])
        if len(titles[number]) > 1:
            name += f" ({columns[titles[number][0]].index(number) + 1})"
        pairs = (pair for title in titles[number] for pair in members[title])
        properties.append(Property(name, tuple(sorted(pairs, key=rows.__getitem__))))
    if any(len(numbers) > 1 for numbers in columns.values()):
        return properties, None
    labels = np.zeros(len(rows), dtype=np.int32)
    for title, (number,) in columns.items():
        labels[[rows[pair] for pair in members[title]]] = number
    return properties, labels
