#!/usr/bin/env python
"""Exports a checkpoint to ONNX or torch.export, and compares the file with PyTorch.

Examples:
    python tools/export_model.py output/model_best.pth --output model.onnx
    python tools/export_model.py output/model_best.pth --output labels.onnx --labels --size 480 640
    python tools/export_model.py output/model_best.pth --output model.pt2 --dynamic

The file takes RGB images (B, 3, H, W) with values from 0 to 255; they are normalised inside. Its
first output are the scores of all categories, (B, N, H / 4, W / 4), and its second one the property
activations, (B, K, H / 4, W / 4). Names, colours, signatures and all else that is needed to use the
file are in its metadata, as JSON under "prolab_d2".

Not in the file are the resize of the image to its test size, sliding windows and test-time
augmentation: what has to be done around the network is done by who calls it.

ONNX needs the packages onnx, onnxscript and onnxruntime (extra export).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.export import INPUT_TYPES, OPSET, Comparison, export_checkpoint


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", metavar="FILE.pth")
    parser.add_argument("--output", required=True, metavar="FILE", help="ends in .onnx or .pt2")
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="of the images, any pixels (default: the sliding windows' size if the config has "
        "them, else that of the crops in training)",
    )
    size.add_argument(
        "--dynamic",
        action="store_true",
        help="images of any size whose sides are multiples of size_divisibility (32), from twice "
        "that on, and any number of them",
    )
    first = parser.add_mutually_exclusive_group()
    first.add_argument(
        "--labels",
        action="store_true",
        help="the first output are category ids (B, H, W), int64, at the size of the image",
    )
    first.add_argument(
        "--resize", action="store_true", help="scores at the size of the image: (B, N, H, W)"
    )
    parser.add_argument(
        "--input-type", choices=list(INPUT_TYPES), default="uint8", help="(default uint8)"
    )
    parser.add_argument(
        "--opset", type=int, default=OPSET, help=f"of ONNX, 18 or more (default {OPSET})"
    )
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        help="KEY VALUE pairs that change the config",
    )
    return parser.parse_args(argv)


def print_comparison(comparison: Comparison) -> None:
    print(f"largest difference to PyTorch, {comparison}")


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    if args.opset < OPSET:
        raise ProLabError(f"--opset {args.opset}: give {OPSET} or more")
    export_checkpoint(
        args.checkpoint,
        args.output,
        size=tuple(args.size) if args.size else None,
        dynamic=args.dynamic,
        output_kind="labels" if args.labels else "scores",
        resize=args.resize,
        input_type=args.input_type,
        opset=args.opset,
        overrides=args.opts,
        report=print_comparison,
    )
    files = [Path(args.output), Path(f"{args.output}.data")]
    for file in files:
        if file.is_file():
            print(f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
