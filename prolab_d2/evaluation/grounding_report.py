"""What the grounding of the properties comes to, as JSON data and as Markdown."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from prolab_d2.evaluation.grounding import GroundingStatistics, calibration, visibility
from prolab_d2.evaluation.property_metrics import PropertyMetrics
from prolab_d2.label_space import LabelSpace

__all__ = ["grounding_data", "grounding_markdown", "weighting_markdown"]

MOST_PAIRS = 3


def grounding_data(statistics: GroundingStatistics) -> dict[str, Any]:
    """Everything in the report, as JSON data.

    Returns:
        pixels: cells of the maps with a label; mIoU, pACC: in percent, of these cells.
        properties: in the order of the label space, each with
            base_rate: share of the pixels that have it by their category's signature.
            average_precision; lift: over the base rate; visibility: see `grounding.visibility`.
            calibration_error, and reliability: 10 bins with confidence, truth and pixels.
            mIoU_loss, pACC_loss: points that are lost without it, negative where it does harm.
            resolved, caused: pixels that are right only with it, and only without it; pairs: of
            the resolved ones the most frequent, with the mean lead of the category over the other
            and the property's part of it.
    """
    space = statistics.label_space
    metrics = PropertyMetrics(statistics.histograms)
    pixels = int(statistics.labelled.sum())
    mean_iou, accuracy = 100 * statistics.mean_iou, 100 * statistics.pixel_accuracy
    base = metrics.positives / pixels
    trust = calibration(statistics.histograms)
    visible = visibility(metrics)
    properties = []
    for k, entry in enumerate(space.properties):
        precision = metrics.average_precision[k]
        owners = np.flatnonzero(space.signatures[:, k])
        properties.append(
            {
                "name": entry.name,
                "categories": [space.categories[j] for j in owners],
                "base_rate": base[k],
                "average_precision": precision,
                "lift": precision / base[k] if base[k] else float("nan"),
                "visibility": visible[k],
                "calibration_error": trust.error[k],
                "mIoU_loss": mean_iou[-1] - mean_iou[k],
                "pACC_loss": accuracy[-1] - accuracy[k],
                "resolved": sum(statistics.resolved[k].values()),
                "caused": sum(statistics.caused[k].values()),
                "pairs": _pairs(statistics, k, statistics.resolved[k]),
                "reliability": {
                    "confidence": trust.confidence[k].tolist(),
                    "truth": trust.truth[k].tolist(),
                    "pixels": trust.pixels[k].tolist(),
                },
            }
        )
    return {
        "pixels": pixels,
        "mIoU": mean_iou[-1],
        "pACC": accuracy[-1],
        "properties": properties,
    }


def _pairs(statistics: GroundingStatistics, k: int, counts: Counter) -> list[dict[str, Any]]:
    names = statistics.label_space.categories
    result = []
    for (a, b), pixels in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_PAIRS]:
        parts = statistics.margin_parts(a, b)
        result.append(
            {
                "category": names[a],
                "other": names[b],
                "pixels": pixels,
                "margin": parts.sum(),
                "margin_part": parts[k],
            }
        )
    return result


def grounding_markdown(data: dict[str, Any], title: str) -> str:
    """The report for reading; `data` as `grounding_data` gives it."""
    lines = [
        f"# {title}",
        "",
        f"{data['pixels']:,} labelled cells of the low-resolution maps, mIoU {data['mIoU']:.1f} "
        f"and pixel accuracy {data['pACC']:.1f} on them. The truth of a cell is the signature of "
        "its category: a property that the network finds by knowing the category counts as seen, "
        "too. Visibility is (AP - base rate) / (1 - base rate). Losses are points without the "
        "property in any signature, negative where it does harm.",
        "",
        "| property | in categories | base rate % | AP % | lift | visibility | calibration error "
        "| mIoU loss | pACC loss | resolved | caused | what it settles |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in _by_visibility(data["properties"]):
        pairs = "; ".join(
            f"{pair['category']}, not {pair['other']} ({pair['pixels']:,})" for pair in one["pairs"]
        )
        cells = (
            one["name"],
            ", ".join(one["categories"]),
            f"{100 * one['base_rate']:.2f}",
            _number(100 * one["average_precision"], 1),
            _number(one["lift"], 1),
            _number(one["visibility"], 2),
            _number(one["calibration_error"], 3),
            f"{one['mIoU_loss']:+.2f}",
            f"{one['pACC_loss']:+.2f}",
            f"{one['resolved']:,}",
            f"{one['caused']:,}",
            pairs,
        )
        lines.append("| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |")
    return "\n".join(lines) + "\n"


def weighting_markdown(data: dict[str, Any], label_space: LabelSpace) -> str:
    """The comparison of weights, as `tools/ground_properties.py` finds it."""
    lines = [
        "",
        "## Weights of the properties",
        "",
        f"Weights chosen on {data['images'][0]} images of {data['data_set']}, the method on "
        f"{data['images'][1]} others of it: {data['best']}.",
        "",
        "| weights | mIoU % on the others | mIoU % | dropped |",
        "|---|---|---|---|",
    ]
    for name, one in data["methods"].items():
        dropped = [
            entry.name
            for entry, weight in zip(label_space.properties, one["weights"], strict=True)
            if weight == 0
        ]
        text = "; ".join(dropped).replace("|", "\\|") or "-"
        lines.append(f"| {name} | {one['mIoU_held']:.2f} | {one['mIoU']:.2f} | {text} |")
    return "\n".join(lines) + "\n"


def _by_visibility(properties: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The most visible first, those that do not occur last."""
    return sorted(properties, key=lambda one: -np.nan_to_num(one["visibility"], nan=-np.inf))


def _number(value: float, digits: int) -> str:
    return "-" if np.isnan(value) else f"{value:.{digits}f}"
