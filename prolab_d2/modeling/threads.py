"""Chains of small operations on several CPU cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["in_threads", "slices"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], device: torch.device
) -> Iterator[Result]:
    """`function` of every item without gradients, in order, on a CPU side by side.

    PyTorch divides every single operation among its threads and then waits for the slowest. For
    chains of small operations that costs more than it gains, and a hundred times as much where
    other processes (workers of a data loader) compete for the cores. Here each chain stays in one
    thread. The calling thread takes its share: it is at work before others have started. On other
    devices, and with one thread, this is a plain loop.
    """
    # Switches belong to a thread. What is made in inference mode may be written to there only.
    mode = torch.inference_mode if torch.is_inference_mode_enabled() else torch.no_grad
    run = mode()(function)
    threads = min(torch.get_num_threads(), len(items))
    if device.type != "cpu" or threads < 2:
        yield from map(run, items)
        return
    results: list[Result | None] = [None] * len(items)
    left = iter(enumerate(items))

    def work() -> None:
        torch.set_num_threads(1)
        for index, item in left:
            results[index] = run(item)

    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads - 1) as pool:
            others = [pool.submit(work) for _ in range(threads - 1)]
            work()
        for other in others:
            other.result()
    finally:
        torch.set_num_threads(before)
    yield from results


def slices(stop: int, step: int, start: int = 0) -> Iterator[slice]:
    """Cuts [start, stop) into slices of `step`; the last may be shorter."""
    for first in range(start, stop, step):
        yield slice(first, min(first + step, stop))
