"""Command line and processes of a training."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from detectron2.engine import default_argument_parser
from detectron2.engine import launch as launch_detectron2

from prolab_d2.errors import ProLabError

__all__ = ["argument_parser", "launch"]


def argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """Detectron2's options (--config-file, --resume, --eval-only, ...) and `--dataset`."""
    parser = default_argument_parser(epilog=epilog)
    parser.add_argument(
        "--dataset",
        action="append",
        metavar="FOLDER",
        help="train and evaluate on images/<split>, annotations/<split> and categories.txt there; "
        "may be repeated, with a label space that has the categories of all",
    )
    return parser


def launch(run: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Calls `run(args)` in this process, or in one process for each GPU of --num-gpus.

    Raises:
        ProLabError: more GPUs asked for than there are, or several machines without any.
    """
    available = torch.cuda.device_count()
    # Detectron2 0.6 starts no processes without GPUs; main does, but its trainer cannot use them.
    if args.num_gpus > available and args.num_gpus * args.num_machines > 1:
        raise ProLabError(
            f"--num-gpus {args.num_gpus} --num-machines {args.num_machines}, but this machine has "
            f"{available} GPUs: ask for fewer (without a GPU training runs in one process)"
        )
    launch_detectron2(
        run,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )
