from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from prolab_d2 import ProLabError
from prolab_d2.engine import argument_parser, launch


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(GPUs, machines) of every start; no process is started."""
    calls: list[tuple[int, int]] = []

    def record(run: Any, num_gpus: int, num_machines: int, **_: Any) -> None:
        calls.append((num_gpus, num_machines))

    # The package exports the function under the name of its module.
    monkeypatch.setattr(sys.modules[launch.__module__], "launch_detectron2", record)
    return calls


def start(monkeypatch: pytest.MonkeyPatch, available: int, gpus: int, machines: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: available)
    options = ["--num-gpus", str(gpus), "--num-machines", str(machines)]
    launch(lambda args: None, argument_parser().parse_args(options))


@pytest.mark.parametrize(
    ("available", "gpus", "machines"), [(0, 1, 1), (1, 1, 1), (4, 2, 1), (2, 2, 2), (1, 1, 3)]
)
def test_starts_what_the_machine_has(
    monkeypatch: pytest.MonkeyPatch, started: list, available: int, gpus: int, machines: int
) -> None:
    start(monkeypatch, available, gpus, machines)
    assert started == [(gpus, machines)]


@pytest.mark.parametrize(("available", "gpus", "machines"), [(0, 2, 1), (1, 2, 1), (0, 1, 2)])
def test_refuses_processes_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, started: list, available: int, gpus: int, machines: int
) -> None:
    with pytest.raises(ProLabError, match=f"--num-gpus {gpus} .* has {available} GPUs"):
        start(monkeypatch, available, gpus, machines)
    assert started == []
