"""What `inspection` finds out about a label space, as text for a terminal."""

from __future__ import annotations

import itertools
import shutil
import textwrap
import unicodedata
from collections.abc import Sequence

from prolab_d2.errors import ProLabError
from prolab_d2.label_space.inspection import (
    Change,
    SpaceDifference,
    categories_of,
    compare_spaces,
    difference,
    flat_provenance,
    nearest_categories,
    nearest_properties,
    properties_of,
    unassigned_sentences,
)
from prolab_d2.label_space.label_space import LabelSpace
from prolab_d2.label_space.report import summarize

__all__ = [
    "category_text",
    "comparison_text",
    "difference_text",
    "nearest_text",
    "overview_text",
    "printable",
    "property_text",
]

# Of columns, in characters. Narrower ones are hard to read.
_MIN_WIDTH = 14
_NEAREST_PROPERTIES = 5
_MADE_WITH = ("llm", "encoder", "pooling", "clustering.method", "seed")

# A tuple or list: one line each, or more where it is long.
Cell = str | int | float | None | Sequence[str]


def overview_text(space: LabelSpace, title: str, limit: int = 0) -> str:
    """Figures, all categories with the nearest one, and the properties that most of them share.

    Args:
        limit: rows of a table, 0 for all; the same below.
    """
    settings = flat_provenance(space.provenance)
    made = [f"{key} {settings[key]}" for key in _MADE_WITH if settings.get(key) is not None]
    head = [f"{title}, hash {space.hash[:12]}", *str(summarize(space)).split("\n")]
    if made:
        head.append("made with " + ", ".join(made))
    sharers = space.signatures.sum(0)
    categories: list[list[Cell]] = []
    for i, name in enumerate(space.categories):
        row = space.signatures[i]
        (nearest,) = nearest_categories(space, i, 1) or [None]
        categories.append(
            [
                i,
                name,
                len(space.descriptions[name]),
                int(row.sum()),
                int((row & (sharers == 1)).sum()),
                nearest and space.categories[nearest.number],
                nearest and nearest.distance,
            ]
        )
    properties: list[list[Cell]] = [
        [int(k), space.properties[k].name, len(space.properties[k].descriptions), int(sharers[k])]
        for k in (-sharers).argsort(kind="stable")
    ]
    return _paragraphs(
        "\n".join(map(printable, head)),
        _table(
            ["id", "category", "sentences", "properties", "of its own", "nearest", "distance"],
            categories,
            limit,
        ),
        _table(["no", "property", "sentences", "categories"], properties, limit),
    )


def category_text(space: LabelSpace, category: int) -> str:
    """A category's properties with its sentences and the other categories that have them."""
    name = space.categories[category]
    rows: list[list[Cell]] = [
        [
            entry.number,
            space.properties[entry.number].name,
            entry.sentences,
            ", ".join(space.categories[i] for i in entry.others) or "(no other)",
        ]
        for entry in properties_of(space, category)
    ]
    return _paragraphs(
        f"{printable(name)}: category {category}, "
        f"{_count(len(space.descriptions[name]), 'sentence')}, {_count(len(rows), 'property')}, "
        "those of few categories first",
        _table(["no", "property", "sentences", "also of"], rows),
        _list("sentences whose property is not recorded", unassigned_sentences(space, category)),
    )


def property_text(space: LabelSpace, number: int) -> str:
    """A property's categories with their sentences, and the properties of nearest meaning."""
    entry = space.properties[number]
    rows: list[list[Cell]] = [
        [member.number, space.categories[member.number], member.sentences]
        for member in categories_of(space, number)
    ]
    near: list[list[Cell]] = [
        [other.number, space.properties[other.number].name, other.distance]
        for other in nearest_properties(space, number, _NEAREST_PROPERTIES)
    ]
    return _paragraphs(
        f"{printable(entry.name)}: property {number}, "
        f"{_count(len(entry.descriptions), 'sentence')}, {_count(len(rows), 'category')}",
        _table(["id", "category", "sentences"], rows),
        _table(["no", "nearest properties", "distance in the bank"], near),
    )


def nearest_text(space: LabelSpace, category: int, limit: int = 0) -> str:
    """The other categories, the nearest first, with what they share."""
    rows: list[list[Cell]] = [
        [
            other.number,
            space.categories[other.number],
            other.distance,
            [space.properties[k].name for k in other.shared] or "(nothing)",
        ]
        for other in nearest_categories(space, category)
    ]
    return _paragraphs(
        f"nearest to {printable(space.categories[category])}",
        _table(["id", "category", "distance", "shared properties"], rows, limit)
        or "there is no other category",
    )


def difference_text(space: LabelSpace, first: int, second: int) -> str:
    """The properties of two categories, with their sentences: of both, of one, of the other.

    Raises:
        ProLabError: both are the same.
    """
    if first == second:
        raise ProLabError(
            f"{space.categories[first]!r} differs in nothing from itself: name two categories"
        )
    result = difference(space, first, second)
    lines = [
        {entry.number: entry.sentences for entry in properties_of(space, category)}
        for category in (first, second)
    ]
    names = [printable(space.categories[category]) for category in (first, second)]

    def table(header: str, numbers: Sequence[int], *own: dict[int, tuple[str, ...]]) -> str:
        columns = names if len(own) == 2 else ["sentences"]
        rows = [[k, space.properties[k].name, *(part[k] for part in own)] for k in numbers]
        return _table(["no", f"{header} ({len(numbers)})", *columns], rows)

    return _paragraphs(
        f"{names[0]} and {names[1]}: distance {result.distance:.3f}",
        table("both", result.shared, *lines),
        table(f"only {names[0]}", result.only_first, lines[0]),
        table(f"only {names[1]}", result.only_second, lines[1]),
    )


def comparison_text(
    first: LabelSpace, second: LabelSpace, titles: tuple[str, str], limit: int = 0
) -> str:
    """What differs between two label spaces."""
    result = compare_spaces(first, second)
    titles = (printable(titles[0]), printable(titles[1]))
    settings: list[list[Cell]] = [
        [key, *("" if value is None else str(value) for value in values)]
        for key, *values in result.settings
    ]
    if result.same:
        return _paragraphs(
            f"{titles[0]} and {titles[1]} have the same content",
            _table(["provenance", *titles], settings),
        )
    names = [[entry.name for entry in space.properties] for space in (first, second)]
    parts = [
        _table(["", *titles], _figures(first, second)),
        _table(["provenance", *titles], settings),
        _list(f"categories of {titles[0]} only", result.only_first, limit),
        _list(f"categories of {titles[1]} only", result.only_second, limit),
    ]
    if result.reordered:
        parts.append("the common categories come in another order: their ids differ")
    parts += [
        _agreement(result),
        *(
            _list(
                f"properties of {title} without a counterpart",
                [f"{k}  {names[side][k]}" for k in numbers],
                limit,
            )
            for side, (title, numbers) in enumerate(
                zip(titles, (result.new_first, result.new_second), strict=True)
            )
        ),
        _table(
            ["category", "kept", "properties lost", "properties gained"],
            [[c.category, c.kept, *_named(c, names)] for c in result.changes if c.lost or c.gained],
            limit,
        ),
        _table(
            ["category", "sentences lost", "sentences gained"],
            [
                [c.category, c.sentences_lost, c.sentences_gained]
                for c in result.changes
                if c.sentences_lost or c.sentences_gained
            ],
            limit,
        ),
        _table(
            ["distance between", "and", *titles],
            [list(pair) for pair in result.moved],
            limit,
        ),
    ]
    return _paragraphs(*parts)


def _figures(first: LabelSpace, second: LabelSpace) -> list[list[Cell]]:
    figures = (
        ("categories", "{0.categories}"),
        ("sentences", "{0.sentences}"),
        ("properties", "{0.properties}"),
        ("properties per category", "{0.properties_per_category:.2f}"),
        ("categories per property", "{0.categories_per_property:.2f}"),
        ("smallest distance", "{0.closest_distance:.3f}"),
    )
    summaries = [summarize(first), summarize(second)]
    return [
        *([what, *(form.format(summary) for summary in summaries)] for what, form in figures),
        ["hash", first.hash[:12], second.hash[:12]],
    ]


def _agreement(result: SpaceDifference) -> str:
    equal = sum(overlap == 1 for _, _, overlap in result.pairs)
    by = "names" if result.agreement is None else "sentences"
    text = f"properties with a counterpart: {len(result.pairs)}, {equal} of them with the same {by}"
    if result.agreement is not None:
        text += f"; the groupings of common sentences agree by {result.agreement:.3f} (ARI)"
    return text


def _named(change: Change, names: Sequence[Sequence[str]]) -> list[Cell]:
    return [
        [names[side][k] for k in numbers]
        for side, numbers in enumerate((change.lost, change.gained))
    ]


def printable(text: str) -> str:
    """The text on one line, without anything that would steer a terminal."""
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)


def _count(number: int, what: str) -> str:
    plural = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{number} {what if number == 1 else plural}"


def _paragraphs(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _list(title: str, items: Sequence[str], limit: int = 0) -> str:
    """A heading and one line for each; nothing without items."""
    if not items:
        return ""
    shown = items[: limit or None]
    lines = [f"{title} ({len(items)}):", *(f"  {printable(item)}" for item in shown)]
    return "\n".join(lines) + _rest(len(items), len(shown))


def _rest(number: int, shown: int) -> str:
    return f"\n({shown} of {number}, --limit 0 for all)" if shown < number else ""


def _table(header: Sequence[str], rows: Sequence[Sequence[Cell]], limit: int = 0) -> str:
    """Columns that fit the terminal, long cells on several lines; nothing without rows."""
    if not rows:
        return ""
    shown = rows[: limit or None]
    cells = [[_lines(cell) for cell in row] for row in shown]
    widths = [
        max(_width(line) for line in (title, *(line for row in cells for line in row[column])))
        for column, title in enumerate(header)
    ]
    room = max(60, shutil.get_terminal_size((100, 24)).columns) - 2 * (len(header) - 1)
    while sum(widths) > room and max(widths) > _MIN_WIDTH:
        widths[widths.index(max(widths))] -= 1
    numeric = [
        all(isinstance(row[column], int | float | None) for row in shown)
        for column in range(len(header))
    ]
    lines = []
    for row in ([[title] for title in header], [["-" * width] for width in widths], *cells):
        parts = [
            [part for line in cell for part in textwrap.wrap(line, width) or [""]]
            for cell, width in zip(row, widths, strict=True)
        ]
        for line in itertools.zip_longest(*parts, fillvalue=""):
            aligned = (
                " " * (width - _width(part)) + part
                if right
                else part + " " * (width - _width(part))
                for part, width, right in zip(line, widths, numeric, strict=True)
            )
            lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines) + _rest(len(rows), len(shown))


def _width(text: str) -> int:
    """Columns of the terminal: two for a Chinese character, none for an accent of its own."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _lines(cell: Cell) -> list[str]:
    if cell is None:
        return [""]
    if isinstance(cell, float):
        return [f"{cell:.3f}"]
    if isinstance(cell, int | str):
        return [printable(str(cell))]
    return [printable(line) for line in cell]
