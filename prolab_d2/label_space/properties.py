"""Properties: clusters of descriptions, with a name and their members.

Shapes: K properties, M descriptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prolab_d2.errors import ProLabError

__all__ = ["Members", "Property", "make_properties", "members_by_property", "property_from_json"]

# (category, sentence), in the order of the label space.
Members = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Property:
    """A cluster of descriptions.

    `descriptions` holds its members as (category, sentence), in the order of the label space.
    """

    name: str
    descriptions: Members = ()


def members_by_property(
    descriptions: Mapping[str, Sequence[str]], property_of_description: np.ndarray, k: int
) -> list[Members]:
    """Members of every property, from sentences by category and the property (M,) of each."""
    pairs = [(name, line) for name, lines in descriptions.items() for line in lines]
    order = property_of_description.argsort(kind="stable").tolist()
    ordered = tuple([pairs[i] for i in order])
    ends = np.bincount(property_of_description, minlength=k).cumsum().tolist()
    return [ordered[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def make_properties(
    given: Sequence[Property | str] | None,
    descriptions: Mapping[str, Sequence[str]],
    property_of_description: np.ndarray | None,
    k: int,
    where: str,
) -> tuple[Property, ...]:
    """K properties; those of which only the name is given get members, where they are known.

    Args:
        given: properties or names; "property 0", ... when left out.
    Raises:
        ProLabError: not one for every row of the bank.
    """
    if given is None:
        given = [f"property {i}" for i in range(k)]
    if len(given) != k:
        raise ProLabError(
            f"{where}: {len(given)} properties are named, but the bank has {k} rows: "
            "give one property per row"
        )
    if all(isinstance(entry, Property) for entry in given):
        return tuple(given)
    members: list[Members] = [()] * k
    if property_of_description is not None:
        members = members_by_property(descriptions, property_of_description, k)
    return tuple(
        entry if isinstance(entry, Property) else Property(entry, own)
        for entry, own in zip(given, members, strict=True)
    )


def property_from_json(entry: Any, where: str) -> Property:
    """
    Raises:
        ProLabError: something else than {"name": ..., "members": [[category, sentence], ...]}.
    """
    try:
        pairs = tuple([(category, line) for category, line in entry["members"]])
        return Property(entry["name"], pairs)
    except (KeyError, TypeError, ValueError) as error:
        raise ProLabError(
            f"{where}: an entry of 'properties' is not of the form "
            '{"name": ..., "members": [[category, sentence], ...]}: restore or rebuild it'
        ) from error
