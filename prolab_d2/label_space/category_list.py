"""Lists of categories to be described, each with an optional hint."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prolab_d2.errors import ProLabError
from prolab_d2.label_space.storage import (
    find_folder,
    is_label_space,
    read_folder,
    shipped_label_spaces,
)

__all__ = ["CategoryEntry", "check_entries", "read_category_list", "shipped_category_lists"]

# The lists of the data sets, in the form of categories.txt.
_NAMES = Path(__file__).resolve().parent.parent / "data/datasets/names"
_FILES_OF_FOLDER = ("categories.txt", "categories.json")
_COLOR = re.compile(r"\s+#[0-9a-fA-F]{6}$")
_NUMBERED = re.compile(r"\d+\s*[:;,.\t]\s*\S")


@dataclass(frozen=True)
class CategoryEntry:
    """A category, and what is meant by it where the name alone could mean two things."""

    name: str
    hint: str = ""


def read_category_list(source: str | os.PathLike[str]) -> tuple[CategoryEntry, ...]:
    """The categories of a file, a folder or a data set that is known by name.

    A text file has one category per line, in the order of the ids: "crane", or with a hint "crane:
    machine, not the bird". Lines that begin with "#" are comments, and a colour at the end of a
    line ("road  #804080"), as in a data set's categories.txt, is left out. A JSON file is a list
    of names or of {"name", "hint"}, or an object with such a list under "categories".

    Args:
        source: a text or JSON file, the folder of a data set or of a label space, or one of
            `shipped_category_lists`.
    Raises:
        ProLabError: it cannot be found or read, or a category in it cannot be used.
    """
    text = os.fspath(source)
    path = Path(text).expanduser()
    # A name without a folder means the data set, whatever lies in the current folder.
    if text in shipped_category_lists():
        path = _NAMES / f"{text}.txt"
        if not path.is_file():
            path = find_folder(text)
    if not text or not path.exists():
        raise ProLabError(
            f"there is no list of categories {text!r}: give a text file with one category per "
            f"line, a data set folder, or one of {', '.join(shipped_category_lists())}"
        )
    if is_label_space(path):
        document, _, _ = read_folder(path)
        return check_entries([CategoryEntry(name) for name in document["categories"]], str(path))
    if path.is_dir():
        files = [path / name for name in _FILES_OF_FOLDER if (path / name).is_file()]
        if len(files) != 1:
            raise ProLabError(
                f"{path} holds {'both' if files else 'neither'} categories.txt and "
                "categories.json: give a file with one category per line"
            )
        path = files[0]
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ProLabError(
            f"cannot read the list of categories {path} ({error}): save it as a text file in UTF-8"
        ) from error
    entries = _from_json(content, path) if path.suffix == ".json" else _from_text(content, path)
    return check_entries(entries, str(path))


def shipped_category_lists() -> list[str]:
    """Names that `read_category_list` knows without a file."""
    return sorted({*shipped_label_spaces(), *(path.stem for path in _NAMES.glob("*.txt"))})


def check_entries(
    entries: Sequence[CategoryEntry], where: str = "list of categories"
) -> tuple[CategoryEntry, ...]:
    """The entries with white space, line breaks included, made single spaces.

    Raises:
        ProLabError: there are none, a name is empty or holds control characters, or two are the
            same apart from case.
    """
    result: dict[str, CategoryEntry] = {}
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry.name, str) or not isinstance(entry.hint, str):
            raise ProLabError(
                f"{where}: category {number} is {entry.name!r}, which is no text: write a name"
            )
        name, hint = " ".join(entry.name.split()), " ".join(entry.hint.split())
        if not any(map(str.isalnum, name)):
            raise ProLabError(
                f"{where}: category {number} has the name {name!r}, without a letter: give it one "
                "that can be described"
            )
        if any(unicodedata.category(char) in ("Cc", "Cs") for char in name + hint):
            raise ProLabError(
                f"{where}: category {number}, {name!r}, holds control characters: remove them"
            )
        double = result.get(name.casefold())
        if double is not None:
            raise ProLabError(
                f"{where}: category {number}, {name!r}, is there already as {double.name!r}: "
                "rename or drop one of them"
            )
        result[name.casefold()] = CategoryEntry(name, hint)
    if not result:
        raise ProLabError(f"{where}: there is no category: write one per line")
    return tuple(result.values())


def _from_text(content: str, path: Path) -> list[CategoryEntry]:
    lines = [line.strip() for line in content.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if len(lines) > 1 and all(map(_NUMBERED.match, lines)):
        raise ProLabError(
            f"{path}: every line begins with a number ({lines[0]!r}): write the names alone, in "
            "the order of the ids"
        )
    entries = []
    for line in lines:
        name, _, hint = re.sub(_COLOR, "", line).partition(": ")
        entries.append(CategoryEntry(name, hint))
    return entries


def _from_json(content: str, path: Path) -> list[CategoryEntry]:
    try:
        data = json.loads(content)
    except ValueError as error:
        raise ProLabError(f"{path} is not valid JSON ({error}): correct it there") from error
    if isinstance(data, dict):
        data = data.get("categories")
    if not isinstance(data, list):
        raise ProLabError(
            f'{path}: a list of names or of {{"name": ..., "hint": ...}} is expected, or an object '
            'with such a list under "categories": write it that way'
        )
    return [_entry(item, number, path) for number, item in enumerate(data, start=1)]


def _entry(item: Any, number: int, path: Path) -> CategoryEntry:
    if isinstance(item, dict) and "name" in item:
        return CategoryEntry(item["name"], item.get("hint", ""))
    if isinstance(item, str):
        return CategoryEntry(item)
    raise ProLabError(
        f'{path}: category {number} is {item!r}: write a name, or {{"name": ..., "hint": ...}}'
    )
