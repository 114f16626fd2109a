"""Whose turn it is: real threads, in the order in which they came."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from queue import Queue

import pytest

from prolab_d2.errors import ProLabError
from prolab_d2.explorer.turns import Turns

SECONDS = 60


def test_a_few_work_at_once_and_the_others_are_told_their_place() -> None:
    turns = Turns(at_once=2, most=8)
    told: Queue[tuple[str, int]] = Queue()
    leave = {name: threading.Event() for name in "abcd"}

    def visit(name: str) -> None:
        with turns.queue() as turn:
            for before in turn.wait():
                told.put((name, before))
            told.put((name, 0))
            assert leave[name].wait(SECONDS)

    with ThreadPoolExecutor(4) as pool:
        visits = []
        for name, before in zip("abcd", (0, 0, 1, 2), strict=True):
            visits.append(pool.submit(visit, name))
            assert told.get(timeout=SECONDS) == (name, before)
        leave["b"].set()
        moved = {told.get(timeout=SECONDS) for _ in range(2)}
        assert moved == {("c", 0), ("d", 1)}
        leave["a"].set()
        assert told.get(timeout=SECONDS) == ("d", 0)
        leave["c"].set()
        leave["d"].set()
        for one in visits:
            one.result(SECONDS)


def test_who_comes_to_a_full_queue_is_told_so() -> None:
    turns = Turns(at_once=1, most=1)
    with turns.queue() as first, turns.queue() as second:
        assert list(first.wait()) == []
        assert next(second.wait()) == 1
        with pytest.raises(ProLabError, match="too many others wait"), turns.queue():
            pass
    with turns.queue() as turn:
        assert list(turn.wait()) == []


def test_who_gives_up_makes_room() -> None:
    turns = Turns(at_once=1, most=2)

    def ask():
        with turns.queue() as turn:
            yield from turn.wait()

    with turns.queue():
        waiting = ask()
        assert next(waiting) == 1
        waiting.close()
        with turns.queue() as turn:
            assert next(turn.wait()) == 1
