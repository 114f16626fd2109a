"""Chains of small operations on several CPU cores."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from typing import Generic, TypeVar

import torch

__all__ = ["Shared", "image_parts", "in_threads", "slices"]

Item = TypeVar("Item")
Result = TypeVar("Result")
Thing = TypeVar("Thing")


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
    before = torch.get_num_threads()
    threads = min(before, len(items))
    if device.type != "cpu" or threads < 2:
        yield from map(run, items)
        return
    results: list[Result | None] = [None] * len(items)
    left = iter(enumerate(items))

    def work() -> None:
        torch.set_num_threads(1)
        for index, item in left:
            results[index] = run(item)

    pool = _pool(os.getpid(), threads - 1)
    others = [pool.submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        # Who has not begun by now is not needed any more.
        others = [other for other in others if not other.cancel()]
        wait(others)
        torch.set_num_threads(before)
    for other in others:
        other.result()
    yield from results


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads that stay: to start them takes a millisecond or two. A process that was forked has
    none of those of its parent, hence one pool for each process."""
    return ThreadPoolExecutor(threads)


class Shared(Generic[Thing]):
    """Memory to work in that jobs take in turns: one for every thread at work.

    Nothing may stay in it from job to job: which thread does which job differs from run to run.
    """

    def __init__(self, make: Callable[[], Thing]) -> None:
        self._make = make
        self._free: list[Thing] = []

    @contextmanager
    def one(self) -> Iterator[Thing]:
        """One that no other job uses meanwhile."""
        try:
            thing = self._free.pop()
        except IndexError:
            thing = self._make()
        try:
            yield thing
        finally:
            self._free.append(thing)


def slices(stop: int, step: int, start: int = 0) -> Iterator[slice]:
    """Cuts [start, stop) into slices of `step`; the last may be shorter."""
    for first in range(start, stop, step):
        yield slice(first, min(first + step, stop))


def image_parts(
    batch: int, height: int, device: torch.device, *, step: int = 1, per_thread: int = 4
) -> list[tuple[int, slice]]:
    """Rows of images for `in_threads`: whole images, or on a CPU at least `per_thread` parts for
    every thread if possible, so that nobody waits long for the last one.

    Args:
        step: a part has a multiple of so many rows, but for the last ones of an image.

    Returns:
        (image, rows), in order.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    per_image = math.ceil(per_thread * threads / batch) if threads > 1 else 1
    rows = math.ceil(math.ceil(height / step) / per_image) * step
    return [(image, part) for image in range(batch) for part in slices(height, rows)]
