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

from prolab_d2.engine import Trainer, argument_parser, launch, prepare_run
from prolab_d2.errors import exit_cleanly


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
    launch(run, argument_parser(__doc__).parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
