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
        turns, before = self._turns, None
        while before != 0:
            with turns.changed:
                turns.changed.wait_for(lambda: turns.before(self) != before)  # noqa: B023
                before = turns.before(self)
            if before:
                yield before


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
        self.changed = threading.Condition()

    @contextmanager
    def queue(self) -> Iterator[Turn]:
        """A place at the end, given back at the end of the `with` block.

        Raises:
            ProLabError: too many wait.
        """
        turn = Turn(self)
        with self.changed:
            if len(self._queue) >= self._at_once + self._most:
                raise ProLabError("too many others wait already: try again in a minute")
            self._queue.append(turn)
        try:
            yield turn
        finally:
            with self.changed:
                self._queue.remove(turn)
                self.changed.notify_all()

    def before(self, turn: Turn) -> int:
        """How many have to be ready before it is a turn's time; to be asked under `changed`."""
        return max(0, self._queue.index(turn) - self._at_once + 1)
