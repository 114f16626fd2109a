from __future__ import annotations

import io
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from prolab_d2.label_space.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[str]:
    """Without the seconds that begin and end them."""
    text = re.sub(r"^\[ *\d+\.\d s\] ", "", stream.getvalue(), flags=re.MULTILINE)
    return re.sub(r" in \d+\.\d s", "", text).splitlines()


def test_without_a_stream_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.tell("hello")
    with progress.stage("names", total=2, unit="properties") as stage:
        stage.advance()
        stage.tell("hello")
    assert capsys.readouterr() == ("", "")


def test_no_terminal_gets_one_line_a_stage() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    with progress.stage("names", total=3, unit="properties") as stage:
        for _ in range(3):
            stage.advance()
        stage.tell("one was long")
    assert lines(stream) == ["names: one was long", "names: 3 properties"]
    assert "\r" not in stream.getvalue()


def test_a_long_stage_tells_how_much_time_is_left() -> None:
    stream = io.StringIO()
    with Progress(stream, line_every=0).stage("names", total=3, unit="properties") as stage:
        stage.advance()
        stage.advance(2)
    assert lines(stream) == ["names: 1 of 3 properties, 1 s left", "names: 3 properties"]


@pytest.mark.parametrize(
    ("reused", "expected"),
    [(2, "names: 1 properties, 2 of an earlier run"), (3, "names: 3 properties of an earlier run")],
)
def test_what_an_earlier_run_has_done_is_told(reused: int, expected: str) -> None:
    stream = io.StringIO()
    with Progress(stream).stage("names", total=3, unit="properties") as stage:
        stage.advance(reused, reused=True)
        stage.advance(3 - reused)
    assert lines(stream) == [expected]


def test_a_stage_that_fails_is_not_summed_up() -> None:
    stream = Terminal()
    with (
        pytest.raises(KeyboardInterrupt),
        Progress(stream).stage("names", total=3, unit="properties"),
    ):
        raise KeyboardInterrupt
    assert "names: 0 properties" not in stream.getvalue()


def test_a_terminal_gets_a_bar_with_the_time_left() -> None:
    stream = Terminal()
    with Progress(stream).stage("names", total=4, unit="properties") as stage:
        stage.advance(reused=True)
        stage.advance()
        stage.tell("one was long")
    bars = stream.getvalue().split("\r")
    assert any(re.search(r"names:  50%.* 2/4 \[", bar) for bar in bars)
    assert any("names: one was long\n" in bar for bar in bars)
    assert lines(stream)[-1].endswith("names: 1 properties, 1 of an earlier run")


def test_threads_may_share_a_stage() -> None:
    stream = io.StringIO()
    with (
        Progress(stream).stage("names", total=4000, unit="properties") as stage,
        ThreadPoolExecutor(8) as pool,
    ):
        list(pool.map(lambda _: stage.advance(), range(4000)))
    assert lines(stream) == ["names: 4000 properties"]
