#!/usr/bin/env python
"""Compares a model's own answer with linear probes of its features and property activations.

Examples:
    python tools/linear_probe.py output/compare/lite0_property_1h_seed0/model_best.pth \\
        --train camvid_sem_seg_train --val camvid_sem_seg_val
    python tools/linear_probe.py output/ade20k/model_best.pth --images 200 --val-images 0 \\
        --train voc_20_sem_seg_train --val voc_20_sem_seg_val --whole-images

The probes are logistic regressions, fitted on pixels of some training images and compared on pixels
of val images, at a quarter of the resolution. The data sets may have other categories than the
model; then it has no answer of its own. Needs scikit-learn (extra label-space).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from tabulate import tabulate
from tqdm import tqdm

from prolab_d2 import Predictor
from prolab_d2.checkpoint import read_checkpoint
from prolab_d2.data import LabelIds, PropertyDatasetMapper
from prolab_d2.data.reading import stuff_classes
from prolab_d2.device import tune_cpu
from prolab_d2.engine import load_config
from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.evaluation.linear_probe import linear_probe, probe_images, sample_pixels
from prolab_d2.evaluation.low_resolution import category_places


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", metavar="FILE.pth")
    parser.add_argument("--train", required=True, metavar="DATASET", help="to fit the probes on")
    parser.add_argument("--val", required=True, metavar="DATASET", help="to compare them on")
    parser.add_argument(
        "--images",
        type=int,
        default=100,
        metavar="N",
        help="to fit on, evenly spaced (default 100)",
    )
    parser.add_argument(
        "--val-images",
        type=int,
        default=100,
        metavar="N",
        help="to compare on (default 100), 0 for all",
    )
    parser.add_argument(
        "--whole-images",
        action="store_true",
        help="also evaluate the probe of the activations on every pixel of the val images",
    )
    parser.add_argument("--pixels", type=int, default=1000, help="of each image (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the pixels (default 0)")
    return parser.parse_args(argv)


def samples(cfg: CfgNode, dataset: str, number: int) -> Iterator[dict[str, Any]]:
    """What the network reads of evenly spaced images of a data set, of all with the number 0."""
    mapper = PropertyDatasetMapper(cfg, False, dataset)
    entries = DatasetCatalog.get(dataset)
    number = min(number or len(entries), len(entries))
    places = np.linspace(0, len(entries) - 1, number).round().astype(int)
    for place in tqdm(places, desc=dataset, unit="image", leave=False, disable=None):
        yield mapper(entries[place])


def label_ids(train: str, val: str) -> tuple[list[str], int]:
    """Categories and ignore label of two data sets.

    Raises:
        ProLabError: one is not known, or they have different categories.
    """
    found = []
    for name in (train, val):
        if name not in DatasetCatalog:
            raise ProLabError(f"data set {name} is not known: give a registered name")
        metadata = MetadataCatalog.get(name)
        found.append((stuff_classes(metadata), LabelIds.from_metadata(metadata).ignore_label))
    if found[0] != found[1]:
        raise ProLabError(
            f"data sets {train} and {val} have different categories: fit and compare on the same"
        )
    return found[0]


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    tune_cpu()
    if args.seed < 0:
        raise ProLabError(f"--seed {args.seed}: give a number from 0")
    if min(args.images, args.pixels) < 1 or args.val_images < 0:
        raise ProLabError("--images and --pixels: give numbers from 1; --val-images: from 0")
    names, ignore_label = label_ids(args.train, args.val)
    predictor = Predictor.from_checkpoint(args.checkpoint)
    if args.whole_images:
        predictor.require_properties()
    cfg = load_config(None, text=read_checkpoint(args.checkpoint).config)
    cfg.MODEL.PROLAB.LABEL_SPACE = ""
    model = predictor.model
    train, val = (
        sample_pixels(model, samples(cfg, name, number), args.pixels, args.seed, ignore_label)
        for name, number in ((args.train, args.images), (args.val, args.val_images))
    )
    places = category_places(names, predictor.label_space.categories)
    same = places.tolist() == list(range(predictor.label_space.num_categories))
    result = linear_probe(train, val, len(names), same)
    columns = {"own answer": result.own} if result.own is not None else {}
    columns["probe of features"] = result.features
    if result.activations is not None:
        columns["probe of activations"] = result.activations
    if args.whole_images:
        images = samples(cfg, args.val, args.val_images)
        metrics = probe_images(model, images, result.map, len(names), ignore_label)
        columns["the same, whole images"] = 100 * np.where(metrics.labelled, metrics.iou, np.nan)
    rows = [[name, *values] for name, *values in zip(names, *columns.values(), strict=True)]
    rows.append(["mean", *(np.nanmean(values) for values in columns.values())])
    print(tabulate(rows, ["IoU on pixels of val, %", *columns], floatfmt=".1f"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
