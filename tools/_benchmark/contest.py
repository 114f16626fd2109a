"""A contest: implementations of one task, what they are checked for, and what is to be reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from prolab_d2.errors import ProLabError

from .measure import Measurement, measure, ratio

__all__ = ["Contest", "Goal", "Outcome", "Side", "run_contest"]

QUANTITIES = ("time", "memory", "seconds", "more_seconds", "megabytes")


@dataclass(frozen=True)
class Side:
    """One implementation.

    Attributes:
        run: does the task once; its answer is thrown away.
        flops: 2 x multiply-adds of its matrix products, where they are worth a mention.
    """

    run: Callable[[], object]
    flops: float | None = None


@dataclass(frozen=True)
class Goal:
    """What the first side of a contest has to reach.

    Attributes:
        quantity: "time" or "memory", as a multiple of the second side's; "more_seconds" than the
            second side; or "seconds" or "megabytes" (10^6 bytes above start) of its own.
        limit: the most that is allowed.
    """

    quantity: str
    limit: float

    def __post_init__(self) -> None:
        assert self.quantity in QUANTITIES, self.quantity


@dataclass(frozen=True)
class Contest:
    """
    Attributes:
        title: what is done, in one line.
        sides: by name, at least one. The first is judged, the second is what it is compared with,
            further ones (a bare matrix product, say) are there to see.
        settings: sizes and options, for the file of results.
        goals: none where nothing has to be reached.
        check: returns how far the first sides are apart, relative to the size of the numbers.
        checked: how many sides it compares.
        tolerance: the most that `check` may return.
        pixels: what one run deals with, for the throughput; 0 if that says nothing.
        runs: at most so many timed runs, for sides that take long.
        memory: whether its peak tells anything; it does not where sides are other processes.
    """

    title: str
    sides: dict[str, Side]
    settings: dict[str, Any] = field(default_factory=dict)
    goals: tuple[Goal, ...] = ()
    check: Callable[[], float] | None = None
    checked: int = 2
    tolerance: float = 1e-5
    pixels: int = 0
    runs: int | None = None
    memory: bool = True


@dataclass(frozen=True)
class Outcome:
    """What `run_contest` measured; `difference` is what the check returned."""

    contest: Contest
    sides: dict[str, Measurement]
    difference: float | None

    def ratios(self) -> dict[str, float]:
        """Of the first side to the second, in wall time, CPU time and memory, as far as known."""
        if len(self.sides) < 2:
            return {}
        first, second = list(self.sides.values())[:2]
        ratios = {
            "time": ratio(first.wall, second.wall),
            "cpu_time": ratio(first.cpu, second.cpu) if all(second.cpu) else None,
            "memory": first.memory / second.memory if first.memory and second.memory else None,
        }
        return {name: value for name, value in ratios.items() if value is not None}

    def reached(self, goal: Goal) -> float | None:
        """The figure to compare with the limit of a goal; None if it was not measured."""
        first = next(iter(self.sides.values()))
        if goal.quantity == "seconds":
            return first.seconds
        if goal.quantity == "more_seconds":
            second = list(self.sides.values())[1]
            return statistics.median(a - b for a, b in zip(first.wall, second.wall, strict=True))
        if goal.quantity == "megabytes":
            return None if first.memory is None else first.memory / 1e6
        return self.ratios().get(goal.quantity)

    def as_dict(self) -> dict[str, Any]:
        """For a file of results."""
        contest = self.contest
        return {
            "title": contest.title,
            "settings": contest.settings,
            "sides": {
                name: {
                    "seconds": side.seconds,
                    "cpu_seconds": side.cpu_seconds,
                    "runs": len(side.wall),
                    "peak_memory_bytes": side.memory,
                    "flops": contest.sides[name].flops,
                    "pixels_per_second": contest.pixels / side.seconds if contest.pixels else None,
                }
                for name, side in self.sides.items()
            },
            "ratios": self.ratios(),
            "difference": self.difference,
            "goals": [
                {**asdict(goal), "reached": reached, "met": is_met(reached, goal)}
                for goal in contest.goals
                for reached in [self.reached(goal)]
            ],
        }


def is_met(reached: float | None, goal: Goal) -> bool | None:
    return None if reached is None else reached <= goal.limit


def run_contest(contest: Contest, runs: int, device: torch.device, memory: bool = True) -> Outcome:
    """
    Raises:
        ProLabError: the sides do not agree.
    """
    difference = None
    if contest.check is not None:
        difference = contest.check()
        # Not "greater": NaN must not pass.
        if not difference <= contest.tolerance:
            names = " and ".join(list(contest.sides)[: contest.checked])
            raise ProLabError(
                f"{contest.title}: {names} differ by "
                f"{difference:.1e} (at most {contest.tolerance:.0e} is allowed), so their times "
                "mean nothing: find out which of them is wrong"
            )
    functions = {name: side.run for name, side in contest.sides.items()}
    runs = min(runs, contest.runs or runs)
    return Outcome(contest, measure(functions, runs, device, memory and contest.memory), difference)
