"""Seconds and peak memory of functions, measured side by side.

Functions that are compared take turns, so that other work on the machine disturbs all of them
alike; ratios are those of neighbouring runs.
"""

from __future__ import annotations

import ctypes
import gc
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

__all__ = ["Measurement", "measure", "peak_memory", "ratio"]

Function = Callable[[], object]


@dataclass(frozen=True)
class Measurement:
    """Of one function, in the order of its runs.

    Attributes:
        wall: seconds.
        cpu: seconds of all threads and child processes.
        memory: peak above what was in use at the start, in bytes, the median of as many runs;
            None where the system does not tell, or where it was not asked for.
    """

    wall: tuple[float, ...]
    cpu: tuple[float, ...]
    memory: int | None

    @property
    def seconds(self) -> float:
        return statistics.median(self.wall)

    @property
    def cpu_seconds(self) -> float:
        return statistics.median(self.cpu)


def ratio(numerator: tuple[float, ...], denominator: tuple[float, ...]) -> float:
    """Median of the ratios of neighbouring runs."""
    pairs = zip(numerator, denominator, strict=True)
    return statistics.median(a / b for a, b in pairs)


def measure(
    functions: Mapping[str, Function], runs: int, device: torch.device, memory: bool = True
) -> dict[str, Measurement]:
    """Runs every function once to warm up, `runs` times in turns, and as often for its memory.

    What the C library makes of the same requests differs from run to run, by a sixth of the memory
    of a network: hence several. What the functions need has to be there before; what they return is
    thrown away.
    """
    for function in functions.values():
        function()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    for name in _in_turns(functions, runs):
        times[name].append(_timed(functions[name], device))
    peaks: dict[str, list[int]] = {name: [] for name in functions}
    for name in _in_turns(functions, runs if memory else 0):
        peak = peak_memory(functions[name], device)
        if peak is not None:
            peaks[name].append(peak)
    result = {}
    for name in functions:
        wall, cpu = zip(*times[name], strict=True)
        peak = int(statistics.median(peaks[name])) if peaks[name] else None
        result[name] = Measurement(wall, cpu, peak)
    return result


def _in_turns(names: Iterable[str], runs: int) -> Iterator[str]:
    order = list(names)
    for _ in range(runs):
        yield from order
        order.reverse()  # so that none always runs after the same one


def _timed(function: Function, device: torch.device) -> tuple[float, float]:
    _synchronize(device)
    cpu, wall = _cpu_seconds(), time.perf_counter()
    function()
    _synchronize(device)
    return time.perf_counter() - wall, _cpu_seconds() - cpu


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_memory(function: Function, device: torch.device) -> int | None:
    """Most bytes in use while `function` runs, above those at its start.

    On a GPU those of PyTorch's allocator. Else the resident memory of the process, whose peak Linux
    resets on demand; what the C library holds in reserve goes back to the system first, so that
    nothing is taken from there unseen. None on other systems.
    """
    gc.collect()
    if device.type == "cuda":
        _synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        _synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
    except (OSError, AttributeError, KeyError):
        return None
    function()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    """A figure of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(dict(line.split(":", 1) for line in lines)[key].split()[0]) * 1024
