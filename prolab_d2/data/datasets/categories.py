"""The list of categories of a data set: its file, its metadata, and its label space.

Shapes: N categories.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from prolab_d2.colors import distinct_colors
from prolab_d2.data.reading import default_ignore_label, stuff_classes
from prolab_d2.errors import ProLabError
from prolab_d2.label_space.synonyms import plain_name

__all__ = [
    "BACKGROUND",
    "Categories",
    "check_categories",
    "match_categories",
    "named_categories",
    "read_categories",
]

# The lists of the public data sets, in the form of categories.txt.
_NAMES = Path(__file__).resolve().parent / "names"
# The category before those of the label space, where a background is evaluated.
BACKGROUND = "background"
FILE_NAMES = ("categories.txt", "categories.json")
_COLOR = re.compile(r"^#?([0-9a-fA-F]{6})$")
_NUMBERED = re.compile(r"^\d+\s*[:;,.\t]\s*\S")
_UNKNOWN = -1


class _HasCategories(Protocol):
    categories: Sequence[str]


@dataclass(frozen=True)
class Categories:
    """Names in the order of the ids, and how mask files write them.

    Attributes:
        names: N names.
        colors: N RGB colours, 0 to 255.
        ignore_label: id of pixels without a label.
        label_map: file id -> data-set id where they differ; -1 for ids that must not occur.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    ignore_label: int
    label_map: dict[int, int] = field(default_factory=dict)

    def metadata(self) -> dict[str, Any]:
        """The entries of Detectron2's metadata that follow from the categories."""
        return {
            "stuff_classes": list(self.names),
            "stuff_colors": [list(color) for color in self.colors],
            "ignore_label": self.ignore_label,
            "label_map": dict(self.label_map),
            "evaluator_type": "sem_seg",
        }


def read_categories(root: str | Path) -> Categories:
    """Reads categories.txt or categories.json of a data set folder.

    The text file has one name per line, in the order of the ids, each with an optional colour
    after it ("road  #804080"); lines that begin with "#" are comments. The JSON file is a list of
    names or of {"name", "color", "id"}, or {"categories": such a list, "ignore_label": 11,
    "label_map": {"11": 255}}. `id` is the value in the mask files; with ids, all other values are
    unknown. Unlabelled pixels are 255 (65535 above 255 categories) unless `ignore_label` says
    otherwise.

    Raises:
        ProLabError: no such file, or something in it cannot be used.
    """
    root = Path(root)
    found = [root / name for name in FILE_NAMES if (root / name).is_file()]
    if not found:
        raise ProLabError(
            f"no categories.txt or categories.json, {root}: write the names of the categories "
            "there, one per line, in the order of their ids"
        )
    if len(found) > 1:
        raise ProLabError(f"both {' and '.join(FILE_NAMES)}, {root}: keep one of them")
    path = found[0]
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ProLabError(
            f"unreadable list of categories ({error}), {path}: save it as UTF-8"
        ) from None
    return (_from_text if path.suffix == ".txt" else _from_json)(text, path)


def named_categories(name: str) -> Categories:
    """The categories of a public data set, from names/<name>.txt beside this module."""
    path = _NAMES / f"{name}.txt"
    return _from_text(path.read_text(encoding="utf-8"), path)


def _from_text(text: str, path: Path) -> Categories:
    lines = text.rstrip().splitlines()
    names: list[str] = []
    colors: list[str | None] = []
    for number, line in enumerate(lines, start=1):
        if line.lstrip().startswith("#"):
            continue
        if not line.strip():
            raise ProLabError(f"line {number} is empty, {path}: write a name there or remove it")
        name, _, color = line.strip().rpartition("#")
        if name and _COLOR.match(color) and name[-1].isspace():
            names.append(name.strip())
            colors.append(color)
        else:
            names.append(line.strip())
            colors.append(None)
    if names and all(map(_NUMBERED.match, names)):
        raise ProLabError(
            f"every line begins with a number ({names[0]!r}), {path}: write the names alone, in "
            "the order of the ids, or use categories.json with an id for each"
        )
    return _categories(names, colors, path)


def _from_json(text: str, path: Path) -> Categories:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ProLabError(f"no valid JSON ({error}), {path}: correct it") from None
    options = content if isinstance(content, dict) else {"categories": content}
    unknown = sorted(options.keys() - {"categories", "ignore_label", "label_map"})
    entries = options.get("categories")
    if unknown or not isinstance(entries, list):
        raise ProLabError(
            f"unexpected content ({', '.join(unknown) or 'no list of categories'}), {path}: give a "
            "list of names or of {name, color, id}, or {categories, ignore_label, label_map}"
        )
    entries = [{"name": entry} if isinstance(entry, str) else entry for entry in entries]
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ProLabError(
                f"category {number} has no name, {path}: give a name or {{name: ...}}"
            )
        extra = sorted(entry.keys() - {"name", "color", "id"})
        if extra:
            raise ProLabError(
                f"category {entry['name']!r} has unexpected keys {', '.join(extra)}, {path}: use "
                "name, color and id"
            )
    names = [entry["name"].strip() for entry in entries]
    ids = [entry.get("id") for entry in entries]
    ignore_label = options.get("ignore_label")
    label_map = options.get("label_map", {})
    try:
        ignore_label = None if ignore_label is None else int(ignore_label)
        label_map = {int(file_id): int(label) for file_id, label in label_map.items()}
    except (TypeError, ValueError, AttributeError):
        raise ProLabError(
            f"ignore_label or label_map is not made of whole numbers, {path}: write "
            '"ignore_label": 11 and "label_map": {"11": 255}'
        ) from None
    return _categories(
        names, [entry.get("color") for entry in entries], path, ids, ignore_label, label_map
    )


def _categories(
    names: list[str],
    colors: list[Any],
    path: Path,
    ids: list[Any] | None = None,
    ignore_label: int | None = None,
    label_map: dict[int, int] | None = None,
) -> Categories:
    if not names:
        raise ProLabError(f"no category, {path}: write one name per line")
    for index, name in enumerate(names):
        if not name:
            raise ProLabError(f"category {index} has an empty name, {path}: give it a name")
        if name in names[:index]:
            raise ProLabError(f"category {name!r} is there twice, {path}: make the names unique")
    label_map = dict(label_map or {})
    if ids and any(value is not None for value in ids):
        ids_map = _map_of_ids(ids, names, path)
        # Where the value of unlabelled pixels is also an index, it cannot stay what it is.
        if ignore_label is not None and ignore_label < len(names):
            ids_map[ignore_label] = default_ignore_label(len(names))
            ignore_label = None
        label_map = ids_map | label_map
    if ignore_label is None:
        ignore_label = default_ignore_label(len(names))
    allowed = {*range(len(names)), ignore_label, _UNKNOWN}
    bad = [f"{a} -> {b}" for a, b in label_map.items() if b not in allowed or not 0 <= a <= 65535]
    if bad or 0 <= ignore_label < len(names) or not 0 <= ignore_label <= 65535:
        what = f"label_map entry {bad[0]}" if bad else f"ignore_label {ignore_label}"
        raise ProLabError(
            f"{what} with {len(names)} categories, {path}: ids are 0..{len(names) - 1}, unlabelled "
            "pixels have another value up to 65535; give categories whose values differ an id"
        )
    return Categories(tuple(names), _colors(colors, names, path), ignore_label, label_map)


def _map_of_ids(ids: list[Any], names: list[str], path: Path) -> dict[int, int]:
    for name, value in zip(names, ids, strict=True):
        if type(value) is not int or not 0 <= value <= 65535 or ids.count(value) > 1:
            raise ProLabError(
                f"category {name!r} has the id {value}, {path}: give every category its own whole "
                "number from 0 to 65535, or none of them one"
            )
    label_map = {index: _UNKNOWN for index in range(len(ids))}
    label_map.update({value: index for index, value in enumerate(ids)})
    return {value: index for value, index in label_map.items() if value != index}


def _colors(given: list[Any], names: list[str], path: Path) -> tuple[tuple[int, int, int], ...]:
    # Choosing colours that lie far apart takes time, which lists with colours do not need.
    spare = distinct_colors(len(names)) if None in given else ()
    colors: list[tuple[int, int, int]] = []
    for index, value in enumerate(given):
        if value is None:
            colors.append(spare[index])
            continue
        if isinstance(value, str) and (match := _COLOR.match(value)):
            red, green, blue = bytes.fromhex(match.group(1))
        elif (
            isinstance(value, list)
            and len(value) == 3
            and all(type(part) is int and 0 <= part <= 255 for part in value)
        ):
            red, green, blue = value
        else:
            raise ProLabError(
                f"category {names[index]!r} has the colour {value!r}, {path}: write #RRGGBB or "
                "[red, green, blue] from 0 to 255"
            )
        colors.append((red, green, blue))
    return tuple(colors)


def match_categories(
    metadata: Any, label_space: _HasCategories, *, background: bool = False
) -> list[int]:
    """Where the categories of a data set stand in a label space.

    Upper and lower case and the number of spaces do not matter. With as many categories as the
    label space, the data set must have them in the same order; with fewer, in any.

    Args:
        metadata: Detectron2 metadata with `stuff_classes`.
        background: as for `check_categories`.
    Returns:
        For every category of the data set but the background its index in the label space.
    Raises:
        ProLabError: they differ (the first difference is named), or the data set has none.
    """
    name, names = metadata.get("name", ""), stuff_classes(metadata)
    expected = [plain_name(category) for category in label_space.categories]
    if len(names) - background >= len(expected):
        check_categories(metadata, label_space, background=background)
        return list(range(len(expected)))
    names = names[background:]
    unknown = [ours for ours in names if plain_name(ours) not in expected]
    if unknown:
        raise ProLabError(
            f"data set {name} has a category {unknown[0]!r}, which is not among the "
            f"{len(expected)} of the label space: use the label space of this data set, or one "
            "that has its categories and others (tools/build_label_space.py --merge)"
        )
    rows = [expected.index(plain_name(ours)) for ours in names]
    if len(set(rows)) < len(rows):
        raise ProLabError(
            f"data set {name} has a category twice, apart from upper and lower case: make the "
            "names unique"
        )
    return rows


def check_categories(
    metadata: Any, label_space: _HasCategories, *, background: bool = False
) -> None:
    """Makes sure that the categories of a data set are those of a label space, in this order.

    Upper and lower case and the number of spaces do not matter.

    Args:
        metadata: Detectron2 metadata with `stuff_classes`.
        background: the data set has a category "background" before them.
    Raises:
        ProLabError: they differ (the first difference is named), or the data set has none.
    """
    name, names = metadata.get("name", ""), stuff_classes(metadata)
    expected = label_space.categories
    has_background = names[0].lower() == BACKGROUND and expected[0].lower() != BACKGROUND
    if has_background != background:
        cure = (
            "set it to 0, or evaluate on a data set that has one"
            if background
            else "set it (0.107 is the published value), or use the label space of this data set"
        )
        raise ProLabError(
            f"data set {name} has {'a' if has_background else 'no'} category {BACKGROUND!r} in "
            "front of those of the label space, and TEST.BACKGROUND_THRESHOLD is "
            f"{'' if background else 'not '}set: {cure}"
        )
    names = names[background:]
    pairs = zip(names, expected, strict=False)
    for index, (ours, theirs) in enumerate(pairs, start=int(background)):
        if plain_name(ours) != plain_name(theirs):
            raise ProLabError(
                f"category {index} is {ours!r} in data set {name} and {theirs!r} in the label "
                "space: use the label space of this data set, or bring both into the same order"
            )
    if len(names) != len(expected):
        raise ProLabError(
            f"data set {name} has {len(names)} categories and the label space {len(expected)}: use "
            "the label space of this data set"
        )
