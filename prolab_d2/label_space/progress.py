"""How far a long job is: one bar per stage in a terminal, a few plain lines anywhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from tqdm import tqdm

__all__ = ["Progress", "Stage"]

# Seconds between two lines about one stage, where no bar can be drawn.
_LINE_EVERY = 30.0


class Progress:
    """Tells a user what happens. Without a stream it says nothing, which suits library calls.

    progress = Progress(sys.stdout)
    progress.tell("loading the language model")
    with progress.stage("descriptions", total=150, unit="categories") as stage:
        for category in categories:
            ...
            stage.advance()
    """

    def __init__(self, stream: TextIO | None = None, *, line_every: float = _LINE_EVERY) -> None:
        """
        Args:
            line_every: seconds between two lines about a stage when `stream` is no terminal.
        """
        self._stream = stream
        self._line_every = line_every
        self._start = time.monotonic()

    def tell(self, message: str) -> None:
        """One line, with the seconds since the start; a bar that is being drawn stays below it."""
        if self._stream is not None:
            line = f"[{time.monotonic() - self._start:6.1f} s] {message}"
            tqdm.write(line, file=self._stream)
            self._stream.flush()

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Stage]:
        """A part of the job whose steps can be counted.

        Args:
            total: number of steps.
            unit: what a step is, in the plural.
        """
        bar = None
        if self._stream is not None and self._stream.isatty():
            bar = tqdm(
                desc=name,
                total=total,
                unit=" " + unit,
                file=self._stream,
                leave=False,
            )
        stage = Stage(self, name, total, unit, bar, self._line_every)
        try:
            yield stage
        finally:
            if bar is not None:
                bar.close()
        stage.sum_up()


class Stage:
    """Counts the steps of one stage; made by `Progress.stage`. Threads may share it."""

    def __init__(
        self,
        progress: Progress,
        name: str,
        total: int,
        unit: str,
        bar: tqdm | None,
        line_every: float,
    ) -> None:
        self._progress, self._name, self._unit = progress, name, unit
        self._total, self._done, self._reused = total, 0, 0
        self._bar, self._line_every = bar, line_every
        self._start = self._last_line = time.monotonic()
        self._lock = threading.Lock()

    def advance(self, steps: int = 1, *, reused: bool = False) -> None:
        """`steps` more are done.

        Args:
            reused: by an earlier run; they say nothing about the time left.
        """
        with self._lock:
            self._done += steps
            self._reused += steps if reused else 0
            if self._bar is not None:
                self._bar.initial = self._reused
                self._bar.update(steps)
                return
            now = time.monotonic()
            new = self._done - self._reused
            if not new or now - self._last_line < self._line_every or self._done >= self._total:
                return
            self._last_line = now
            left = (now - self._start) / new * (self._total - self._done)
            self._progress.tell(
                f"{self._name}: {self._done} of {self._total} {self._unit}, {_duration(left)} left"
            )

    def tell(self, message: str) -> None:
        """A line about something that happened in this stage."""
        self._progress.tell(f"{self._name}: {message}")

    def sum_up(self) -> None:
        """The last line of a stage that has come to its end."""
        if self._reused >= self._total:
            self._progress.tell(f"{self._name}: {self._total} {self._unit} of an earlier run")
            return
        taken = (
            f"{self._done - self._reused} {self._unit} in {time.monotonic() - self._start:.1f} s"
        )
        reused = f", {self._reused} of an earlier run" if self._reused else ""
        self._progress.tell(f"{self._name}: {taken}{reused}")


def _duration(seconds: float) -> str:
    """ "40 s", "12 min" or "3 h 20 min", rounded up so that it never says 0."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
