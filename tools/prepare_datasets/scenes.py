#!/usr/bin/env python
"""Draws the built-in scenes ahead of their first use, or more of them.

Examples:
    python tools/prepare_datasets/scenes.py
    python tools/prepare_datasets/scenes.py --output my_scenes --train 2000 --val 200 --test 0

Without --output they go to $DETECTRON2_DATASETS/scenes ("datasets/scenes" without the variable).
The program can be stopped at any time and goes on where it was. With more scenes than the default,
name the folder in the config (DATASETS.FOLDER) or with --dataset.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from prolab_d2.data.datasets.scenes import scenes_root
from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.scenes import COUNTS, write_scenes


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", metavar="FOLDER", help="where to (see above)")
    for split, count in COUNTS.items():
        parser.add_argument(
            f"--{split}", type=int, default=count, metavar="N", help=f"scenes (default {count})"
        )
    parser.add_argument("--workers", type=int, help="processes (default: one per processor)")
    return parser.parse_args(argv)


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    root = args.output or scenes_root()
    counts = {split: getattr(args, split) for split in COUNTS}
    for split, count in counts.items():
        if not 0 <= count <= 100_000:
            raise ProLabError(f"--{split} {count} is not possible: give a number up to 100000")
    if not any(counts.values()):
        raise ProLabError("no scenes to draw: give --train, --val or --test a number")
    if args.workers is not None and args.workers < 1:
        raise ProLabError(f"--workers {args.workers} is not possible: give 1 or more")
    drawn = write_scenes(root, counts, args.workers, report=print)
    print(f"{sum(counts.values())} scenes in {root}, {drawn} of them new")


if __name__ == "__main__":
    sys.exit(main())
