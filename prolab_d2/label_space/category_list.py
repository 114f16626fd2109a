"""Lists of categories to be described, each with an optional hint."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["CategoryEntry", "read_category_list", "shipped_category_lists"]


@dataclass(frozen=True)
class CategoryEntry:
    """A category, and what is meant by it where the name alone could mean two things."""

    name: str
    hint: str = ""


def read_category_list(source: str | os.PathLike[str]) -> tuple[CategoryEntry, ...]:
    """The categories of a file, a data set folder or a name of `shipped_category_lists`."""
    raise NotImplementedError


def shipped_category_lists() -> list[str]:
    """Names that `read_category_list` knows without a file."""
    raise NotImplementedError
