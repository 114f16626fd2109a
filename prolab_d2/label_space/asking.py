"""Asking a language model: every answer is a file of its own as soon as it is there.

A file is named by a hash of all that the answer depends on, so a run that is killed and started
again goes on where it was, and ends in the same result.
"""

from __future__ import annotations

import hashlib
import json
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from prolab_d2.errors import ProLabError
from prolab_d2.files import atomic_path
from prolab_d2.label_space.llm.base import Answer, LanguageModel, Question, Sampling

__all__ = ["RETRY_TEMPERATURE", "Asker", "check_positive", "in_parallel", "seed_of"]

# At temperature 0, another seed would give the same answer again.
RETRY_TEMPERATURE = 0.5

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Asker:
    """Asks a model, and keeps its answers in a folder."""

    def __init__(self, model: LanguageModel, work: Path | None) -> None:
        self._model = model
        self._work = work

    def ask(
        self, questions: Sequence[tuple[Question, Sampling]], title: Mapping[str, Any]
    ) -> list[Answer]:
        """
        Args:
            title: written into the file for a reader, and of no meaning here.
        """
        path = self._path(questions)
        answers = _read_answers(path, len(questions)) if path is not None else None
        if answers is not None:
            return answers
        answers = [self._model.answer(question, sampling) for question, sampling in questions]
        if path is not None:
            data = {**title, "answers": [asdict(answer) for answer in answers]}
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        return answers

    def knows(self, questions: Sequence[tuple[Question, Sampling]]) -> bool:
        """Whether an earlier run has left the answers."""
        path = self._path(questions)
        return path is not None and path.is_file()

    def _path(self, questions: Sequence[tuple[Question, Sampling]]) -> Path | None:
        if self._work is None:
            return None
        asked = [[asdict(question), asdict(sampling)] for question, sampling in questions]
        inputs = json.dumps([self._model.provenance, asked], sort_keys=True)
        return self._work / f"{hashlib.sha256(inputs.encode()).hexdigest()}.json"


def _read_answers(path: Path, count: int) -> list[Answer] | None:
    """The answers in a file; None if there is none, or if it is not as it was written."""
    try:
        answers = json.loads(path.read_text(encoding="utf-8"))["answers"]
        answers = [Answer(item["text"], item["cut"]) for item in answers]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    whole = all(isinstance(answer.text, str) for answer in answers)
    return answers if whole and len(answers) == count else None


def check_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ProLabError(f"{number} {name} are too few: choose at least 1")


def seed_of(*parts: Any) -> int:
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") % 2**31


def in_parallel(
    function: Callable[[_Item], _Result], items: Sequence[_Item], workers: int
) -> list[_Result]:
    """The results in the order of the items; the first error ends the work.

    In threads that end with the program, so that an interrupt need not wait for a server.
    """
    if workers == 1:
        return [function(item) for item in items]
    tasks: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(items)):
        tasks.put(number)
    done: queue.SimpleQueue[tuple[int, _Result | None, BaseException | None]] = queue.SimpleQueue()
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            try:
                number = tasks.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((number, function(items[number]), None))
            except BaseException as error:
                stop.set()
                done.put((number, None, error))

    for _ in range(min(workers, len(items))):
        threading.Thread(target=run, daemon=True).start()
    results: dict[int, Any] = {}
    try:
        while len(results) < len(items):
            number, result, error = done.get()
            if error is not None:
                raise error
            results[number] = result
    finally:
        stop.set()
    return [results[number] for number in range(len(items))]
