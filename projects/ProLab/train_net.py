#!/usr/bin/env python3
"""Trains or evaluates a property-level segmentation network.

Examples:
    train_net.py --config-file camvid/lite0_property.yaml
    train_net.py --config-file scenes/lite0_property.yaml --num-gpus 2 OUTPUT_DIR output/scenes
    train_net.py --config-file my.yaml --dataset my_images MODEL.PROLAB.LABEL_SPACE my_space
    train_net.py --config-file my.yaml --eval-only MODEL.WEIGHTS output/model_best.pth
"""

from __future__ import annotations

import argparse
import sys

import torch
from detectron2.engine import default_argument_parser, launch

from prolab_d2.engine import Trainer, prepare_run
from prolab_d2.errors import ProLabError, exit_cleanly


def parser() -> argparse.ArgumentParser:
    """Detectron2's options and `--dataset`."""
    result = default_argument_parser(epilog=__doc__)
    result.add_argument(
        "--dataset",
        metavar="FOLDER",
        help="train and evaluate on images/<split>, annotations/<split> and categories.txt there",
    )
    return result


def run(args: argparse.Namespace) -> None:
    """One process of the job."""
    cfg = prepare_run(args)
    if args.eval_only:
        Trainer.evaluate_checkpoint(cfg)
        return
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.train()


@exit_cleanly
def main(argv: list[str] | None = None) -> None:
    args = parser().parse_args(argv)
    if args.num_gpus > max(torch.cuda.device_count(), 1):
        raise ProLabError(
            f"--num-gpus {args.num_gpus}, but this machine has {torch.cuda.device_count()}: ask "
            "for fewer (without a GPU training runs on the CPU)"
        )
    launch(
        run,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )


if __name__ == "__main__":
    sys.exit(main())
