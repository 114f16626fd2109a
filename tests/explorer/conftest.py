"""The explorer as a process of its own, on a free port, watched for what it connects to."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue

import pytest

from tests.golden import REPOSITORY

# Loading everything takes seconds, beside other work a minute.
SECONDS = 300
UPLOAD_MEGABYTES = 1
# Writes down every name that is looked up and every address that is connected to.
PROGRAM = """
import sys
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        place = args[1] if event == "socket.connect" else args[:2]
        open(sys.argv[1], "a").write(f"{place}\\n")
sys.addaudithook(watch)
from projects.ProLab.explorer import main
sys.exit(main(sys.argv[2:]))
"""


@dataclass(frozen=True)
class Served:
    """A running explorer with the checkpoint of the project."""

    address: str
    log: Path  # addresses that the process has asked for, one a line

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


def require_gradio() -> None:
    """Skips a test where Gradio is not installed."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("needs Gradio: make explorer-test")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    require_gradio()
    log = tmp_path_factory.mktemp("explorer") / "asked.txt"
    command = [sys.executable, "-u", "-c", PROGRAM, str(log), "--port", "0", "--device", "cpu",
               "--max-upload", str(UPLOAD_MEGABYTES)]  # fmt: skip
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: Queue[str] = Queue()
    threading.Thread(target=lambda: [lines.put(line) for line in process.stdout]).start()
    try:
        said = ""
        while (found := re.search(r"open (http://\S+)", said)) is None:
            try:
                said += lines.get(timeout=SECONDS)
            except Empty:
                pytest.fail(f"the explorer did not start: {said}")
        yield Served(found[1], log)
    finally:
        process.terminate()
        process.wait(SECONDS)
