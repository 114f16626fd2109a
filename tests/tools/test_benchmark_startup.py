"""The case startup of the benchmark: what counts as reached, and the whole of it once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from prolab_d2.errors import ProLabError
from tools._benchmark import startup
from tools._benchmark.contest import Contest, Goal, Side, run_contest
from tools.benchmark import main, parse_args


def test_a_process_must_come_to_what_is_timed() -> None:
    startup._run([startup._END], 1)
    with pytest.raises(ProLabError, match="did not reach .* \\(ValueError: no such data\\)"):
        startup._run(["raise ValueError('no such data')"], 1)
    with pytest.raises(ProLabError, match="did not reach"):
        startup._run(["pass"], 1)


def test_the_side_that_takes_longer_is_judged_by_how_much() -> None:
    sides = {"long": Side(lambda: time.sleep(0.03)), "short": Side(lambda: None)}
    goals = (Goal("more_seconds", 0.02), Goal("more_seconds", 60))
    contest = Contest("sleep", sides, goals=goals, memory=False)
    outcome = run_contest(contest, 3, torch.device("cpu"))
    assert [goal["met"] for goal in outcome.as_dict()["goals"]] == [False, True]
    assert outcome.sides["long"].memory is None


@pytest.mark.slow
def test_training_starts() -> None:
    args = parse_args(["startup"])
    args.device = torch.device("cpu")
    limits = []
    for contest in startup.contests(args):
        first, *_ = contest.sides.values()
        first.run()  # raises where it does not come so far
        limits += [goal.limit for goal in contest.goals]
    assert limits == [5, 2]


@pytest.mark.slow
def test_a_training_that_does_not_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["startup", "--runs", "1", "--dataset", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the program did not reach what was to be timed")
    assert str(tmp_path) in line
