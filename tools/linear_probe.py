#!/usr/bin/env python
"""Compares a model's own answer with linear probes of its features and property activations.

Example:
    python tools/linear_probe.py output/compare/lite0_property_1h_seed0/model_best.pth \\
        --train camvid_sem_seg_train --val camvid_sem_seg_val

The probes are logistic regressions, fitted on pixels of some training images and compared on pixels
of val images, at a quarter of the resolution. Needs scikit-learn (extra label-space).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from tabulate import tabulate
from tqdm import tqdm

from prolab_d2 import Predictor
from prolab_d2.checkpoint import read_checkpoint
from prolab_d2.data import PropertyDatasetMapper
from prolab_d2.engine import load_config
from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.evaluation.linear_probe import linear_probe, sample_pixels


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", metavar="FILE.pth")
    parser.add_argument("--train", required=True, metavar="DATASET", help="to fit the probes on")
    parser.add_argument("--val", required=True, metavar="DATASET", help="to compare them on")
    parser.add_argument(
        "--images", type=int, default=100, help="of each (default 100), evenly spaced"
    )
    parser.add_argument("--pixels", type=int, default=1000, help="of each image (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the pixels (default 0)")
    return parser.parse_args(argv)


def samples(cfg: CfgNode, dataset: str, number: int) -> Iterator[dict[str, Any]]:
    """What the network reads of evenly spaced images of a data set."""
    if dataset not in DatasetCatalog:
        raise ProLabError(f"data set {dataset} is not known: give a registered name")
    mapper = PropertyDatasetMapper(cfg, False, dataset)
    entries = DatasetCatalog.get(dataset)
    places = np.linspace(0, len(entries) - 1, min(number, len(entries))).round().astype(int)
    for place in tqdm(places, desc=dataset, unit="image", leave=False, disable=None):
        yield mapper(entries[place])


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    if min(args.images, args.pixels) < 1:
        raise ProLabError("--images and --pixels: give numbers from 1")
    predictor = Predictor.from_checkpoint(args.checkpoint)
    cfg = load_config(None, text=read_checkpoint(args.checkpoint).config)
    cfg.MODEL.PROLAB.LABEL_SPACE = ""
    categories = predictor.label_space.categories
    sampled = [
        sample_pixels(predictor.model, samples(cfg, name, args.images), args.pixels, args.seed)
        for name in (args.train, args.val)
    ]
    result = linear_probe(*sampled, len(categories))
    columns = {"own answer": result.own, "probe of features": result.features}
    if result.activations is not None:
        columns["probe of activations"] = result.activations
    rows = [[name, *values] for name, *values in zip(categories, *columns.values(), strict=True)]
    rows.append(["mean", *(np.nanmean(values) for values in columns.values())])
    print(tabulate(rows, ["IoU on pixels of val, %", *columns], floatfmt=".1f"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
