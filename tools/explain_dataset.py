#!/usr/bin/env python3
"""What a model sees of every category of a data set, against what its descriptions promise.

Writes explanations.json and, for reading, explanations.md: how often each property of a category
is active where the category is predicted and where it is labelled, which descriptions are never
seen, and which properties the most frequent confusions come from.

Example:
    python tools/explain_dataset.py output/demo/model_best.pth --dataset scenes_sem_seg_val \\
        --output output/demo/explained

All counts are of cells of the network's maps, a quarter of the image's resolution. Categories of
the data set that the model does not have count as unlabelled.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from prolab_d2 import Predictor
from prolab_d2.device import tune_cpu
from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.evaluation.low_resolution import places_of_labels, read_cells
from prolab_d2.evaluation.reporting import write_json
from prolab_d2.explain.statistics import ExplanationStatistics
from prolab_d2.explain.statistics_report import report_data, report_markdown
from prolab_d2.files import atomic_path, check_writable


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", metavar="FILE.pth")
    parser.add_argument("--dataset", required=True, metavar="NAME")
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--images", type=int, help="evenly spaced ones (default: all)")
    return parser.parse_args(argv)


def collect(predictor: Predictor, dataset: str, images: int | None) -> ExplanationStatistics:
    """The statistics of a data set.

    Raises:
        ProLabError: the data set and the model have no category in common.
    """
    places = places_of_labels(dataset, predictor)
    statistics = ExplanationStatistics(predictor.label_space)
    for cells in read_cells(predictor, dataset, images):
        truth = None if cells.truth is None else places[cells.truth].ravel()
        statistics.add(cells.values.flatten(1), truth)
    return statistics


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    tune_cpu()
    if args.images is not None and args.images < 1:
        raise ProLabError(f"--images {args.images}: give a number from 1")
    check_writable(args.output)
    predictor = Predictor.from_checkpoint(args.checkpoint)
    predictor.require_properties()
    data = report_data(collect(predictor, args.dataset, args.images))
    title = f"{args.dataset} explained by {Path(args.checkpoint).name}"
    write_json(args.output / "explanations.json", {"data_set": args.dataset, **data})
    with atomic_path(args.output / "explanations.md") as temporary:
        temporary.write_text(report_markdown(data, title), encoding="utf-8")
    never, confused = data["never_seen"], data["confusions"]
    print(f"{len(never)} properties of categories are never seen", end="")
    print(": " + "; ".join(f"{n['category']}, {n['property']}" for n in never[:5]) if never else "")
    for pair in confused[:5]:
        blamed = "; ".join(f"{b['kind']}: {b['name']}" for b in pair["to_blame"][:3])
        share = 100 * pair["share_of_category"]
        print(f"{pair['category']} taken for {pair['taken_for']}, {share:.1f} %: {blamed}")
    print(f"-> {args.output / 'explanations.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
