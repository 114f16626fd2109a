"""Jobs in threads give the same answers in the same order, and leave PyTorch's settings alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from prolab_d2.modeling.threads import in_threads, slices

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


def test_jobs_may_write_to_what_was_made_in_inference_mode(threads: int) -> None:
    with torch.inference_mode():
        answer = torch.zeros(5)

        def write(number: int) -> None:
            answer[number] = number

        list(in_threads(write, range(5), CPU))
    assert answer.tolist() == [0, 1, 2, 3, 4]
