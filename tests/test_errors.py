"""How command-line tools end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.golden import REPOSITORY

PROGRAM = """
import sys
from prolab_d2.errors import ProLabError, exit_cleanly

@exit_cleanly
def main():
    {}

sys.exit(main())
"""


@pytest.mark.parametrize(
    ("body", "code", "errors"),
    [
        ("print('done')", 0, ""),
        (
            "raise ProLabError('mask a.png is empty: draw it')",
            2,
            "error: mask a.png is empty: draw it",
        ),
        ("raise KeyboardInterrupt", 130, "interrupted"),
    ],
)
def test_errors_of_the_user_are_one_line(body: str, code: int, errors: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (code, errors)


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_has_enough_is_no_error(lines: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(f"[print('line', i) for i in range({lines})]")],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141
