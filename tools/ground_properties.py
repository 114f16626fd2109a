#!/usr/bin/env python3
"""Which properties can be seen, and what weighting or dropping the others does.

Writes grounding.json, grounding.md, grounding.png and reliability.png: for every property the
average precision of its activation against the base rate, its calibration, and how much confusion
of categories it resolves (what is lost when it is taken out of all signatures, without training).
The truth of a pixel is the signature of its category; a data set with annotations of properties,
such as the built-in scenes, has a second table that compares with these.

With --choose-on, weights of the properties are chosen on that data set, by several methods, and
compared on --dataset; weights/<method>.json are for MODEL.PROLAB.PROPERTY_WEIGHTS.

Example:
    python tools/ground_properties.py output/compare/lite0_property_seed0/model_best.pth \\
        --dataset camvid_sem_seg_val --choose-on camvid_sem_seg_train --output output/grounding

Counts are of cells of the network's maps, a quarter of the image's resolution; the mIoU of the
weights on --dataset is of all its pixels.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from _runs import versions

from prolab_d2 import Predictor
from prolab_d2.data.property_annotations import annotation_reader
from prolab_d2.device import tune_cpu
from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.evaluation.annotated_metrics import AnnotatedHistograms
from prolab_d2.evaluation.grounding import GroundingStatistics
from prolab_d2.evaluation.grounding_report import (
    annotated_markdown,
    grounding_data,
    grounding_markdown,
    weighting_markdown,
)
from prolab_d2.evaluation.low_resolution import places_of_labels, read_logits
from prolab_d2.evaluation.property_metrics import sample_at_cell_centres
from prolab_d2.evaluation.property_weighting import Pixels, choose_weights
from prolab_d2.evaluation.reporting import write_json
from prolab_d2.evaluation.sem_seg_metrics import SemSegMetrics, confusion_matrix
from prolab_d2.files import atomic_path, check_writable, sha256_of
from prolab_d2.label_space.property_weights import write_property_weights
from prolab_d2.modeling import PropertySpace
from prolab_d2.modeling.inference import category_labels, low_resolution_maps
from prolab_d2.visualizer.grounding import plot_grounding, plot_reliability

UNLABELLED = -1


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", metavar="FILE.pth")
    parser.add_argument("--dataset", required=True, metavar="NAME", help="to report on")
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--images", type=int, help="of it, evenly spaced ones (default: all)")
    parser.add_argument("--choose-on", metavar="NAME", help="to choose weights on, such as train")
    parser.add_argument(
        "--choose-images",
        type=int,
        default=200,
        metavar="N",
        help="of it, every second one to choose the method on (default 200)",
    )
    parser.add_argument(
        "--pixels", type=int, default=500, help="of each of these images (default 500)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the pixels (default 0)")
    parser.add_argument(
        "--record", type=Path, metavar="FILE.json", help="gets the numbers, without the curves"
    )
    return parser.parse_args(argv)


def draw_pixels(
    predictor: Predictor,
    dataset: str,
    images: int,
    per_image: int,
    part: tuple[int, int],
    seed: int,
) -> Pixels:
    """Randomly chosen labelled cells of some images of a data set.

    Raises:
        ProLabError: none has a label.
    """
    places, rng = places_of_labels(dataset, predictor), np.random.default_rng(seed)
    space = predictor.model.property_space
    found: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for _, maps, mask in read_logits(predictor, dataset, images, part):
        if mask is None:
            continue
        with torch.inference_mode():
            activations = low_resolution_maps(maps.map_values(space.activations))[0]
        truth = places[sample_at_cell_centres(mask, tuple(activations.shape[-2:]))].ravel()
        cells = np.flatnonzero(truth >= 0)
        cells = rng.permutation(cells)[:per_image]
        found.append(activations.flatten(1)[:, cells].T.float().cpu().numpy())
        labels.append(truth[cells])
    if not sum(map(len, labels)):
        raise ProLabError(
            f"no pixel of the images of {dataset} has a label: give a data set with masks, and "
            "two images or more"
        )
    return Pixels(np.concatenate(found), np.concatenate(labels))


def evaluate(
    predictor: Predictor, dataset: str, images: int | None, weights: dict[str, np.ndarray]
) -> tuple[GroundingStatistics, AnnotatedHistograms | None, dict[str, float]]:
    """Statistics of the cells, of annotated ones if there are any, and the mIoU in percent of all
    pixels by name of the weights.
    """
    places, own = places_of_labels(dataset, predictor), predictor.model.property_space
    statistics = GroundingStatistics(predictor.label_space)
    read_annotations = annotation_reader(dataset)
    annotated = None
    if read_annotations is not None:
        annotated = AnnotatedHistograms.empty(predictor.label_space.signatures)
    n = predictor.label_space.num_categories
    spaces = {
        name: PropertySpace(
            own.bank,
            own.signatures,
            own.similarity,
            own.temperature,
            own.normalize_embedding,
            property_weights=values,
        ).to(predictor.model.device)
        for name, values in weights.items()
    }
    confusions = {name: np.zeros((n, n), dtype=np.int64) for name in spaces}
    for entry, maps, mask in read_logits(predictor, dataset, images):
        if mask is None:
            continue
        with torch.inference_mode():
            activations = low_resolution_maps(maps.map_values(own.activations))[0]
            truth = places[mask]
            cells = sample_at_cell_centres(truth, tuple(activations.shape[-2:]))
            statistics.add(activations.flatten(1), cells.ravel())
            if annotated is not None:
                found = read_annotations(entry, predictor.label_space)
                annotated.add(activations, torch.from_numpy(cells), found)
            for name, space in spaces.items():
                units = maps.map_values(space.unit_activations)
                answers = category_labels(units, mask.shape, space.category_weights)[0]
                confusions[name] += confusion_matrix(answers.cpu().numpy(), truth, n, UNLABELLED)
    values = {name: 100 * SemSegMetrics(matrix).mean_iou for name, matrix in confusions.items()}
    return statistics, annotated, values


def choose(predictor: Predictor, args: argparse.Namespace) -> dict[str, Any]:
    """Weights by method, with the mIoU on the half that did not choose them."""
    pixels, held = (
        draw_pixels(predictor, args.choose_on, args.choose_images, args.pixels, (i, 2), args.seed)
        for i in range(2)
    )
    signatures = np.asarray(predictor.label_space.signatures)
    weights, values, best = choose_weights(pixels, held, signatures)
    return {
        "data_set": args.choose_on,
        "images": [-(-args.choose_images // 2), args.choose_images // 2],
        "best": best,
        "methods": {
            name: {"mIoU_held": 100 * values[name], "weights": weights[name].tolist()}
            for name in weights
        },
    }


def record_of(args: argparse.Namespace, command: str, data: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a report in short, with what they were made by and of."""
    short = {
        **data,
        "properties": [
            {name: value for name, value in one.items() if name not in ("reliability", "pairs")}
            for one in data["properties"]
        ],
    }
    return {
        "command": command,
        "checkpoint_sha256": sha256_of(args.checkpoint),
        "versions": versions(),
        **_rounded(short),
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(float(value), 5) if isinstance(value, float | np.floating) else value


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    tune_cpu()
    if args.seed < 0:
        raise ProLabError(f"--seed {args.seed}: give a number from 0")
    if args.images is not None and args.images < 1:
        raise ProLabError(f"--images {args.images}: give a number from 1")
    if args.choose_images < 2 or args.pixels < 1:
        raise ProLabError("--choose-images: give a number from 2; --pixels: from 1")
    if args.choose_on == args.dataset:
        raise ProLabError(
            f"--choose-on {args.choose_on} is the data set to report on: choose weights on another "
            "split, such as train"
        )
    check_writable(args.output)
    if args.record is not None:
        check_writable(args.record.parent)
    predictor = Predictor.from_checkpoint(args.checkpoint)
    predictor.require_properties()
    space = predictor.model.property_space
    if space.similarity != "cosine_sigmoid":
        raise ProLabError(
            f"this checkpoint has MODEL.PROLAB.SIMILARITY {space.similarity!r}, whose activations "
            "are no probabilities: use one trained with 'cosine_sigmoid'"
        )
    choice = choose(predictor, args) if args.choose_on else None
    weights = {}
    if choice:
        weights = {name: np.array(one["weights"]) for name, one in choice["methods"].items()}
    statistics, annotated, values = evaluate(predictor, args.dataset, args.images, weights)
    data = {"data_set": args.dataset, **grounding_data(statistics, annotated)}
    title = f"What can be seen in {args.dataset}"
    text = grounding_markdown(data, title) + annotated_markdown(data)
    if choice:
        for name, value in values.items():
            choice["methods"][name]["mIoU"] = value
            file = args.output / "weights" / f"{name}.json"
            write_property_weights(file, predictor.label_space, weights[name])
        data["weighting"] = choice
        text += weighting_markdown(choice, predictor.label_space)
    write_json(args.output / "grounding.json", data)
    with atomic_path(args.output / "grounding.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    for name, plot in (("grounding", plot_grounding), ("reliability", plot_reliability)):
        with atomic_path(args.output / f"{name}.png") as temporary:
            plot(data, temporary, title)
    if args.record is not None:
        given = sys.argv[1:] if argv is None else argv
        write_json(
            args.record, record_of(args, f"tools/ground_properties.py {shlex.join(given)}", data)
        )
    _print(data, choice)
    print(f"-> {args.output / 'grounding.md'}")
    return 0


def _print(data: dict[str, Any], choice: dict[str, Any] | None) -> None:
    seen = [one for one in data["properties"] if not np.isnan(one["visibility"])]
    seen.sort(key=lambda one: one["visibility"])
    print(f"mIoU {data['mIoU']:.2f}, {len(seen)} properties; the least visible:")
    for one in seen[:5]:
        print(
            f"  {one['name']}: average precision {100 * one['average_precision']:.1f} %, base rate "
            f"{100 * one['base_rate']:.1f} %, mIoU {one['mIoU_loss']:+.2f} through it"
        )
    annotated = [one for one in data["properties"] if one.get("annotated")]
    if annotated:
        print(f"{len(annotated)} properties are annotated; AUROC in a category, the lowest:")
    annotated = [one for one in annotated if not np.isnan(one["annotated"]["same_category_auroc"])]
    annotated.sort(key=lambda one: one["annotated"]["same_category_auroc"])
    for one in annotated[:5]:
        found = one["annotated"]
        print(
            f"  {one['name']}: {100 * found['same_category_auroc']:.1f} %, average precision "
            f"{100 * found['average_precision']:.1f} %, by signature "
            f"{100 * found['signature_average_precision']:.1f} %"
        )
    for name, one in (choice or {"methods": {}})["methods"].items():
        mark = " (best on the held part)" if name == choice["best"] else ""
        print(f"  {name}: mIoU {one['mIoU']:.2f}, held part {one['mIoU_held']:.2f}{mark}")


if __name__ == "__main__":
    sys.exit(main())
