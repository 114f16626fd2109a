"""Options that several cases share."""

from __future__ import annotations

import argparse

import torch

from prolab_d2.errors import ProLabError

__all__ = ["DTYPES", "add_common_options", "check_common_options"]

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """For every case."""
    parser.add_argument(
        "--preset",
        choices=["targets"],
        help="the settings whose targets PERFORMANCE.md lists, in place of the options of a case",
    )
    parser.add_argument(
        "--runs", type=int, default=7, help="timed runs, of which the median counts"
    )
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch (default 2)")
    parser.add_argument(
        "--tune",
        action="store_true",
        help="keep freed memory, as train_net.py, demo.py and others do on a CPU",
    )
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1 ...")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default 0)")
    parser.add_argument(
        "--no-memory", action="store_true", help="do not measure memory: half as many runs"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")


def check_common_options(args: argparse.Namespace) -> None:
    """
    Raises:
        ProLabError: a number is out of range, or the device is not there.
    """
    for name in ("runs", "threads"):
        if getattr(args, name) < 1:
            raise ProLabError(f"--{name} {getattr(args, name)}: give 1 or more")
    try:
        args.device = torch.device(args.device)
        torch.empty(0, device=args.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ProLabError(
            f"--device {args.device}: {reason}: give cpu, or cuda where it is there"
        ) from error
