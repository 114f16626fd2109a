#!/usr/bin/env python
"""Prints what a model costs: parameters and FLOPs by part, activation memory, speed here.

Examples:
    python tools/analyze_model.py camvid/lite0_property
    python tools/analyze_model.py scenes/lite0_property --size 512 1024 --runs 0 --json costs.json

FLOPs are 2 x multiply-adds of convolutions, linear layers and matrix products for one image.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tabulate import tabulate

from prolab_d2.analysis import analyze_parts, saved_for_backward, time_inference
from prolab_d2.device import tune_cpu
from prolab_d2.engine import load_config
from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.files import atomic_path
from prolab_d2.modeling import PropertySegmentor
from prolab_d2.modeling.backbones.weights import forget_weights


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "config", metavar="CONFIG", help="a config file or the name of a shipped one"
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="of the image (default: INPUT.CROP.SIZE, what training uses)",
    )
    parser.add_argument(
        "--runs", type=int, default=5, help="predictions that are timed (default 5, 0 for none)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        help="KEY VALUE pairs that change the config",
    )
    return parser.parse_args(argv)


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    tune_cpu()
    cfg = load_config(args.config, args.opts)
    # The cost does not depend on the weights: none are read or downloaded.
    forget_weights(cfg)
    size = tuple(args.size or map(int, cfg.INPUT.CROP.SIZE))
    if min(size) < 1:
        raise ProLabError(f"--size {size[0]} {size[1]}: give whole pixels, height and width")
    model = PropertySegmentor(cfg).to(cfg.MODEL.DEVICE, memory_format=torch.channels_last)
    parts = analyze_parts(model, size)
    figures = {
        "config": args.config,
        "size": list(size),
        "parts": {p.name: {"parameters": p.parameters, "flops": p.flops} for p in parts},
        "parameters": sum(part.parameters for part in parts),
        "flops": sum(part.flops for part in parts),
        "activation_bytes_per_image": saved_for_backward(model, size),
    }
    rows = [(p.name, p.parameters, p.flops / 1e9) for p in parts]
    rows.append(("all", figures["parameters"], figures["flops"] / 1e9))
    print(f"{args.config}, one image of {size[0]} x {size[1]} pixels\n")
    print(tabulate(rows, ["part", "parameters", "GFLOP"], intfmt=",", floatfmt=",.2f"))
    megabytes = figures["activation_bytes_per_image"] / 2**20
    print(f"\nkept for the backward pass: {megabytes:,.0f} MiB an image (float32)")
    if args.runs > 0:
        timing = time_inference(model, size, args.runs)
        figures["seconds"] = {"median": timing.median, "best": timing.best, "runs": timing.runs}
        threads = f", {torch.get_num_threads()} threads" if model.device.type == "cpu" else ""
        print(
            f"prediction: {timing.median:.3f} s median, {timing.best:.3f} s best of {timing.runs} "
            f"({model.device}{threads})"
        )
    if args.json:
        with atomic_path(args.json) as temporary:
            Path(temporary).write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
