"""A part of a label space: some of its categories, and at will the properties of these alone.

Used through `LabelSpace.subset`.

Shapes: N categories, K properties, M descriptions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from prolab_d2.label_space.label_space import LabelSpace
from prolab_d2.label_space.validation import unknown_name

__all__ = ["subset"]


def subset(space: LabelSpace, names: Iterable[str], *, drop_unused: bool = False) -> LabelSpace:
    """See `LabelSpace.subset`."""
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in space.categories:
            raise unknown_name("category", str(name), space.categories)
    rows = [space.categories.index(name) for name in names]
    signatures = space.signatures[rows]
    columns = np.flatnonzero(signatures.any(0)) if drop_unused else np.arange(len(space.bank))
    new_number = np.full(len(space.bank), -1, dtype=np.int32)
    new_number[columns] = np.arange(len(columns))
    lines = [row for i in rows for row in np.flatnonzero(space.category_of_description == i)]
    embeddings, assigned = space.embeddings, space.property_of_description
    weights, offsets = space.property_weights, space.category_offsets
    position = {name: i for i, name in enumerate(names)}
    properties = []
    for entry in (space.properties[column] for column in columns):
        members = (pair for pair in entry.descriptions if pair[0] in position)
        members = tuple(sorted(members, key=lambda pair: position[pair[0]]))
        properties.append(replace(entry, descriptions=members))
    return LabelSpace.from_arrays(
        names,
        space.bank[columns],
        signatures[:, columns],
        properties,
        {name: space.descriptions[name] for name in names},
        {**space.provenance, "subset_of": space.hash},
        embeddings=embeddings[lines] if embeddings is not None and lines else None,
        property_of_description=None if assigned is None else new_number[assigned[lines]],
        property_weights=None if weights is None else weights[columns],
        category_offsets=None if offsets is None else offsets[rows],
        where="subset",
    )
