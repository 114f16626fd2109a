"""Killed at any moment, the builder goes on where it was, and its files are the same in the end."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from prolab_d2 import LabelSpace
from tests.tools.killing import Outcome, Runner, running

CATEGORIES = ("road", "car", "tree", "house", "sky")
# What the server can say; each answer is a part of it.
SENTENCES = [
    f"{surface} {material} in {colour}"
    for surface in ("smooth", "rough", "shiny", "worn", "wet", "bent")
    for material in ("metal", "stone", "glass", "wood", "paper", "rubber")
    for colour in ("grey", "green", "red", "white", "brown")
]


class Model(BaseHTTPRequestHandler):
    """A language model behind a server: what it says depends on the question alone."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][-1]["content"]
        lines = random.Random(f"{question} {body.get('seed')}").sample(SENTENCES, 8)
        message = {"role": "assistant", "content": "".join(f"- {line}\n" for line in lines)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = json.dumps({"object": "chat.completion", "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        self.server.questions += 1

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    """`questions` counts what it was asked."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as http:
        http.questions = 0
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield http
        http.shutdown()


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    with running(tmp_path_factory.getbasetemp().resolve()) as process:
        yield process


class Job:
    """The command of these tests, each run of it in a folder of its own."""

    def __init__(self, runner: Runner, server: ThreadingHTTPServer, folder: Path) -> None:
        self._runner, self._server, self._folder = runner, server, folder
        (folder / "categories.txt").write_text("\n".join(CATEGORIES))
        whole = self.run("whole")
        assert whole.status == 0, whole.output
        self.steps = whole.steps
        self.expected = content(folder / "whole")

    def run(self, name: str, kill_at: int | None = None, **options: int) -> Outcome:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        url = f"http://127.0.0.1:{self._server.server_port}"
        arguments = [
            *("--categories", str(self._folder / "categories.txt"), "--sentences", "8"),
            *("--server", url, "--model", "tiny", "--workers", "1", "--name-with-llm"),
            *("--encoder", "words", "--clustering", "ward", "--properties", "12"),
            *("--output", str(folder / "out")),
        ]
        return self._runner.run(arguments, kill_at, **options)

    def assert_whole(self, name: str) -> None:
        found = content(self._folder / name)
        assert found.keys() == self.expected.keys()
        different = [file for file in found if found[file] != self.expected[file]]
        assert not different


def content(folder: Path) -> dict[str, bytes]:
    """All files that a run leaves behind, but for times, and the record with the folder's name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in files
        if path.name not in ("build.log", "output.json")
    }


@pytest.fixture
def job(runner: Runner, server: ThreadingHTTPServer, tmp_path: Path) -> Job:
    return Job(runner, server, tmp_path)


def test_two_runs_give_the_same_files(job: Job, tmp_path: Path) -> None:
    assert job.run("again").status == 0
    job.assert_whole("again")
    assert LabelSpace.load(tmp_path / "again/out").categories == CATEGORIES


def test_a_finished_job_asks_and_embeds_nothing_again(
    job: Job, server: ThreadingHTTPServer
) -> None:
    before = server.questions
    again = job.run("whole")
    assert again.status == 0 and server.questions == before
    for stage in ("descriptions: 5 cat", r"embeddings: \d+ sent", "clusters: 12 prop"):
        assert re.search(rf"{stage}.* of an earlier run$", again.output, flags=re.MULTILINE)
    job.assert_whole("whole")


def test_killed_at_some_moments(job: Job) -> None:
    """Among them the last ones, when files get their names in the output folder."""
    moments = [*range(1, job.steps - 12, job.steps // 4), *range(job.steps - 12, job.steps + 1, 4)]
    for kill_at in moments:
        name = f"killed at {kill_at}"
        assert job.run(name, kill_at).status == -9
        assert job.run(name).status == 0
        job.assert_whole(name)


@pytest.mark.slow
def test_killed_before_every_change_of_a_file(job: Job) -> None:
    for kill_at in range(1, job.steps + 1):
        name = f"killed at {kill_at}"
        assert job.run(name, kill_at).status == -9
        again = job.run(name)
        assert again.status == 0, again.output
        job.assert_whole(name)


@pytest.mark.slow
def test_killed_again_and_again(job: Job) -> None:
    rng = random.Random(0)
    outcomes = [job.run("often", rng.randint(10, 40))]
    while outcomes[-1].status == -9:
        outcomes.append(job.run("often", rng.randint(10, 40)))
    assert outcomes[-1].status == 0 and len(outcomes) > 4
    job.assert_whole("often")


def test_files_that_cannot_grow_are_one_sentence_and_harm_nothing(job: Job) -> None:
    """As on a full disk; the limit is the kernel's."""
    sizes = sorted(map(len, job.expected.values()))
    for size in (0, sizes[len(sizes) // 2] - 1, sizes[-1] - 1):
        name = f"at most {size} bytes"
        failed = job.run(name, max_file=size)
        assert failed.status == 2, failed.output
        last = failed.output.splitlines()[-1]
        assert re.match(r"error: (category '\w+': )?cannot write .* \(file too large\): ", last)
        assert job.run(name).status == 0
        job.assert_whole(name)


@pytest.mark.slow
def test_an_output_folder_that_exists_is_filled_without_leave(job: Job, tmp_path: Path) -> None:
    """There, files cannot all appear at once, and a killed run leaves some of them."""
    partly = 0
    for kill_at in range(job.steps - 15, job.steps + 5):
        name = f"killed at {kill_at}"
        out = tmp_path / name / "out"
        out.mkdir(parents=True)
        (out / "notes.txt").write_text("mine")
        killed = job.run(name, kill_at)
        partly += 1 < len(list(out.iterdir())) < 5
        if killed.status == 0:
            break
        again = job.run(name)
        assert again.status == 0, again.output
        assert (out / "notes.txt").read_text() == "mine"
        (out / "notes.txt").unlink()
        job.assert_whole(name)
    assert partly >= 3
