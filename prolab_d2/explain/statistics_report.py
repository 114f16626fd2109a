"""What the statistics of a data set say, as JSON data and as Markdown."""

from __future__ import annotations

from typing import Any

import numpy as np

from prolab_d2.explain.blame import blame_properties
from prolab_d2.explain.statistics import ExplanationStatistics

__all__ = ["report_data", "report_markdown"]

# A property of a signature is seen if at least half of the category's pixels show it, never if
# fewer than one in a hundred does.
OFTEN, NEVER = 0.5, 0.01
MOST_CONFUSIONS, MOST_BLAMED = 20, 6


def report_data(statistics: ExplanationStatistics) -> dict[str, Any]:
    """Everything in the report, as JSON data.

    Shares of pixels are in [0, 1], and None where a category has no pixel. Returns:
        pixels: predicted and labelled ones.
        categories: by category its pixels; the properties of its signature with the share of the
            pixels predicted (and labelled) as this category that show them, their sentences, and
            "seen", "sometimes" or "never"; unexpected ones that at least half of the pixels show.
        never_seen: (category, property, sentences) of all that are never seen where the category
            is predicted, nor where it is labelled.
        confusions: the pairs with most pixels, and the properties to blame.
    """
    space = statistics.label_space
    predicted = _shares(statistics.active_predicted, statistics.predicted)
    labelled = _shares(statistics.active_labelled, statistics.labelled)
    categories = []
    for j, name in enumerate(space.categories):
        own = np.flatnonzero(space.signatures[j])
        properties = [_property(statistics, j, k, predicted, labelled) for k in own.tolist()]
        others = np.flatnonzero(~space.signatures[j] & (np.nan_to_num(predicted[j]) >= OFTEN))
        categories.append(
            {
                "name": name,
                "predicted_pixels": int(statistics.predicted[j]),
                "labelled_pixels": int(statistics.labelled[j]),
                "properties": properties,
                "unexpected": [
                    {"name": space.properties[k].name, "share_of_predicted": float(predicted[j, k])}
                    for k in others[np.argsort(-predicted[j, others], kind="stable")].tolist()
                ],
            }
        )
    return {
        "pixels": {
            "predicted": int(statistics.predicted.sum()),
            "labelled": int(statistics.labelled.sum()),
        },
        "categories": categories,
        "never_seen": [
            {"category": entry["name"], "property": item["name"], "sentences": item["sentences"]}
            for entry in categories
            for item in entry["properties"]
            if item["verdict"] == "never"
        ],
        "confusions": _confusions(statistics),
    }


def _shares(active: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return active / np.where(pixels > 0, pixels, np.nan)[:, None]


def _property(
    statistics: ExplanationStatistics, j: int, k: int, predicted: np.ndarray, labelled: np.ndarray
) -> dict[str, Any]:
    space = statistics.label_space
    entry = space.properties[k]
    known = [share for share in (predicted[j, k], labelled[j, k]) if not np.isnan(share)]
    if not known:
        verdict = None
    elif max(known) < NEVER:
        verdict = "never"
    else:
        verdict = "seen" if max(known) >= OFTEN else "sometimes"
    return {
        "name": entry.name,
        "sentences": [text for name, text in entry.descriptions if name == space.categories[j]],
        "share_of_predicted": _number(predicted[j, k]),
        "share_of_labelled": _number(labelled[j, k]),
        "verdict": verdict,
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _confusions(statistics: ExplanationStatistics) -> list[dict[str, Any]]:
    space, confusion = statistics.label_space, statistics.confusion
    ranked = sorted(statistics.pairs.items(), key=lambda item: (-item[1][0], item[0]))
    result = []
    for (a, b), (count, total) in ranked[:MOST_CONFUSIONS]:
        blames = blame_properties(total / count, space, a, b)
        result.append(
            {
                "category": space.categories[a],
                "taken_for": space.categories[b],
                "pixels": int(confusion[a, b]),
                "share_of_category": float(confusion[a, b] / statistics.labelled[a]),
                "lead_lost": float(sum(item.blame for item in blames)),
                "to_blame": [
                    {"name": item.name, "kind": item.kind, "blame": item.blame}
                    for item in blames[:MOST_BLAMED]
                    if item.blame > 0
                ],
            }
        )
    return result


def report_markdown(data: dict[str, Any], title: str) -> str:
    """The report for reading; `data` as `report_data` gives it."""
    lines = [f"# {_cell(title)}", ""]
    pixels = data["pixels"]
    lines += [
        f"{pixels['predicted']:,} cells of the low-resolution maps, {pixels['labelled']:,} of them "
        "with a label. A property is active from half of the strongest activation of a cell on. "
        "Training shows every pixel of a category all of its properties: active says that the "
        "network has learnt them there, not that each can be seen there.",
        "",
        "## Descriptions that are never seen",
        "",
    ]
    rows = [
        (item["category"], item["property"], "; ".join(item["sentences"]))
        for item in data["never_seen"]
    ]
    if rows:
        lines += _table(("category", "property", "sentences"), rows)
    else:
        lines.append("None: every property of every category that occurs is seen somewhere.")
    lines += ["", "## Properties of the categories", ""]
    for entry in data["categories"]:
        lines += [
            f"### {_cell(entry['name'])}",
            "",
            f"{entry['predicted_pixels']:,} cells predicted, {entry['labelled_pixels']:,} labelled",
            "",
        ]
        rows = [
            (
                item["name"],
                _percent(item["share_of_predicted"]),
                _percent(item["share_of_labelled"]),
                item["verdict"] or "-",
                "; ".join(item["sentences"]),
            )
            for item in entry["properties"]
        ]
        headers = ("property", "active where predicted", "where labelled", "", "sentences")
        lines += [*_table(headers, rows), ""]
        if entry["unexpected"]:
            names = (
                f"{_cell(item['name'])} ({_percent(item['share_of_predicted'])})"
                for item in entry["unexpected"]
            )
            lines += [f"Also active where predicted, but not expected: {', '.join(names)}.", ""]
    lines += ["## Confusions", ""]
    rows = [
        (
            item["category"],
            item["taken_for"],
            f"{item['pixels']:,}",
            _percent(item["share_of_category"]),
            f"{item['lead_lost']:.2f}",
            "; ".join(f"{b['kind']}: {b['name']} ({b['blame']:.2f})" for b in item["to_blame"]),
        )
        for item in data["confusions"]
    ]
    headers = ("category", "taken for", "cells", "of the category", "lead lost", "to blame")
    lines += _table(headers, rows) if rows else ["None."]
    return "\n".join(lines) + "\n"


def _percent(share: float | None) -> str:
    if share is None:
        return "-"
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.1f} %"


def _table(headers: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [headers, ("---",) * len(headers), *rows]
    return ["| " + " | ".join(_cell(text) for text in line) + " |" for line in lines]


def _cell(text: str) -> str:
    """Text on one line of a Markdown table, with nothing in it that has a meaning there."""
    text = " ".join(text.split())
    for mark in "\\|`*_[]<>":
        text = text.replace(mark, "\\" + mark)
    return text
