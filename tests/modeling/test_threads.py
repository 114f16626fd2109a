"""Jobs in threads give the same answers in the same order, and leave PyTorch's settings alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from prolab_d2.modeling.threads import Shared, image_parts, in_threads, slices
from tests.golden import REPOSITORY

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order_and_without_gradient(threads: int) -> None:
    weight = torch.ones(3, requires_grad=True)
    numbers = []
    for result in in_threads(lambda i: i * weight, range(7), CPU):
        numbers.append(int(result[0]))
        assert not result.requires_grad
        assert (2 * weight).requires_grad, "the switch must not reach the caller"
    assert numbers == list(range(7))


def test_every_job_has_one_thread_and_the_setting_comes_back(threads: int) -> None:
    assert list(in_threads(lambda _: torch.get_num_threads(), range(4), CPU)) == [1] * 4
    assert torch.get_num_threads() == threads


def test_an_error_arrives_and_the_setting_comes_back(threads: int) -> None:
    def fail(number: int) -> int:
        return 1 // number

    with pytest.raises(ZeroDivisionError):
        list(in_threads(fail, [1, 0, 1], CPU))
    assert torch.get_num_threads() == threads


def test_slices_cover_a_range() -> None:
    assert list(slices(7, 3)) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert list(slices(7, 3, start=2)) == [slice(2, 5), slice(5, 7)]
    assert list(slices(4, 9)) == [slice(0, 4)]


def test_no_two_jobs_have_the_same_memory_at_a_time(threads: int) -> None:
    made: list[list[int]] = []

    def make() -> list[int]:
        made.append([])
        return made[-1]

    memory = Shared(make)

    def use(job: int) -> None:
        with memory.one() as mine:
            mine.append(job)
            time.sleep(1e-4)
            assert mine.pop() == job
            assert not mine

    list(in_threads(use, range(50), CPU))
    assert 1 <= len(made) <= threads


def test_shared_memory_comes_back_after_an_error() -> None:
    memory = Shared(list)
    with pytest.raises(ZeroDivisionError), memory.one() as first:
        raise ZeroDivisionError
    with memory.one() as second:
        assert second is first


def test_parts_of_images_cover_all_rows_in_whole_steps(threads: int) -> None:
    parts = image_parts(2, 10, CPU, step=3)
    assert parts[0][0] == 0 and parts[-1][0] == 1
    for image in (0, 1):
        rows = [rows for place, rows in parts if place == image]
        assert [r for part in rows for r in range(part.start, part.stop)] == list(range(10))
        assert all(part.start % 3 == 0 for part in rows)
    assert len(parts) == (2 if threads == 1 else 8)


def test_jobs_may_write_to_what_was_made_in_inference_mode(threads: int) -> None:
    with torch.inference_mode():
        answer = torch.zeros(5)

        def write(number: int) -> None:
            answer[number] = number

        list(in_threads(write, range(5), CPU))
    assert answer.tolist() == [0, 1, 2, 3, 4]


def test_several_callers_at_once_get_their_own_results() -> None:
    def call(caller: int) -> list[int]:
        torch.set_num_threads(3)
        return list(in_threads(lambda item: 100 * caller + item, range(20), CPU))

    before = torch.get_num_threads()
    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(call, range(8)))
    torch.set_num_threads(before)
    assert answers == [[100 * caller + item for item in range(20)] for caller in range(8)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_jobs_run_side_by_side_in_a_forked_process_too() -> None:
    program = """
import os, threading, torch
from prolab_d2.modeling.threads import in_threads
torch.set_num_threads(3)
def meet():
    barrier = threading.Barrier(3, timeout=30)
    return sorted(in_threads(lambda _: barrier.wait(), range(3), torch.device("cpu")))
assert meet() == [0, 1, 2]
child = os.fork()
if child == 0:
    os._exit(0 if meet() == [0, 1, 2] else 1)
print(os.waitpid(child, 0)[1])
"""
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("0\n", "")
