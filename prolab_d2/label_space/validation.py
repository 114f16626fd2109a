"""Checks of a label space: every error is one sentence that says what to do.

Shapes: N categories, K properties, D embedding, M descriptions.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prolab_d2.errors import ProLabError
from prolab_d2.label_space.properties import members_by_property

if TYPE_CHECKING:
    from prolab_d2.label_space.label_space import LabelSpace

__all__ = [
    "category_names",
    "check_bank_and_signatures",
    "check_label_space",
    "check_property_weights",
    "check_sentence_arrays",
    "descriptions_by_category",
    "index_array",
    "number_array",
    "signature_array",
    "tree_array",
    "unknown_name",
]

_BLOCK_BYTES = 2**18


def unknown_name(what: str, name: str, known: Sequence[str]) -> ProLabError:
    """The error for a name that the label space does not have: tells those that are close.

    Args:
        what: "category" or "property".
    """
    folded: dict[str, str] = {}
    for other in known:
        folded.setdefault(other.casefold(), other)
    wanted = name.strip().casefold()
    close = difflib.get_close_matches(wanted, folded, n=3, cutoff=0.5)
    close += [other for other in folded if wanted and wanted in other and other not in close]
    if close:
        advice = f"did you mean {' or '.join(repr(folded[other]) for other in close[:3])}?"
    else:
        more = f" and {len(known) - 20} more" if len(known) > 20 else ""
        advice = f"it has {', '.join(' '.join(other.split()) for other in known[:20])}{more}"
    return ProLabError(f"the label space has no {what} {name!r}: {advice}")


def first_duplicate(names: Sequence[str]) -> str | None:
    if len(set(names)) == len(names):
        return None
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _all_texts(values: Sequence[Any]) -> bool:
    """Whether all are strings that hold more than white space; no step of Python for each."""
    try:
        return all(map(str.strip, values))
    except TypeError:
        return False


def category_names(categories: Sequence[str], where: str) -> tuple[str, ...]:
    """The names as a tuple: at least one, all of them text, none twice."""
    if isinstance(categories, str):
        raise ProLabError(f"{where}: categories must be a list of names, not one string")
    names = tuple(categories)
    if not names:
        raise ProLabError(f"{where}: there are no categories: give at least one")
    if not _all_texts(names):
        position = next(i for i, name in enumerate(names) if not _all_texts([name]))
        raise ProLabError(f"{where}: category {position} has no name: give it one")
    double = first_duplicate(names)
    if double is not None:
        raise ProLabError(f"{where}: category {double!r} comes twice: rename or drop one of them")
    return names


def descriptions_by_category(
    descriptions: Mapping[str, Sequence[str]], categories: Sequence[str], where: str
) -> dict[str, tuple[str, ...]]:
    """Sentences of every category, in the order of the categories."""
    known = set(categories)
    unknown = [name for name in descriptions if name not in known]
    if unknown:
        raise ProLabError(
            f"{where}: there are descriptions of {unknown[0]!r}, which is no category: "
            "add the category or drop its descriptions"
        )
    for name, lines in descriptions.items():
        several = isinstance(lines, Sequence) and not isinstance(lines, str)
        if not several or not _all_texts(lines):
            raise ProLabError(
                f"{where}: the descriptions of {name!r} must be a list of sentences, "
                "none of them empty: correct them and build the label space again"
            )
    if descriptions and [n for n in categories if n in descriptions] != list(descriptions):
        raise ProLabError(
            f"{where}: the descriptions come in another order than the categories: "
            "put both in the order of the data set's ids"
        )
    return {name: tuple(descriptions.get(name, ())) for name in categories}


def number_array(array: Any, what: str, dtype: type, ndim: int, where: str) -> np.ndarray:
    """A copy with `ndim` axes and finite values."""
    try:
        with np.errstate(over="ignore"):
            result = np.array(array, dtype=dtype, order="C")
    except (TypeError, ValueError) as error:
        raise ProLabError(f"{where}: {what} is no array of numbers: rebuild it") from error
    if result.ndim != ndim or result.size == 0:
        raise ProLabError(
            f"{where}: {what} has shape {result.shape}, but needs {ndim} axes, none of them empty: "
            "rebuild it"
        )
    if not all(_is_finite(rows).all() for rows in _blocks(result)):
        row = int(np.flatnonzero(~np.isfinite(result).all(axis=tuple(range(1, ndim))))[0])
        raise ProLabError(
            f"{where}: {what} holds NaN or infinite values, first in row {row}: "
            "check the sentence encoder and build the label space again"
        )
    return result


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """The rows in blocks that stay in the cache."""
    rows = max(1, _BLOCK_BYTES * len(array) // array.nbytes)
    return (array[start : start + rows] for start in range(0, len(array), rows))


def _is_finite(array: np.ndarray) -> np.ndarray:
    """As `np.isfinite`, which takes ten times as long for float16."""
    if array.dtype != np.float16:
        return np.isfinite(array)
    exponent = np.uint16(0x7C00)  # all its bits are set in infinities and NaN alone
    return (array.view(np.uint16) & exponent) != exponent


def index_array(array: Any, what: str, end: int, where: str) -> np.ndarray:
    """A (M,) int32 copy with values in [0, end)."""
    result = np.array(array)
    if result.ndim != 1 or result.dtype.kind not in "iu":
        raise ProLabError(f"{where}: {what} must be a list of whole numbers: rebuild it")
    if result.size and (result.min() < 0 or result.max() >= end):
        raise ProLabError(
            f"{where}: {what} names a property outside 0 to {end - 1}: rebuild the label space"
        )
    return result.astype(np.int32)


def signature_array(signatures: Any, where: str) -> np.ndarray:
    """A (N, K) bool copy."""
    result = np.array(signatures)
    if result.ndim != 2 or result.dtype.kind not in "buif":
        raise ProLabError(
            f"{where}: signatures must be an array of shape (categories, properties), "
            f"not of shape {result.shape}: rebuild it"
        )
    if not ((result == 0) | (result == 1)).all():
        raise ProLabError(f"{where}: signatures must be 0 or 1 everywhere: threshold them first")
    return np.ascontiguousarray(result.astype(bool))


def tree_array(tree: Any, num_sentences: int, where: str) -> np.ndarray:
    """A (M - 1, 4) float64 copy that joins every sentence and every merge once, near ones first."""
    result = number_array(tree, "tree", np.float64, 2, where)
    merges = len(result)
    if result.shape != (num_sentences - 1, 4):
        raise ProLabError(
            f"{where}: the tree has shape {result.shape}, but {num_sentences} descriptions need "
            f"({num_sentences - 1}, 4): build the label space again after editing descriptions"
        )
    nodes, distances = result[:, :2], result[:, 2]
    known = nodes < num_sentences + np.arange(merges)[:, None]
    each_once = np.array_equal(np.sort(nodes, axis=None), np.arange(2 * merges))
    if not known.all() or not each_once or (np.diff(distances) < 0).any():
        raise ProLabError(
            f"{where}: the tree does not join all sentences step by step: build the label space "
            "again"
        )
    return result


def check_bank_and_signatures(
    categories: Sequence[str], bank: np.ndarray, signatures: np.ndarray, where: str
) -> None:
    n, k = len(categories), len(bank)
    if signatures.shape != (n, k):
        turned = signatures.shape == (k, n)
        raise ProLabError(
            f"{where}: signatures have shape {signatures.shape}, but {n} categories and {k} rows "
            f"of the bank need ({n}, {k}): " + ("transpose them" if turned else "rebuild them")
        )
    zero = np.flatnonzero(~bank.any(1))
    if len(zero):
        raise ProLabError(
            f"{where}: row {zero[0]} of the bank is zero and has no direction: "
            "drop that property or build the label space again"
        )
    empty = np.flatnonzero(~signatures.any(1))
    if len(empty):
        raise ProLabError(
            f"{where}: category {categories[empty[0]]!r} has no property: describe it with at "
            "least one sentence and build again, or drop the category with LabelSpace.subset()"
        )


def check_sentence_arrays(
    num_sentences: int,
    dim: int,
    embeddings: np.ndarray | None,
    property_of_description: np.ndarray | None,
    where: str,
) -> None:
    """One row of each per sentence, and embeddings as wide as the bank."""
    for what, array in (
        ("embeddings", embeddings),
        ("property_of_description", property_of_description),
    ):
        if array is not None and len(array) != num_sentences:
            raise ProLabError(
                f"{where}: {what} has {len(array)} rows for {num_sentences} descriptions: "
                "build the label space again after editing descriptions"
            )
    if embeddings is not None and embeddings.shape[1] != dim:
        raise ProLabError(
            f"{where}: embeddings have {embeddings.shape[1]} numbers, rows of the bank {dim}: "
            "use the same sentence encoder for both"
        )


def check_label_space(space: LabelSpace, where: str) -> None:
    """Everything that concerns a finished label space.

    Raises:
        ProLabError: the first thing that is wrong.
    """
    category_names(space.categories, where)
    if tuple(space.descriptions) != space.categories:
        raise ProLabError(
            f"{where}: the descriptions come in another order than the categories: "
            "put both in the order of the data set's ids"
        )
    number_array(space.bank, "bank", np.float32, 2, where)
    check_bank_and_signatures(space.categories, space.bank, space.signatures, where)
    if len(space.properties) != len(space.bank):
        raise ProLabError(
            f"{where}: {len(space.properties)} properties are named, but the bank has "
            f"{len(space.bank)} rows: give one property per row"
        )
    _check_properties(space, where)
    _check_members(space, where)
    try:
        json.dumps(space.provenance)
    except (TypeError, ValueError) as error:
        raise ProLabError(
            f"{where}: the provenance cannot be written as JSON ({error}): keep to text, numbers, "
            "lists and dicts"
        ) from error


def _check_properties(space: LabelSpace, where: str) -> None:
    names = [entry.name for entry in space.properties]
    for position, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise ProLabError(f"{where}: property {position} has no name: give it one")
    double = first_duplicate(names)
    if double is not None:
        raise ProLabError(f"{where}: two properties are called {double!r}: rename one of them")


def _check_members(space: LabelSpace, where: str) -> None:
    """Sentences, members and signatures must tell the same story."""
    assigned = space.property_of_description
    if assigned is None:
        _check_known(space, where)
        return
    lacking = np.flatnonzero(~space.signatures[space.category_of_description, assigned])
    if len(lacking):
        first = int(lacking[0])
        line = [line for lines in space.descriptions.values() for line in lines][first]
        raise ProLabError(
            f"{where}: {line!r} belongs to property {space.properties[assigned[first]].name!r}, "
            f"which the signature of {space.categories[space.category_of_description[first]]!r} "
            "lacks: build the label space again"
        )
    if _members_follow(space, assigned):
        return
    _check_known(space, where)
    expected = members_by_property(space.descriptions, assigned, len(space.properties))
    other = [
        e
        for e, members in zip(space.properties, expected, strict=True)
        if e.descriptions != members
    ]
    raise ProLabError(
        f"{where}: the members of property {other[0].name!r} are not the descriptions that "
        "property_of_description assigns to it: build the label space again"
    )


def _members_follow(space: LabelSpace, assigned: np.ndarray) -> bool:
    """Whether every property has the members that `property_of_description` gives it, in order.

    Without a tuple for each: so many new objects would have Python look for garbage.
    """
    counts = np.bincount(assigned, minlength=len(space.properties))
    if [len(entry.descriptions) for entry in space.properties] != counts.tolist():
        return False
    order = assigned.argsort(kind="stable")
    lines = [line for lines in space.descriptions.values() for line in lines]
    told = [line for entry in space.properties for _, line in entry.descriptions]
    if told != list(map(lines.__getitem__, order.tolist())):
        return False
    owners = [name for entry in space.properties for name, _ in entry.descriptions]
    return owners == [space.categories[i] for i in space.category_of_description[order].tolist()]


def _check_known(space: LabelSpace, where: str) -> None:
    """Every member must be a description."""
    known = {name: set(lines) for name, lines in space.descriptions.items()}
    for entry in space.properties:
        for category, line in entry.descriptions:
            if line not in known.get(category, ()):
                raise ProLabError(
                    f"{where}: property {entry.name!r} has the member {line!r}, which is no "
                    f"description of {category!r}: build the label space again after editing "
                    "descriptions"
                )


def check_property_weights(
    weights: np.ndarray, signatures: np.ndarray, categories: Sequence[str]
) -> None:
    """
    Raises:
        ProLabError: not (K,) numbers from 0, or a category has only properties of weight 0.
    """
    if weights.shape != signatures.shape[1:] or (weights < 0).any():
        raise ProLabError(
            f"property weights of shape {weights.shape} for {signatures.shape[1]} properties: give "
            "a number from 0 for each"
        )
    lost = ~(signatures & (weights > 0)).any(axis=1)
    if lost.any():
        raise ProLabError(
            f"property weights: all properties of {categories[int(lost.argmax())]!r} have the "
            "weight 0, so that no score could find it: keep one of them"
        )
