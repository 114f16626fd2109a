"""Starting train_net.py: a new process each time, up to its first iteration, and its imports.

Without --dataset it trains on a few built-in scenes, drawn before. The first run warms the cache of
the files; memory is not measured. "first to second" of the imports is with this package to without.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from prolab_d2.errors import ProLabError
from prolab_d2.scenes import write_scenes

from .contest import Contest, Goal, Side

_REPOSITORY = Path(__file__).resolve().parents[2]
_REACHED = 77  # exit code of a process that came as far as it should
_START_SECONDS, _IMPORT_SECONDS = 5, 2
# Runs train_net.py and ends it where a method of the trainer is called.
_TRAIN = f"""
import os, runpy, sys
from detectron2.engine import TrainerBase
setattr(TrainerBase, sys.argv.pop(1), lambda *_: os._exit({_REACHED}))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_TORCH = "import torch, torchvision; "
_DETECTRON2 = (
    _TORCH + "import detectron2.engine, detectron2.evaluation, detectron2.modeling, "
    "detectron2.checkpoint; "
)
_PACKAGE = _DETECTRON2 + "import prolab_d2.engine; "
_END = f"import os; os._exit({_REACHED})"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", default="scenes/lite0_property", help="(default scenes/lite0_property)"
    )
    parser.add_argument("--dataset", metavar="FOLDER", help="instead of drawn scenes")


def contests(args: argparse.Namespace) -> Iterator[Contest]:
    with tempfile.TemporaryDirectory() as folder:
        dataset = args.dataset
        if dataset is None:
            dataset = f"{folder}/scenes"
            write_scenes(dataset, {"train": 4, "val": 1})
        yield _training(args, dataset, folder)
    yield _imports(args)


def _training(args: argparse.Namespace, dataset: str, folder: str) -> Contest:
    command = ["projects/ProLab/train_net.py", "--config-file", args.config, "--dataset", dataset]
    command += ["OUTPUT_DIR", f"{folder}/output", "MODEL.DEVICE", str(args.device)]

    def run(method: str) -> None:
        _run([_TRAIN, method, *command], args.threads)

    return Contest(
        f"train_net.py --config-file {args.config}",
        {
            "to the first iteration": Side(lambda: run("before_step")),
            "through it": Side(lambda: run("after_step")),
        },
        {"config": args.config},
        goals=(Goal("seconds", _START_SECONDS),),
        memory=False,
    )


def _imports(args: argparse.Namespace) -> Contest:
    programs = {
        "with this package": _PACKAGE,
        "torch and Detectron2": _DETECTRON2,
        "torch": _TORCH,
    }
    return Contest(
        "imports",
        {
            name: Side(lambda code=code: _run([code + _END], args.threads))
            for name, code in programs.items()
        },
        goals=(Goal("more_seconds", _IMPORT_SECONDS),),
        memory=False,
    )


def _run(program: list[str], threads: int) -> None:
    """Runs `python -c` with these arguments.

    Raises:
        ProLabError: it ended elsewhere than it should.
    """
    # Not pipes: workers of a data loader keep theirs open for seconds after the end.
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", *program],
            cwd=_REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        output.seek(0)
        lines = output.read().strip().splitlines()
    if done.returncode != _REACHED:
        raise ProLabError(
            f"the program did not reach what was to be timed ({lines[-1] if lines else 'no error'})"
            ": run train_net.py with the same config and data set to see more"
        )
