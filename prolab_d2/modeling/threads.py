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
    thread. On other devices, and with one thread, this is a plain loop.
    """
    # Switches belong to a thread. What is made in inference mode may be written to there only.
    mode = torch.inference_mode if torch.is_inference_mode_enabled() else torch.no_grad
    run = mode()(function)
    threads = torch.get_num_threads()
    if device.type != "cpu" or min(threads, len(items)) < 2:
        yield from map(run, items)
        return
    try:
        with ThreadPoolExecutor(
            min(threads, len(items)), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            yield from pool.map(run, items)
    finally:
        torch.set_num_threads(threads)


def slices(stop: int, step: int, start: int = 0) -> Iterator[slice]:
    """Cuts [start, stop) into slices of `step`; the last may be shorter."""
    for first in range(start, stop, step):
        yield slice(first, min(first + step, stop))
