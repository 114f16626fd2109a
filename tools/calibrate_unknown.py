#!/usr/bin/env python3
"""Says from which value on a region fits no category, and stores that in a checkpoint.

The threshold is the value (1 minus the best score) that a stated share of the rightly classified
cells of the training images exceeds. Predictions of the checkpoint then use it in
`unknown_regions()`, in the report and in the explorer; without it they use one that was found in
the same way for the network that comes with the project.

Example:
    python tools/calibrate_unknown.py output/model_best.pth --dataset scenes_sem_seg_train --store
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from prolab_d2 import Predictor
from prolab_d2.checkpoint import read_tensors
from prolab_d2.device import tune_cpu
from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.evaluation.unknown_calibration import calibrate_unknown
from prolab_d2.files import atomic_path, check_writable


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, metavar="FILE.pth", help="with properties")
    parser.add_argument(
        "--dataset", required=True, metavar="NAME", help="images that the network was trained on"
    )
    parser.add_argument(
        "--false-alarms",
        type=float,
        default=1.0,
        metavar="PERCENT",
        help="of the rightly classified cells (default 1)",
    )
    parser.add_argument("--images", type=int, help="evenly spaced ones (default: all)")
    parser.add_argument("--store", action="store_true", help="in the checkpoint")
    return parser.parse_args(argv)


def store(checkpoint: Path, threshold: float) -> None:
    """Puts the threshold into a checkpoint file; everything else in it stays."""
    data = read_tensors(checkpoint)
    data["prolab"]["unknown_threshold"] = threshold
    with atomic_path(checkpoint) as temporary:
        torch.save(data, temporary)


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    tune_cpu()
    if args.images is not None and args.images < 1:
        raise ProLabError(f"--images {args.images}: give a number from 1")
    if not 0 < args.false_alarms < 100:
        raise ProLabError(f"--false-alarms {args.false_alarms}: give percent between 0 and 100")
    if args.store:
        check_writable(args.checkpoint.parent)
    predictor = Predictor.from_checkpoint(args.checkpoint)
    found = calibrate_unknown(predictor, args.dataset, args.false_alarms / 100, args.images)
    print(
        f"threshold {found.threshold:.4f}: {100 * found.false_alarms:.2f} % of {found.cells} "
        "rightly classified cells lie above it"
    )
    if args.store:
        store(args.checkpoint, found.threshold)
        print(f"stored in {args.checkpoint}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
