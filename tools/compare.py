#!/usr/bin/env python3
"""Trains several configs with several seeds and puts their results into one table.

Every run is a call of train_net.py with its own output folder. Finished runs are skipped and an
interrupted one goes on from its last checkpoint, so the command can be stopped and repeated. When
a run ends, its record (command, seed, times, versions, evaluation history) is written to
<logs>/<config>_seed<seed>.json; the table is made from these records alone.

Example, the comparison of the project's README on two cores, two runs side by side:
    tools/compare.py --configs camvid/lite0_property camvid/lite0_category --seeds 0 1 2 \\
        --jobs 2 --output output/compare --logs projects/ProLab/logs/camvid \\
        --test-dataset camvid_sem_seg_test
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from _runs import call, call_session, read_history, threads_of_run, versions

from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.files import atomic_path, check_writable


@dataclass(frozen=True)
class Run:
    """One training: a config, a seed, where it writes and where its record goes."""

    config: str
    seed: int
    output: Path
    record: Path
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{Path(self.config).stem} seed {self.seed}"

    def command(self) -> list[str]:
        """The training, without the interpreter."""
        return [
            "projects/ProLab/train_net.py", "--config-file", self.config, "--resume",
            "SEED", str(self.seed), "OUTPUT_DIR", str(self.output), *self.overrides,
        ]  # fmt: skip

    def test_command(self, dataset: str) -> list[str]:
        """The evaluation of the checkpoint that validation has chosen."""
        return [
            "projects/ProLab/train_net.py", "--config-file", self.config, "--eval-only",
            "MODEL.WEIGHTS", str(self.output / "model_best.pth"),
            "DATASETS.TEST", f"('{dataset}',)",
            "OUTPUT_DIR", str(self.output / "test"), *self.overrides,
        ]  # fmt: skip


def train(run: Run, threads: int, test_dataset: str | None) -> dict[str, Any]:
    """Trains (or finishes, or skips) one run and returns its record."""
    if run.record.is_file():
        print(f"{run.name}: done before, {run.record}", flush=True)
        return json.loads(run.record.read_text())
    print(f"{run.name}: training", flush=True)
    sessions = call_session(run.command(), run.output, threads)
    evaluations, losses = read_history(run.output / "metrics.json")
    best = max(evaluations, key=lambda entry: entry["mIoU"])
    record = {
        "config": run.config,
        "seed": run.seed,
        "command": " ".join(run.command()),
        "threads": threads,
        "sessions": sessions,
        "versions": versions(),
        "val_last": evaluations[-1],
        "val_best": best,
        "evaluations": evaluations,
        "losses": losses,
    }
    if test_dataset:
        call(run.test_command(test_dataset), run.output / "console.log", threads)
        results = run.output / "test/inference" / test_dataset / "sem_seg_metrics.json"
        record["test_command"] = " ".join(run.test_command(test_dataset))
        record["test"] = json.loads(results.read_text())["percent"]
    run.record.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(run.record) as temporary:
        Path(temporary).write_text(json.dumps(record, indent=1) + "\n")
    print(
        f"{run.name}: val mIoU {best['mIoU']:.2f}, {sessions[-1]['wall_s'] / 60:.1f} min",
        flush=True,
    )
    return record


def table(records: Sequence[dict[str, Any]]) -> str:
    """Markdown: one line per config with mean and sample standard deviation over the seeds."""
    lines = [
        "| config | seeds | val mIoU, last | val mIoU, best | test mIoU | minutes | CPU minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for config in dict.fromkeys(record["config"] for record in records):
        mine = [record for record in records if record["config"] == config]
        tested = [record["test"]["mIoU"] for record in mine if "test" in record]
        wall, cpu = (
            [sum(session[key] for session in record["sessions"]) / 60 for record in mine]
            for key in ("wall_s", "cpu_s")
        )
        cells = (
            Path(config).with_suffix("").as_posix(),
            str(len(mine)),
            _mean([record["val_last"]["mIoU"] for record in mine]),
            _mean([record["val_best"]["mIoU"] for record in mine]),
            _mean(tested) if tested else "-",
            f"{statistics.mean(wall):.1f}",
            f"{statistics.mean(cpu):.1f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--configs", nargs="+", required=True, help="config files or shipped names")
    result.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    result.add_argument("--output", type=Path, required=True, help="folder of the trainings")
    result.add_argument("--logs", type=Path, required=True, help="folder of the records")
    result.add_argument("--jobs", type=int, default=1, help="runs side by side")
    result.add_argument("--threads", type=int, help="threads of a run (default: cores / jobs)")
    result.add_argument("--test-dataset", help="evaluate the best checkpoint on this data set")
    result.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs")
    return result


@exit_cleanly
def main(argv: list[str] | None = None) -> None:
    args = parser().parse_args(argv)
    threads = threads_of_run(args.threads, args.jobs)
    check_writable(args.output)
    check_writable(args.logs)
    runs = [
        Run(
            config,
            seed,
            args.output / f"{Path(config).stem}_seed{seed}",
            args.logs / f"{Path(config).stem}_seed{seed}.json",
            tuple(args.opts),
        )
        for seed in args.seeds
        for config in args.configs
    ]
    taken = Counter(run.record for run in runs)
    twice = [run for run in runs if taken[run.record] > 1]
    if twice:
        raise ProLabError(
            f"two runs are called {twice[0].name}: give every config a file name of its own, and "
            "every config and seed once"
        )
    with ThreadPoolExecutor(args.jobs) as pool:
        records = list(pool.map(lambda run: train(run, threads, args.test_dataset), runs))
    print(table(records))


if __name__ == "__main__":
    sys.exit(main())
