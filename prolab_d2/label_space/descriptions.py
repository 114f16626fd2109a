"""Descriptions: reading them from a file, and measuring how much they say.

The file is a JSON object {category: [sentence, ...]}, with the categories in the order of the data
set's ids.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prolab_d2.errors import ProLabError

__all__ = ["Descriptions", "Variety", "check_descriptions", "read_descriptions", "variety"]

Descriptions = dict[str, tuple[str, ...]]


def read_descriptions(path: str | os.PathLike[str]) -> Descriptions:
    """Sentences by category from a JSON file.

    Raises:
        ProLabError: the file is missing, no valid JSON, or a category in it has no sentence.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProLabError(
            f"cannot read the descriptions {path} ({error}): give a JSON file in UTF-8"
        ) from error
    try:
        data = json.loads(text, object_pairs_hook=_no_duplicates)
    except ValueError as error:
        raise ProLabError(f"{path} is not valid JSON ({error}): correct it there") from error
    return check_descriptions(data, str(path))


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # json.loads would keep the last of two equal keys and say nothing.
    for name, count in Counter(key for key, _ in pairs).items():
        if count > 1:
            raise ValueError(f"category {name!r} comes twice")
    return dict(pairs)


def check_descriptions(descriptions: Any, where: str = "descriptions") -> Descriptions:
    """The sentences with white space trimmed; every category must have at least one.

    Raises:
        ProLabError: anything else than {category: [sentence, ...]}.
    """
    if not isinstance(descriptions, Mapping) or not descriptions:
        raise ProLabError(
            f'{where}: a JSON object of the form {{"category": ["sentence", ...], ...}} is '
            "expected, with at least one category: write it that way"
        )
    result: Descriptions = {}
    for category, lines in descriptions.items():
        if not isinstance(category, str) or not category.strip():
            raise ProLabError(f"{where}: a category has no name: give it one")
        if isinstance(lines, str) or not isinstance(lines, Sequence):
            raise ProLabError(
                f"{where}: the descriptions of {category!r} must be a list of sentences: "
                "put them between [ and ]"
            )
        if not lines:
            raise ProLabError(
                f"{where}: category {category!r} has no description: add at least one sentence, "
                "or drop the category"
            )
        for line in lines:
            if not isinstance(line, str) or not line.strip():
                raise ProLabError(
                    f"{where}: category {category!r} has the description {line!r}: replace it "
                    "with a sentence"
                )
            if not _is_unicode(category + line):
                raise ProLabError(
                    f"{where}: category {category!r} has the description {line!r} with half a "
                    "character in it, which no file can hold: correct it"
                )
        result[category] = tuple(" ".join(line.split()) for line in lines)
        double = [line for line, n in Counter(map(str.lower, result[category])).items() if n > 1]
        if double:
            raise ProLabError(
                f"{where}: category {category!r} has the description {double[0]!r} twice: "
                "drop one of them"
            )
    return result


def _is_unicode(text: str) -> bool:
    """Whether it can be written; JSON may hold halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class Variety:
    """How much descriptions repeat themselves once the names of the categories are masked.

    Attributes:
        sentences: how many there are.
        distinct: share of different sentences among all.
        opening: the five words that most sentences begin with.
        opening_share: share of sentences that begin so.
    """

    sentences: int
    distinct: float
    opening: str
    opening_share: float


def variety(descriptions: Mapping[str, Sequence[str]]) -> Variety:
    """Tells written sentences from filled-in templates."""
    masked = [
        " ".join(re.findall(r"[\w'-]+", _mask(line.lower(), category.lower())))
        for category, lines in descriptions.items()
        for line in lines
    ]
    openings = Counter(" ".join(line.split()[:5]) for line in masked)
    opening, count = openings.most_common(1)[0]
    return Variety(
        sentences=len(masked),
        distinct=len(set(masked)) / len(masked),
        opening=opening,
        opening_share=count / len(masked),
    )


def _mask(line: str, category: str) -> str:
    """Replaces the category, and each of its words, also in the plural."""
    names = sorted({category.strip(), *category.split()}, key=len, reverse=True)
    pattern = "|".join(re.escape(name) for name in names if name)
    return re.sub(rf"\b(?:{pattern})(?:e?s)?\b", "category", line)
