"""Outcomes of contests as a table to read and as JSON."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from tabulate import tabulate

from .contest import Goal, Outcome, is_met

__all__ = ["as_json", "outcome_text", "summary_text"]


def outcome_text(outcome: Outcome) -> str:
    """One contest: a row for every side."""
    contest = outcome.contest
    first = next(iter(outcome.sides.values()))
    rows = []
    for name, side in outcome.sides.items():
        flops = contest.sides[name].flops
        rows.append(
            (
                name,
                _milliseconds(side.seconds),
                _milliseconds(side.cpu_seconds),
                "" if side.memory is None else f"{side.memory / 1e6:,.1f}",
                f"{contest.pixels / side.seconds / 1e6:,.2f}" if contest.pixels else "",
                f"{side.seconds / flops * 1e12:,.1f}" if flops else "",
                f"{side.seconds / first.seconds:,.3f}",
            )
        )
    header = ("", "ms", "CPU ms", "peak MB", "Mpixel/s", "ms/GFLOP", "time / first")
    table = tabulate(
        rows, header, disable_numparse=True, colalign=("left", *["right"] * (len(header) - 1))
    )
    notes = [f"median of {len(first.wall)}"]
    ratios = outcome.ratios()
    if ratios:
        notes.append("first to second: " + ", ".join(f"{k} {v:.3f}" for k, v in ratios.items()))
    if outcome.difference is not None:
        notes.append(f"they differ by {outcome.difference:.1e}")
    return f"{contest.title}\n{table}\n({'; '.join(notes)})"


def summary_text(outcomes: Iterable[Outcome]) -> str:
    """The goals of all contests; an empty string if there are none."""
    rows = [
        (
            outcome.contest.title,
            goal.quantity,
            _amount(goal, goal.limit, limit=True),
            "not measured" if reached is None else _amount(goal, reached),
            {True: "met", False: "NOT MET", None: ""}[is_met(reached, goal)],
        )
        for outcome in outcomes
        for goal in outcome.contest.goals
        for reached in [outcome.reached(goal)]
    ]
    return tabulate(rows, ("case", "", "target", "reached", "")) if rows else ""


def as_json(case: str, arguments: Sequence[str], outcomes: Iterable[Outcome]) -> dict[str, Any]:
    return {
        "case": case,
        "arguments": list(arguments),
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "system": platform.platform(),
            "processor": _processor(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "contests": [outcome.as_dict() for outcome in outcomes],
    }


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.{1 if seconds < 1 else 0}f}"


def _amount(goal: Goal, value: float, limit: bool = False) -> str:
    """A figure in the words of the goal: "15.0 x less", "1.03 x", "50 ms", "300 MB"."""
    if goal.quantity in ("seconds", "more_seconds"):
        return f"{'at most ' * limit}{value * 1e3:.4g} ms"
    if goal.quantity == "megabytes":
        return f"{'at most ' * limit}{value:.4g} MB"
    if goal.limit < 0.5:
        return f"{'at least ' * limit}{1 / value:.1f} x less"
    return f"{'at most ' * limit}{value:.3f} x"


def _processor() -> str:
    if sys.platform == "linux":
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
