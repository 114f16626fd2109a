"""The benchmark at tiny sizes: what it prints and writes, and what it refuses to compare."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode

from prolab_d2.errors import ProLabError
from tools._benchmark import inference, loss
from tools._benchmark.contest import Contest, Goal, Side, run_contest
from tools._benchmark.measure import measure, peak_memory
from tools._benchmark.problem import Problem, Settings
from tools.benchmark import main

CPU = torch.device("cpu")
SMALL = ["--size", "16", "24", "--categories", "5", "--properties", "8", "--channels", "6"]
SMALL += ["--dim", "7", "--runs", "2", "--threads", "1"]


@pytest.fixture
def small() -> Problem:
    settings = Settings(1, (16, 24), categories=5, properties=8, channels=6, dim=7)
    return Problem(settings, CPU)


def _contests(argv: list[str], folder: Path) -> list[dict[str, Any]]:
    """What the tool wrote."""
    assert main([*argv, "--json", str(folder / "figures.json")]) == 0
    figures = json.loads((folder / "figures.json").read_text())
    assert figures["case"] == argv[0]
    assert figures["environment"]["torch"] == torch.__version__
    return figures["contests"]


@pytest.mark.parametrize("case", ["loss", "inference"])
@pytest.mark.parametrize("extra", [[], ["--normalize", "--dtype", "bfloat16"]])
def test_ours_against_dense(
    case: str, extra: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (contest,) = _contests([case, *SMALL, *extra], tmp_path)
    assert contest["settings"]["size"] == [16, 24]
    assert list(contest["sides"])[:2] == ["ours", "dense"]
    assert contest["difference"] <= 1e-5
    for side in contest["sides"].values():
        assert side["runs"] == 2
        assert side["seconds"] > 0
    assert contest["ratios"]["time"] > 0
    assert re.search(r"^dense +[\d.,]+ ", capsys.readouterr().out, flags=re.MULTILINE)


def test_a_step_of_two_supervisions(
    tiny_cfg: CfgNode, tiny_label_space_folder: Path, tmp_path: Path, tuned: list[str]
) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(tiny_cfg.dump())
    argv = ["step", "--config", str(config), "--label-space", str(tiny_label_space_folder)]
    argv += ["--batch", "2", "--size", "64", "64", "--runs", "5", "--no-memory", "--tune"]
    tuned.clear()
    whole, losses = _contests(argv, tmp_path)
    assert tuned == ["_keep_freed_memory"]
    assert list(whole["sides"]) == list(losses["sides"]) == ["property", "category"]
    assert (whole["settings"]["categories"], whole["settings"]["properties"]) == (5, 12)
    assert whole["sides"]["property"]["peak_memory_bytes"] is None
    assert losses["sides"]["property"]["seconds"] < whole["sides"]["property"]["seconds"]


def test_a_loss_that_is_wrong_is_seen(small: Problem) -> None:
    right = loss._dense(small)

    def wrong_value(*inputs: torch.Tensor) -> torch.Tensor:
        return right(*inputs) + 1e-4

    def wrong_gradient(*inputs: torch.Tensor) -> torch.Tensor:
        value = right(*inputs)
        return value + 1e-4 * (inputs[2] - inputs[2].detach()).sum()

    assert loss.difference(right, right, small) == 0
    assert loss.difference(wrong_value, right, small) > 1e-5
    assert loss.difference(wrong_gradient, right, small) > 1e-5


def test_labels_that_are_wrong_are_seen(small: Problem) -> None:
    labels = inference._dense(small).clone()
    assert inference.difference(labels, small) == 0
    labels[0, 3, 5] = (labels[0, 3, 5] + 1) % 5
    assert inference.difference(labels, small) > 1e-5


@pytest.mark.parametrize("difference", [2e-5, float("nan")])
def test_what_does_not_agree_is_not_timed(difference: float) -> None:
    sides = {"one": Side(pytest.fail), "other": Side(pytest.fail)}
    contest = Contest("sum", sides, check=lambda: difference)
    with pytest.raises(ProLabError, match="sum: one and other differ by .* is wrong"):
        run_contest(contest, 1, CPU)


def test_goals_are_judged_by_what_was_measured() -> None:
    tensor = torch.zeros(2**20)
    sides = {"much": Side(lambda: tensor.repeat(16)), "little": Side(lambda: tensor.repeat(4))}
    goals = (Goal("memory", 3), Goal("memory", 5), Goal("megabytes", 60), Goal("megabytes", 100))
    outcome = run_contest(Contest("copies", sides, goals=goals), 1, CPU)
    if outcome.sides["much"].memory is None:
        pytest.skip("peak memory cannot be measured on this system")
    assert [goal["met"] for goal in outcome.as_dict()["goals"]] == [False, True, False, True]


def test_peak_memory_is_that_of_the_run_alone() -> None:
    kept = torch.ones(2**22)  # 16 MiB that are there before

    def run() -> None:
        for _ in range(3):
            torch.ones(2**23).sum()  # 32 MiB at a time

    peak = peak_memory(run, CPU)
    if peak is None:
        pytest.skip("peak memory cannot be measured on this system")
    assert kept[0] == 1
    assert 30 * 2**20 < peak < 48 * 2**20


def test_functions_take_turns() -> None:
    calls: list[str] = []
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    result = measure(functions, runs=2, device=CPU, memory=False)
    assert "".join(calls) == "ab" + "ab" + "ba"
    assert len(result["a"].wall) == 2
    assert result["a"].memory is None


def test_bad_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["loss", *SMALL, "--runs", "0"]) == 2
    assert main(["loss", *SMALL, "--temperature", "0"]) == 2
    assert main(["inference", *SMALL, "--categories", "0"]) == 2
    assert main(["loss", *SMALL, "--device", "nowhere"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error"] * 4
