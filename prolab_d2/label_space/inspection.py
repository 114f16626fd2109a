"""What a label space holds, as plain data for tables and pages.

Categories and properties go by their numbers: the rows and the columns of the signatures.

Shapes: N categories, K properties, D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prolab_d2.errors import ProLabError
from prolab_d2.label_space.clustering import unit_rows
from prolab_d2.label_space.label_space import LabelSpace
from prolab_d2.label_space.storage import LOGGED
from prolab_d2.label_space.validation import unknown_name

__all__ = [
    "CategoryOfProperty",
    "Change",
    "Difference",
    "Neighbour",
    "PropertyOfCategory",
    "SpaceDifference",
    "categories_of",
    "compare_spaces",
    "difference",
    "find_category",
    "find_property",
    "flat_provenance",
    "nearest_categories",
    "nearest_properties",
    "properties_of",
    "signature_distances",
    "unassigned_sentences",
]


@dataclass(frozen=True)
class PropertyOfCategory:
    """A property that a category has."""

    number: int
    sentences: tuple[str, ...]  # the category's own; none where the label space does not say
    others: tuple[int, ...]  # the other categories that have it


@dataclass(frozen=True)
class CategoryOfProperty:
    """A category that has a property."""

    number: int
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Neighbour:
    """Another category, or another property, and how far away it is."""

    number: int
    distance: float  # cosine distance: of signatures in [0, 1], of rows of the bank in [0, 2]
    shared: tuple[int, ...] = ()  # properties that both categories have


@dataclass(frozen=True)
class Difference:
    """Two categories, property by property."""

    distance: float
    shared: tuple[int, ...]
    only_first: tuple[int, ...]
    only_second: tuple[int, ...]


@dataclass(frozen=True)
class Change:
    """What a category that two label spaces have has lost and gained in the second."""

    category: str
    kept: int  # number of properties whose counterpart it has in the second
    lost: tuple[int, ...]  # properties of the first
    gained: tuple[int, ...]  # properties of the second
    sentences_lost: tuple[str, ...]
    sentences_gained: tuple[str, ...]

    @property
    def same(self) -> bool:
        return not (self.lost or self.gained or self.sentences_lost or self.sentences_gained)


@dataclass(frozen=True)
class SpaceDifference:
    """Two label spaces side by side.

    Attributes:
        same: the content is equal, whatever the provenance says.
        settings: entries of the provenance that differ, as (key, first, second); None: no entry.
        only_first, only_second: categories that the other one lacks.
        reordered: the common categories come in another order, so their ids mean something else.
        pairs: counterparts among the properties as (first, second, overlap), the most alike first.
            The overlap in (0, 1] is that of the sentences that both label spaces have
            (intersection over union). Without such sentences, properties of equal name are
            counterparts, of overlap 1. A property has one counterpart at most.
        new_first, new_second: properties without a counterpart.
        agreement: adjusted Rand index of the two groupings of common sentences, 1 when they are
            equal, about 0 when they are unrelated; None with less than two common sentences.
        changes: what became of every common category, the most changed first.
        moved: (category, category, distance before, distance after) of common categories, the
            pairs first whose distance of signatures has changed most; without those unchanged.
    """

    same: bool
    settings: tuple[tuple[str, Any, Any], ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    reordered: bool
    pairs: tuple[tuple[int, int, float], ...]
    new_first: tuple[int, ...]
    new_second: tuple[int, ...]
    agreement: float | None
    changes: tuple[Change, ...]
    moved: tuple[tuple[str, str, float, float], ...]


def find_category(space: LabelSpace, name: str) -> int:
    """The number of a category, by its name in any case, or by the number itself.

    Raises:
        ProLabError: there is none; the message tells close names.
    """
    return _find("category", "categories", space.categories, name)


def find_property(space: LabelSpace, name: str) -> int:
    """The number of a property, by its name in any case, a part of it, or the number itself.

    Raises:
        ProLabError: there is none, or several have the part; the message tells close names.
    """
    names = [entry.name for entry in space.properties]
    parts = [k for k, other in enumerate(names) if name.casefold() in other.casefold()]
    if len(parts) == 1 and not name.isdecimal():
        return parts[0]
    return _find("property", "properties", names, name)


def _find(what: str, plural: str, names: Sequence[str], wanted: str) -> int:
    if wanted in names:
        return names.index(wanted)
    folded = [name.casefold() for name in names]
    if folded.count(wanted.casefold()) == 1:
        return folded.index(wanted.casefold())
    if wanted.isascii() and wanted.isdecimal():
        # A number of very many digits is no int for Python, but surely too large.
        if len(wanted) < 10 and int(wanted) < len(names):
            return int(wanted)
        raise ProLabError(
            f"the label space has no {what} {wanted}: its {plural} are 0 to {len(names) - 1}"
        )
    raise unknown_name(what, wanted, names)


def properties_of(space: LabelSpace, category: int) -> tuple[PropertyOfCategory, ...]:
    """The properties of a category; first those that few others have, which set it apart."""
    name = space.categories[category]
    numbers = np.flatnonzero(space.signatures[category])
    sharers = space.signatures.sum(0)
    return tuple(
        PropertyOfCategory(
            int(k),
            _sentences(space, int(k), name),
            tuple(int(i) for i in np.flatnonzero(space.signatures[:, k]) if i != category),
        )
        for k in sorted(numbers, key=lambda k: sharers[k])
    )


def categories_of(space: LabelSpace, number: int) -> tuple[CategoryOfProperty, ...]:
    """The categories that have a property, in their own order."""
    return tuple(
        CategoryOfProperty(int(i), _sentences(space, number, space.categories[i]))
        for i in np.flatnonzero(space.signatures[:, number])
    )


def _sentences(space: LabelSpace, number: int, category: str) -> tuple[str, ...]:
    members = space.properties[number].descriptions
    return tuple(line for name, line in members if name == category)


def unassigned_sentences(space: LabelSpace, category: int) -> tuple[str, ...]:
    """Sentences of a category of which the label space does not say the property."""
    name = space.categories[category]
    assigned = {line for entry in space.properties for c, line in entry.descriptions if c == name}
    return tuple(line for line in space.descriptions[name] if line not in assigned)


def signature_distances(space: LabelSpace) -> np.ndarray:
    """(N, N) cosine distances between all signatures, in [0, 1]."""
    rows = space.signatures.astype(np.float32)
    sizes = space.signatures.sum(1)
    return _cosine_distance(rows @ rows.T, sizes[:, None], sizes)


def _cosine_distance(shared: Any, size: Any, other_size: Any) -> np.ndarray:
    """Of signatures with so many properties, and so many in common; exactly 0 for equal ones."""
    return np.maximum(0, 1 - np.asarray(shared, dtype=np.float64) / np.sqrt(size * other_size))


def nearest_categories(
    space: LabelSpace, category: int, count: int | None = None
) -> tuple[Neighbour, ...]:
    """The other categories by the cosine distance of their signatures, the nearest first."""
    rows = space.signatures
    shared = (rows & rows[category]).sum(1)
    distance = _cosine_distance(shared, rows.sum(1), rows[category].sum())
    order = [int(i) for i in distance.argsort(kind="stable") if i != category]
    return tuple(
        Neighbour(i, float(distance[i]), _numbers(rows[category] & rows[i])) for i in order[:count]
    )


def nearest_properties(
    space: LabelSpace, number: int, count: int | None = None
) -> tuple[Neighbour, ...]:
    """The other properties by the cosine distance of their rows of the bank."""
    bank = unit_rows(space.bank)
    distance = 1 - bank @ bank[number]
    order = [int(k) for k in distance.argsort(kind="stable") if k != number]
    return tuple(Neighbour(k, max(0.0, float(distance[k]))) for k in order[:count])


def difference(space: LabelSpace, first: int, second: int) -> Difference:
    a, b = space.signatures[first], space.signatures[second]
    distance = float(_cosine_distance((a & b).sum(), a.sum(), b.sum()))
    return Difference(distance, _numbers(a & b), _numbers(a & ~b), _numbers(b & ~a))


def _numbers(mask: np.ndarray) -> tuple[int, ...]:
    return tuple(np.flatnonzero(mask).tolist())


def flat_provenance(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance without dates and timings, with keys such as "clustering.method"."""
    flat: dict[str, Any] = {}
    for key, value in provenance.items():
        if key in LOGGED:
            continue
        if isinstance(value, Mapping) and value:
            flat.update({f"{key}.{inner}": v for inner, v in flat_provenance(value).items()})
        else:
            flat[key] = value
    return flat


def compare_spaces(first: LabelSpace, second: LabelSpace) -> SpaceDifference:
    """What differs between two label spaces; categories are the same when their names are."""
    before, after = flat_provenance(first.provenance), flat_provenance(second.provenance)
    shared = [name for name in first.categories if name in second.categories]
    table = _common_sentences(first, second)
    pairs = _counterparts(table) if table.any() else _namesakes(first, second)
    return SpaceDifference(
        same=first.hash == second.hash,
        settings=tuple(
            (key, before.get(key), after.get(key))
            for key in dict.fromkeys((*before, *after))
            if before.get(key) != after.get(key)
        ),
        only_first=tuple(name for name in first.categories if name not in second.categories),
        only_second=tuple(name for name in second.categories if name not in first.categories),
        reordered=shared != [name for name in second.categories if name in first.categories],
        pairs=pairs,
        new_first=tuple(sorted(set(range(first.num_properties)) - {i for i, _, _ in pairs})),
        new_second=tuple(sorted(set(range(second.num_properties)) - {j for _, j, _ in pairs})),
        agreement=_adjusted_rand_index(table),
        changes=_changes(first, second, shared, pairs),
        moved=_moved(first, second, shared),
    )


def _common_sentences(first: LabelSpace, second: LabelSpace) -> np.ndarray:
    """(K of the first, K of the second): how many (category, sentence) both have in which two."""
    table = np.zeros((first.num_properties, second.num_properties), dtype=np.int64)
    place = {pair: k for k, entry in enumerate(first.properties) for pair in entry.descriptions}
    seen = {pair: k for k, entry in enumerate(second.properties) for pair in entry.descriptions}
    for pair, k in seen.items():
        if pair in place:
            table[place[pair], k] += 1
    return table


def _counterparts(table: np.ndarray) -> tuple[tuple[int, int, float], ...]:
    """Pairs of rows and columns of large intersection over union, each used once."""
    union = table.sum(1, keepdims=True) + table.sum(0) - table
    overlap = table / np.maximum(union, 1)
    rows, columns = np.nonzero(overlap)
    order = (-overlap[rows, columns]).argsort(kind="stable")
    pairs: list[tuple[int, int, float]] = []
    used_rows: set[int] = set()
    used_columns: set[int] = set()
    for i, j in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if i not in used_rows and j not in used_columns:
            used_rows.add(i)
            used_columns.add(j)
            pairs.append((i, j, float(overlap[i, j])))
    return tuple(pairs)


def _namesakes(first: LabelSpace, second: LabelSpace) -> tuple[tuple[int, int, float], ...]:
    numbers = {entry.name: j for j, entry in enumerate(second.properties)}
    return tuple(
        (i, numbers[entry.name], 1.0)
        for i, entry in enumerate(first.properties)
        if entry.name in numbers
    )


def _adjusted_rand_index(table: np.ndarray) -> float | None:
    """Of the two groupings whose contingency table this is (Hubert and Arabie 1985)."""

    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1) / 2).sum())

    total = pairs(table.sum())
    if total == 0:
        return None
    both, rows, columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    expected = rows * columns / total
    largest = (rows + columns) / 2
    # All in one group, or each on its own, in both: there is but one such grouping.
    return 1.0 if largest == expected else (both - expected) / (largest - expected)


def _changes(
    first: LabelSpace,
    second: LabelSpace,
    names: Sequence[str],
    pairs: Sequence[tuple[int, int, float]],
) -> tuple[Change, ...]:
    counterpart = {i: j for i, j, _ in pairs}
    changes = []
    for name in names:
        old = first.signatures[first.categories.index(name)]
        new = set(_numbers(second.signatures[second.categories.index(name)]))
        kept = {i: counterpart[i] for i in _numbers(old) if counterpart.get(i) in new}
        before, after = first.descriptions[name], second.descriptions[name]
        changes.append(
            Change(
                name,
                len(kept),
                tuple(i for i in _numbers(old) if i not in kept),
                tuple(sorted(new - set(kept.values()))),
                tuple(line for line in before if line not in after),
                tuple(line for line in after if line not in before),
            )
        )
    return tuple(sorted(changes, key=lambda c: c.kept / (c.kept + len(c.lost) + len(c.gained))))


def _moved(
    first: LabelSpace, second: LabelSpace, names: Sequence[str]
) -> tuple[tuple[str, str, float, float], ...]:
    def distances(space: LabelSpace) -> np.ndarray:
        rows = [space.categories.index(name) for name in names]
        return signature_distances(space)[np.ix_(rows, rows)]

    before, after = distances(first), distances(second)
    change = np.triu(np.abs(after - before))
    rows, columns = np.nonzero(change > 1e-9)
    order = (-change[rows, columns]).argsort(kind="stable")
    return tuple(
        (names[i], names[j], float(before[i, j]), float(after[i, j]))
        for i, j in zip(rows[order].tolist(), columns[order].tolist(), strict=True)
    )
