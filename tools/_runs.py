"""For tools that train: programs as processes, and what trainings have written."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from prolab_d2.errors import ProLabError
from prolab_d2.files import atomic_path

REPOSITORY = Path(__file__).resolve().parent.parent
METRICS = ("mIoU", "mIoU_mmseg", "pACC")


def call(command: Sequence[str], log: Path, threads: int) -> tuple[float, float]:
    """Runs a program of the repository with its output appended to `log`.

    Returns:
        wall seconds and CPU seconds (user + system, all processes of the command).
    Raises:
        ProLabError: the command failed; the message ends with its last line.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, str(REPOSITORY / command[0]), *command[1:]],
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        lines = log.read_text(errors="replace").strip().splitlines()
        raise ProLabError(f"{' '.join(command)} failed, see {log}: {lines[-1] if lines else ''}")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime


def call_session(command: Sequence[str], output: Path, threads: int) -> list[dict[str, float]]:
    """Runs a training that may have been interrupted before, logged in output/console.log.

    Returns:
        wall_s and cpu_s of every session that came to its end, kept in output/times.json.
    Raises:
        ProLabError: the command failed.
    """
    times_file = output / "times.json"
    sessions = json.loads(times_file.read_text()) if times_file.is_file() else []
    wall, cpu = call(command, output / "console.log", threads)
    sessions.append({"wall_s": round(wall, 1), "cpu_s": round(cpu, 1)})
    with atomic_path(times_file) as temporary:
        Path(temporary).write_text(json.dumps(sessions))
    return sessions


def threads_of_run(threads: int | None, jobs: int) -> int:
    """How many threads each of `jobs` programs side by side gets: those asked for, or its share.

    Raises:
        ProLabError: one of the numbers is below 1.
    """
    for name, number in (("jobs", jobs), ("threads", threads)):
        if number is not None and number < 1:
            raise ProLabError(f"--{name} {number}: give a number from 1")
    return threads or max((os.cpu_count() or 1) // jobs, 1)


def _of_data_sets(entry: dict[str, float]) -> dict[str, float]:
    """What an evaluation on several data sets has found on each."""
    ending = "/sem_seg/mIoU"
    return {
        f"mIoU of {key.removesuffix(ending)}": round(value, 4)
        for key, value in entry.items()
        if key.endswith(ending)
    }


def read_history(metrics_file: Path) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Evaluations and losses after so many iterations, from Detectron2's metrics.json.

    Iterations that a resumed training has repeated count once.
    """
    entries = [json.loads(line) for line in metrics_file.read_text().splitlines()]
    losses = {
        entry["iteration"] + 1: round(entry["total_loss"], 5)
        for entry in entries
        if "total_loss" in entry
    }
    # The evaluation after the last iteration is logged under a number one higher.
    last = max(losses)
    evaluations = {
        min(entry["iteration"] + 1, last): {
            **{key: round(entry[f"sem_seg/{key}"], 4) for key in METRICS},
            **_of_data_sets(entry),
        }
        for entry in entries
        if "sem_seg/mIoU" in entry
    }
    return (
        [{"iteration": key, **evaluations[key]} for key in sorted(evaluations)],
        [{"iteration": key, "loss": losses[key]} for key in sorted(losses)],
    )


def versions() -> dict[str, str]:
    """Of Python and of the libraries that a result depends on."""
    names = ("torch", "torchvision", "timm", "detectron2", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
