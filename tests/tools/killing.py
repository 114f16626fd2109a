"""Runs tools/build_label_space.py as processes that are killed at a chosen moment.

`python -m tests.tools.killing ROOT` reads lines of JSON, the arguments of `Runner.run`, runs the
tool for each in a process of its own, and answers each with a line, an `Outcome`. A step is a
change of files below ROOT; before step number `kill_at` the process sends itself SIGKILL, which
nothing can catch or clean up after. Processes are forked when all libraries have been imported, so
that hundreds of them take a minute.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.golden import REPOSITORY

_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir")


@dataclass(frozen=True)
class Outcome:
    """`status` is as of `subprocess`, -9 after a kill; `steps` counts changes of files."""

    status: int
    steps: int
    output: str


class Runner:
    """Talks with the process of this module."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(
        self, arguments: Sequence[str], kill_at: int | None = None, *, max_file: int | None = None
    ) -> Outcome:
        """
        Args:
            kill_at: the first step that is not done.
            max_file: files cannot grow beyond so many bytes.
        """
        request = {"arguments": list(arguments), "kill_at": kill_at, "max_file": max_file}
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return Outcome(**json.loads(self._process.stdout.readline()))


@contextlib.contextmanager
def running(root: Path) -> Iterator[Runner]:
    """A process that runs the tool for everything below `root`."""
    command = [sys.executable, "-m", "tests.tools.killing", str(root)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Runner(process)
        finally:
            process.stdin.close()
            process.wait()


def main() -> None:
    root = sys.argv[1]
    tool = _tool()
    for line in sys.stdin:
        request = json.loads(line)
        output, steps = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(output[1], 1)
            os.dup2(output[1], 2)
            _count_steps(root, request["kill_at"], steps[1])
            if request["max_file"] is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (request["max_file"],) * 2)
            os._exit(_call(tool, request["arguments"]))
        os.close(output[1])
        os.close(steps[1])
        # Both hold less than the buffer of a pipe.
        with os.fdopen(output[0]) as text, os.fdopen(steps[0]) as dots:
            answer = {"output": text.read(), "steps": len(dots.read())}
        _, status = os.waitpid(child, 0)
        answer["status"] = os.waitstatus_to_exitcode(status)
        print(json.dumps(answer), flush=True)


def _tool() -> Any:
    """The tool with an encoder that needs no model, and with all libraries imported."""
    from tests.label_space.conftest import WordEncoder
    from tools import build_label_space

    for library in ("scipy.cluster.hierarchy", "sklearn.cluster", "transformers.utils.logging"):
        importlib.import_module(library)
    build_label_space.load_encoder = lambda name, **options: WordEncoder()
    return build_label_space


def _call(tool: Any, arguments: Sequence[str]) -> int:
    status = 1
    try:
        status = tool.main(arguments)
    except SystemExit as error:
        status = error.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return status


def _count_steps(root: str, kill_at: int | None, steps: int) -> None:
    """Writes a byte to the pipe `steps` for every change below `root`, or dies before one."""
    count = 0

    def audit(event: str, values: tuple[Any, ...]) -> None:
        nonlocal count
        if event == "open":
            changes = isinstance(values[2], int) and values[2] & (os.O_WRONLY | os.O_RDWR)
        else:
            changes = event in _CHANGES
        if changes and isinstance(values[0], (str, os.PathLike)):
            place = os.path.abspath(values[0])
            if place.startswith(root):
                count += 1
                if count == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                os.write(steps, b".")

    sys.addaudithook(audit)


if __name__ == "__main__":
    main()
