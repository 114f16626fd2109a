"""What a program says when it cannot do what it was asked for."""

from __future__ import annotations

import re

import pytest


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed on stderr: one sentence, and no traceback anywhere."""
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    lines = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, captured.err
    return lines[0]


def fails(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> None:
    """The run ended with code 2 and one sentence that holds `words`."""
    assert code == 2
    line = error_line(capsys)
    for word in words:
        assert word in line


def assert_one_sentence(capsys: pytest.CaptureFixture[str], message: str) -> None:
    """Nothing but one sentence, which matches `message`, is on stderr."""
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: [^\n]+\n", error), error
    assert re.search(message, error), error
