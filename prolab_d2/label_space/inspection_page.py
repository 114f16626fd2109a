"""A label space as one HTML page that needs nothing else: no network, no server, no library.

The page is made of the files in `page/`. All text of the label space goes into it as JSON, in a
script element of a type that no browser runs; the page shows it as text alone. A content security
policy that names the page's own script and style by their hashes lets nothing else run or load.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from prolab_d2.files import atomic_path
from prolab_d2.label_space.clustering import unit_rows
from prolab_d2.label_space.inspection import flat_provenance, signature_distances
from prolab_d2.label_space.label_space import LabelSpace
from prolab_d2.label_space.layout import neighbour_map, similarity_order
from prolab_d2.label_space.quality import closest_pairs
from prolab_d2.label_space.report import summarize
from prolab_d2.markup import escape, integrity

__all__ = ["page_data", "render_page", "write_page"]

_FOLDER = Path(__file__).resolve().parent / "page"
_NEAREST = 8
_ALIKE = 12


def page_data(space: LabelSpace) -> dict[str, Any]:
    """What the page shows, as JSON data; categories and properties go by their numbers.

    Returns:
        categories, properties: names.
        signatures: numbers of properties by category.
        sentences: by category, (sentence, number of its property; -1 where that is not known).
        categoryOrder, propertyOrder: the numbers, like ones side by side.
        map: (x, y) in [0, 1000] by property.
        nearest: by property, its nearest ones as (number, cosine distance times 1000).
        alike: the categories most alike, as (number, number).
        figures, provenance: (what, value), both text.
    """
    bank = unit_rows(space.bank)
    likeness = bank @ bank.T
    return {
        "categories": list(space.categories),
        "properties": [entry.name for entry in space.properties],
        "signatures": [row.nonzero()[0].tolist() for row in space.signatures],
        "sentences": _sentences(space),
        "categoryOrder": similarity_order(1 - signature_distances(space)).tolist(),
        "propertyOrder": similarity_order(likeness).tolist(),
        "map": (neighbour_map(bank) * 1000).round().astype(int).tolist(),
        "nearest": _nearest(likeness),
        "alike": [pair[:2] for pair in closest_pairs(space.signatures, _ALIKE) if pair[2] < 1],
        "figures": _figures(space),
        "provenance": [
            (key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            for key, value in flat_provenance(space.provenance).items()
            if value is not None
        ],
    }


def _sentences(space: LabelSpace) -> list[list[tuple[str, int]]]:
    number = {pair: k for k, entry in enumerate(space.properties) for pair in entry.descriptions}
    return [
        [(line, number.get((name, line), -1)) for line in lines]
        for name, lines in space.descriptions.items()
    ]


def _nearest(likeness: np.ndarray) -> list[list[tuple[int, int]]]:
    """By row, the rows most like it and the distance in thousandths."""
    others = likeness.copy()
    np.fill_diagonal(others, -np.inf)
    order = (-others).argsort(1, kind="stable")[:, : min(_NEAREST, len(others) - 1)]
    distance = (1 - np.take_along_axis(likeness, order, 1)) * 1000
    return [
        list(zip(numbers, values, strict=True))
        for numbers, values in zip(
            order.tolist(), distance.clip(0).round().astype(int).tolist(), strict=True
        )
    ]


def _figures(space: LabelSpace) -> list[tuple[str, str]]:
    summary = summarize(space)
    figures = [
        ("categories", f"{summary.categories:,}"),
        ("properties", f"{summary.properties:,}, {summary.shared_properties:,} of them shared"),
        ("sentences", f"{summary.sentences:,}"),
        (
            "properties per category",
            f"{summary.properties_per_category:.2f} "
            f"({summary.fewest_properties} to {summary.most_properties}), "
            f"{summary.shared_per_category:.2f} shared",
        ),
        ("categories per property", f"{summary.categories_per_property:.2f}"),
        ("embedding", f"{space.embedding_dim} numbers"),
        ("hash", space.hash[:12]),
    ]
    if summary.confused:
        groups = "; ".join(" = ".join(group) for group in summary.confused)
        figures.append(("cannot be told apart", groups))
    return figures


def render_page(space: LabelSpace, title: str) -> str:
    """The whole page; `title` is what it calls the label space."""
    parts = {name: _read(name) for name in ("page.html", "page.css", "page.js")}
    # Nothing in it may end the script element or open a comment in it.
    data = json.dumps(page_data(space), separators=(",", ":"))
    data = data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    script, style = integrity(parts["page.js"]), integrity(parts["page.css"])
    values = {
        "title": escape(title),
        "style": parts["page.css"],
        "script": parts["page.js"],
        "data": data,
        "policy": f"default-src 'none'; script-src '{script}'; style-src '{style}'; "
        "base-uri 'none'; form-action 'none'",
    }
    # In one pass: braces inside a value stay what they are.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], parts["page.html"])


def write_page(space: LabelSpace, path: str | os.PathLike[str], title: str) -> None:
    """Writes the page to a file.

    Raises:
        ProLabError: it cannot be written.
    """
    page = render_page(space, title)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
