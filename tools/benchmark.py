#!/usr/bin/env python
"""Measures time and memory of the parts of the project against plain implementations.

Examples:
    python tools/benchmark.py loss --size 256 256 --categories 150 --properties 256
    python tools/benchmark.py loss --preset targets --json loss.json

Implementations take turns and are checked to give the same numbers; ratios are those within one
run. Memory is the peak above what was in use at the start.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from _benchmark import deformable, inference, label_space, loss, mapper, startup, step
from _benchmark.contest import run_contest
from _benchmark.options import add_common_options, check_common_options
from _benchmark.report import as_json, outcome_text, summary_text

from prolab_d2.device import tune_cpu
from prolab_d2.errors import exit_cleanly
from prolab_d2.files import atomic_path, check_writable

# A case is a module whose docstring says what it measures, with
#   add_options(parser): its own options;
#   contests(args): yields `Contest`s, each made when it is its turn; `args.preset` is None or
#     "targets".
CASES = {
    "loss": loss,
    "inference": inference,
    "mapper": mapper,
    "step": step,
    "label-space": label_space,
    "deformable": deformable,
    "startup": startup,
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    cases = parser.add_subparsers(dest="case", required=True, metavar="CASE")
    for name, case in CASES.items():
        summary = case.__doc__.splitlines()[0]
        options = cases.add_parser(
            name, help=summary, description=case.__doc__, formatter_class=formatter
        )
        case.add_options(options)
        add_common_options(options)
    return parser.parse_args(argv)


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    check_common_options(args)
    if args.json:
        check_writable(Path(args.json).parent)
    if args.tune:
        tune_cpu(training=True)
    before = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    try:
        outcomes = []
        for contest in CASES[args.case].contests(args):
            outcomes.append(run_contest(contest, args.runs, args.device, not args.no_memory))
            print(outcome_text(outcomes[-1]), end="\n\n", flush=True)
        print(summary_text(outcomes))
        if args.json:
            with atomic_path(args.json) as temporary:
                figures = as_json(args.case, argv, outcomes)
                Path(temporary).write_text(json.dumps(figures, indent=1) + "\n")
    finally:
        torch.set_num_threads(before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
