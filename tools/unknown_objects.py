#!/usr/bin/env python3
"""How well does a model notice objects of categories that it was never trained on?

The categories of the data set that are not among those of the checkpoints are the unknown ones:
train with DATASETS.HELD_OUT, and test on the whole data set. A model with properties notices a
pixel that fits no signature (low best score, small margin, and other measures, see
`prolab_d2/explain/unknown.py`); a one-hot model, the baseline, has the entropy of its
probabilities, its largest probability and its largest logit. Reported are average precision, area
under the ROC curve and the known pixels reported where 95 % of the unknown ones are.

Pixels where two categories meet look unknown to every measure, and are no objects. All numbers are
therefore given twice: as they are, and "without seams", with maps from which whatever is thinner
than 3 cells has been taken away, as `Prediction.unknown_regions` does.

Example:
    python tools/unknown_objects.py output/held_out/property/model_best.pth \\
        output/held_out/category/model_best.pth --dataset scenes_sem_seg_val \\
        --record output/held_out/unknown.json

All counts are of cells of the network's maps, a quarter of the image's resolution.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor

from prolab_d2 import Predictor
from prolab_d2.device import tune_cpu
from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.evaluation.low_resolution import category_places, dataset_categories, read_logits
from prolab_d2.evaluation.property_metrics import sample_at_cell_centres
from prolab_d2.evaluation.reporting import write_json
from prolab_d2.evaluation.unknown_metrics import (
    SOFTMAX_MEASURES,
    UnknownMetrics,
    softmax_measures,
)
from prolab_d2.explain.unknown import DEFAULT_MEASURE, measures_of, unknown_map, without_seams
from prolab_d2.files import check_writable
from prolab_d2.modeling.inference import low_resolution_maps


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "checkpoints", nargs="+", metavar="FILE.pth", help="of one and the same set of categories"
    )
    parser.add_argument("--dataset", required=True, metavar="NAME", help="with the unknown ones")
    parser.add_argument("--record", type=Path, metavar="FILE.json", help="gets all results")
    parser.add_argument("--images", type=int, help="evenly spaced ones (default: all)")
    return parser.parse_args(argv)


def unknown_categories(names: list[str], known: tuple[str, ...], dataset: str) -> list[str]:
    """The categories of a data set that a model does not have.

    Raises:
        ProLabError: none, or none but these.
    """
    unknown = [names[i] for i in np.flatnonzero(category_places(names, known) < 0)]
    if not unknown:
        raise ProLabError(
            f"the model knows every category of data set {dataset}: name a checkpoint trained "
            "with DATASETS.HELD_OUT, and the whole data set"
        )
    if len(unknown) == len(names):
        raise ProLabError(f"the model knows no category of data set {dataset}: name another one")
    return unknown


@dataclass(frozen=True, eq=False)
class Measured:
    """One model on one data set.

    found, false_alarms: percent of the unknown and of the known cells above the threshold of
        `Prediction.unknown_regions`; None for a baseline, which has none.
    """

    as_is: UnknownMetrics
    without_seams: UnknownMetrics
    found: float | None = None
    false_alarms: float | None = None

    def results(self) -> list[dict[str, Any]]:
        """One entry for each measure."""
        cleaned = self.without_seams.results()
        return [
            {"measure": name, **values, "without_seams": cleaned[name]}
            for name, values in self.as_is.results().items()
        ]


def measures_of_model(
    predictor: Predictor,
) -> tuple[tuple[str, ...], Callable[[Tensor], Tensor]]:
    """Names, and what turns logits (B, M, h, w) into as many maps (B, len(names), h, w)."""
    if predictor.model.supervision != "property":
        return SOFTMAX_MEASURES, softmax_measures
    space = predictor.model.property_space
    names = measures_of(space)
    return names, lambda logits: torch.stack([unknown_map(logits, space, m) for m in names], 1)


def measure(predictor: Predictor, dataset: str, images: int | None) -> Measured:
    """Runs one model over the data set."""
    names = dataset_categories(dataset)
    unknown = unknown_categories(names, predictor.label_space.categories, dataset)
    # Groups: 0 is known, 1 + i is unknown[i], -1 (the last place) has no label.
    groups = np.append(category_places(names, tuple(unknown)) + 1, -1)
    measures, function = measures_of_model(predictor)
    as_is, cleaned = UnknownMetrics(measures, unknown), UnknownMetrics(measures, unknown)
    threshold = predictor.unknown_threshold
    above = np.zeros((2, 2), dtype=np.int64)  # known and unknown cells; all, and those above
    for _, maps, mask in read_logits(predictor, dataset, images):
        if mask is None:
            raise ProLabError(f"data set {dataset} has images without a mask: name another split")
        with torch.inference_mode():
            values = low_resolution_maps(maps.map_values(function))[0].cpu().double().numpy()
        group = groups[sample_at_cell_centres(mask, values.shape[1:])]
        opened = np.stack([without_seams(value) for value in values])
        for metrics, maps_of in ((as_is, values), (cleaned, opened)):
            metrics.add(dict(zip(measures, maps_of, strict=True)), group)
        if DEFAULT_MEASURE in measures:
            high = opened[measures.index(DEFAULT_MEASURE)] > threshold
            for i, cells in enumerate((group == 0, group > 0)):
                above[i] += cells.sum(), (cells & high).sum()
    if DEFAULT_MEASURE not in measures:
        return Measured(as_is, cleaned)
    false_alarms, found = (100 * float(high / max(total, 1)) for total, high in above)
    return Measured(as_is, cleaned, found, false_alarms)


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: one line for each measure of each model; those of categories without seams."""
    metrics = ("AP", "AUROC", "FPR95")
    rows = []
    for r in results:
        cleaned = r["without_seams"]
        rows.append(
            [
                r["supervision"],
                r["measure"],
                *(r[name] for name in metrics),
                *(cleaned[name] for name in metrics),
                *cleaned["categories"].values(),
            ]
        )
    headers = ["supervision", "measure", *metrics, *(f"{name}, no seams" for name in metrics)]
    headers += [f"AP {name}" for name in results[0]["categories"]]
    return tabulate(rows, headers, "pipe", floatfmt=".1f")


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    tune_cpu()
    if args.images is not None and args.images < 1:
        raise ProLabError(f"--images {args.images}: give a number from 1")
    if args.record is not None:
        check_writable(args.record.parent)
    results: list[dict[str, Any]] = []
    thresholds: list[dict[str, Any]] = []
    known: set[str] | None = None
    for checkpoint in args.checkpoints:
        predictor = Predictor.from_checkpoint(checkpoint)
        categories = set(predictor.label_space.categories)
        if known not in (None, categories):
            raise ProLabError(
                f"checkpoint {checkpoint} has other categories than {args.checkpoints[0]}: compare "
                "models that were trained without the same categories"
            )
        known = categories
        measured = measure(predictor, args.dataset, args.images)
        common = {"checkpoint": str(checkpoint), "supervision": predictor.model.supervision}
        results += [{**common, **values} for values in measured.results()]
        if measured.found is not None:
            thresholds.append(
                {
                    **common,
                    "threshold": predictor.unknown_threshold,
                    "unknown_percent_above": measured.found,
                    "known_percent_above": measured.false_alarms,
                }
            )
    metrics = measured.as_is
    print(table(results))
    print(f"{metrics.prevalence:.1f} % of the labelled cells are unknown: {metrics.unknown}")
    for at in thresholds:
        print(
            f"{at['checkpoint']}: above the threshold {at['threshold']:.3f} of regions that fit no "
            f"category are {at['unknown_percent_above']:.1f} % of the unknown and "
            f"{at['known_percent_above']:.1f} % of the known cells"
        )
    if args.record is not None:
        content = {
            "command": shlex.join(["tools/unknown_objects.py", *(argv or sys.argv[1:])]),
            "data_set": args.dataset,
            "unknown": list(metrics.unknown),
            "unknown_percent": metrics.prevalence,
            "results": results,
            "at_threshold": thresholds,
        }
        write_json(args.record, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
