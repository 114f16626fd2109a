#!/usr/bin/env python3
"""How well does a model notice objects of categories that it was never trained on?

The categories of the data set that are not among those of the checkpoints are the unknown ones:
train with DATASETS.HELD_OUT, and test on the whole data set. A model with properties notices a
pixel that fits no signature (low best score, small margin); a one-hot model, the baseline, has the
entropy of its probabilities. Reported are average precision, area under the ROC curve and the known
pixels reported where 95 % of the unknown ones are.

Example:
    python tools/unknown_objects.py output/held_out/property/model_best.pth \\
        output/held_out/category/model_best.pth --dataset scenes_sem_seg_val \\
        --record output/held_out/unknown.json

All counts are of cells of the network's maps, a quarter of the image's resolution.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from prolab_d2 import Predictor
from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.evaluation.low_resolution import (
    category_places,
    dataset_categories,
    read_cells,
)
from prolab_d2.evaluation.reporting import write_json
from prolab_d2.evaluation.unknown_metrics import UnknownMetrics, softmax_measures
from prolab_d2.explain.unknown import UNKNOWN_MEASURES, unknown_map
from prolab_d2.files import check_writable


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
    unknown = [name for name in names if name not in known]
    if not unknown:
        raise ProLabError(
            f"the model knows every category of data set {dataset}: name a checkpoint trained "
            "with DATASETS.HELD_OUT, and the whole data set"
        )
    if len(unknown) == len(names):
        raise ProLabError(f"the model knows no category of data set {dataset}: name another one")
    return unknown


def measure(predictor: Predictor, dataset: str, images: int | None) -> UnknownMetrics:
    """Runs one model over the data set."""
    names = dataset_categories(dataset)
    categories = predictor.label_space.categories
    unknown = unknown_categories(names, categories, dataset)
    # Groups: 0 is known, 1 + i is unknown[i], -1 (the last place) has no label.
    groups = np.append(category_places(names, tuple(unknown)) + 1, -1)
    by_property = predictor.model.supervision == "property"
    measures = UNKNOWN_MEASURES if by_property else ("entropy", "probability")
    metrics = UnknownMetrics(measures, unknown)
    for cells in read_cells(predictor, dataset, images):
        if cells.truth is None:
            raise ProLabError(f"data set {dataset} has images without a mask: name another split")
        values = cells.values.flatten(1)
        if by_property:
            found = {m: unknown_map(values, predictor.label_space, m) for m in measures}
        else:
            found = softmax_measures(values)
        metrics.add(found, groups[cells.truth].ravel())
    return metrics


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: one line for each measure of each model."""
    rows = [
        [r["supervision"], r["measure"], r["AP"], r["AUROC"], r["FPR95"], *r["categories"].values()]
        for r in results
    ]
    headers = ["supervision", "measure", "AP", "AUROC", "FPR95"]
    headers += [f"AP {name}" for name in results[0]["categories"]]
    return tabulate(rows, headers, "pipe", floatfmt=".1f")


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    if args.images is not None and args.images < 1:
        raise ProLabError(f"--images {args.images}: give a number from 1")
    if args.record is not None:
        check_writable(args.record.parent)
    results: list[dict[str, Any]] = []
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
        metrics = measure(predictor, args.dataset, args.images)
        results += [
            {
                "checkpoint": str(checkpoint),
                "supervision": predictor.model.supervision,
                "measure": name,
                **values,
            }
            for name, values in metrics.results().items()
        ]
    print(table(results))
    print(f"{metrics.prevalence:.1f} % of the labelled cells are unknown: {metrics.unknown}")
    if args.record is not None:
        content = {
            "data_set": args.dataset,
            "unknown": list(metrics.unknown),
            "unknown_percent": metrics.prevalence,
            "results": results,
        }
        write_json(args.record, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
