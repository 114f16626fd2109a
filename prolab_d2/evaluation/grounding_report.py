"""What the grounding of the properties comes to, as JSON data and as Markdown."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from prolab_d2.evaluation.annotated_metrics import AnnotatedHistograms
from prolab_d2.evaluation.grounding import GroundingStatistics, calibration, visibility
from prolab_d2.evaluation.property_metrics import PropertyMetrics
from prolab_d2.label_space import LabelSpace

__all__ = [
    "annotated_markdown",
    "grounding_data",
    "grounding_markdown",
    "weighting_markdown",
]

MOST_PAIRS = 3


def grounding_data(
    statistics: GroundingStatistics, annotated: AnnotatedHistograms | None = None
) -> dict[str, Any]:
    """Everything in the report, as JSON data.

    Args:
        annotated: counts of the annotated pixels of a data set that has some.
    Returns:
        pixels: cells of the maps with a label; mIoU, pACC: in percent, of these cells.
        mAP: in percent; calibration_error and active_calibration_error: means over the properties
            that occur.
        properties: in the order of the label space, each with
            base_rate: share of the pixels that have it by their category's signature.
            average_precision; lift: over the base rate; visibility: see `grounding.visibility`.
            calibration_error; active_calibration_error: of activations above 0.5; reliability:
            10 bins with confidence, truth and pixels.
            mIoU_loss, pACC_loss: points that are lost without it, negative where it does harm.
            resolved, caused: pixels that are right only with it, and only without it; pairs: of
            the resolved ones the most frequent, with the mean lead of the category over the other
            and the property's part of it.
            annotated: if there are annotations, and some of this property, see `_annotated`.
    """
    space = statistics.label_space
    metrics = PropertyMetrics(statistics.histograms)
    pixels = int(statistics.labelled.sum())
    mean_iou, accuracy = 100 * statistics.mean_iou, 100 * statistics.pixel_accuracy
    base, occurs = metrics.positives / pixels, metrics.positives > 0
    trust = calibration(statistics.histograms)
    active = trust.active_error[occurs & ~np.isnan(trust.active_error)]
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
                "active_calibration_error": trust.active_error[k],
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
    if annotated is not None:
        for one, more in zip(properties, _annotated(annotated), strict=True):
            one["annotated"] = more
    return {
        "pixels": pixels,
        "mIoU": mean_iou[-1],
        "pACC": accuracy[-1],
        "mAP": metrics.results()["mAP"],
        "calibration_error": trust.error[occurs].mean(),
        "active_calibration_error": active.mean() if active.size else float("nan"),
        "properties": properties,
    }


def _annotated(histograms: AnnotatedHistograms) -> list[dict[str, Any] | None]:
    """By property; None where nothing is annotated.

    pixels: that are annotated, with the property or without; base_rate: share of them with it.
    average_precision, visibility, calibration_error, active_calibration_error: as elsewhere, by
    annotation.
    signature_base_rate, signature_average_precision: of the same pixels, by signature.
    same_category_auroc, active_without, active_elsewhere: see `AnnotatedHistograms`.
    """
    by_annotation, by_signature = histograms.metrics, histograms.signature_metrics
    visible, trust = visibility(by_annotation), calibration(histograms.histograms)
    auroc = histograms.same_category_auroc
    without, elsewhere = histograms.active_without, histograms.active_elsewhere
    result: list[dict[str, Any] | None] = []
    for k, pixels in enumerate(histograms.pixels):
        one = {
            "pixels": pixels,
            "base_rate": by_annotation.positives[k] / max(pixels, 1),
            "average_precision": by_annotation.average_precision[k],
            "visibility": visible[k],
            "calibration_error": trust.error[k],
            "active_calibration_error": trust.active_error[k],
            "signature_base_rate": by_signature.positives[k] / max(pixels, 1),
            "signature_average_precision": by_signature.average_precision[k],
            "same_category_auroc": auroc[k],
            "active_without": without[k],
            "active_elsewhere": elsewhere[k],
        }
        result.append(one if pixels else None)
    return result


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
        f"and pixel accuracy {data['pACC']:.1f} on them; mean AP {data['mAP']:.1f} and mean "
        f"calibration error {data['calibration_error']:.3f} of the properties that occur, "
        f"{data['active_calibration_error']:.3f} of cells with an activation above 0.5. The "
        "truth of a cell is the signature of its category: a property that the network finds by "
        "knowing the category counts as seen, too. Visibility is (AP - base rate) / (1 - base "
        "rate). Losses are points without the property in any signature, negative where it does "
        "harm.",
        "",
        "| property | in categories | base rate % | AP % | lift | visibility | calibration error "
        "| of active cells | mIoU loss | pACC loss | resolved | caused | what it settles |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
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
            _number(one["active_calibration_error"], 3),
            f"{one['mIoU_loss']:+.2f}",
            f"{one['pACC_loss']:+.2f}",
            f"{one['resolved']:,}",
            f"{one['caused']:,}",
            pairs,
        )
        lines.append("| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |")
    return "\n".join(lines) + "\n"


def annotated_markdown(data: dict[str, Any]) -> str:
    """The comparison with annotations, of properties that have some; "" without any."""
    known = [(one["name"], one["annotated"]) for one in data["properties"] if one.get("annotated")]
    if not known:
        return ""
    lines = [
        "",
        "## Against annotations",
        "",
        "The network learns what categories have, not what a pixel shows. Annotations say of some "
        "pixels whether the name of a property is true of them. Of two pixels of one category, one "
        "with and one without it, AUROC is how often the first has the higher activation: at 50 % "
        "the category is all that is known. The last two columns are shares of activations above "
        "0.5: where the signature has the property and the pixel does not, and where the pixel has "
        "it and the signature does not.",
        "",
        "| property | pixels | has it by signature % | AP % by signature | has it by annotation % "
        "| AP % by annotation | visibility | calibration error | AUROC % in a category "
        "| active without it % | active elsewhere % |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    known.sort(key=lambda item: -np.nan_to_num(item[1]["same_category_auroc"], nan=-1))
    for name, one in known:
        cells = (
            name.replace("|", "\\|"),
            f"{one['pixels']:,}",
            f"{100 * one['signature_base_rate']:.2f}",
            _number(100 * one["signature_average_precision"], 1),
            f"{100 * one['base_rate']:.2f}",
            _number(100 * one["average_precision"], 1),
            _number(one["visibility"], 2),
            _number(one["calibration_error"], 3),
            _number(100 * one["same_category_auroc"], 1),
            _number(100 * one["active_without"], 1),
            _number(100 * one["active_elsewhere"], 1),
        )
        lines.append("| " + " | ".join(cells) + " |")
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
