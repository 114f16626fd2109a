"""Who may use the network now: a few at once, the others one after another, told their place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prolab_d2.errors import ProLabError

__all__ = ["Turn", "Turns"]


class Turn:
    """A place in the queue."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def wait(self) -> Iterator[int]:
        """Gives how many are before this one whenever that changes, and ends when it is 0."""
        before = self._turns.next_before(self, None)
        while before:
            yield before
            before = self._turns.next_before(self, before)


class Turns:
    """Places in a queue; may be used by many threads."""

    def __init__(self, at_once: int, most: int) -> None:
        """
        Args:
            at_once: how many work at the same time.
            most: how many may wait for that.
        """
        self._at_once = at_once
        self._most = most
        self._queue: list[Turn] = []
        self._changed = threading.Condition()

    @contextmanager
    def queue(self) -> Iterator[Turn]:
        """A place at the end, given back at the end of the `with` block.

        Raises:
            ProLabError: too many wait.
        """
        turn = Turn(self)
        with self._changed:
            if len(self._queue) >= self._at_once + self._most:
                raise ProLabError("too many others wait already: try again in a minute")
            self._queue.append(turn)
        try:
            yield turn
        finally:
            with self._changed:
                self._queue.remove(turn)
                self._changed.notify_all()

    def next_before(self, turn: Turn, told: int | None) -> int:
        """How many have to be ready before it is a turn's time, as soon as that is not `told`."""
        with self._changed:
            self._changed.wait_for(lambda: self._before(turn) != told)
            return self._before(turn)

    def _before(self, turn: Turn) -> int:
        return max(0, self._queue.index(turn) - self._at_once + 1)
