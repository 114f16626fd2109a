"""From categories to descriptions, and from properties to names, by a language model.

Every answer is a file of its own as soon as it is there, named by a hash of all that it depends
on. What the sentences of a category are depends on its answers and on nothing else, so a run that
is killed and started again ends in the same result.
"""

from __future__ import annotations

import hashlib
import json
import math
import queue
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from prolab_d2.errors import ProLabError
from prolab_d2.files import atomic_path
from prolab_d2.label_space.answers import judge, normalize, read_name
from prolab_d2.label_space.category_list import CategoryEntry, check_entries
from prolab_d2.label_space.descriptions import Descriptions
from prolab_d2.label_space.label_space import Property
from prolab_d2.label_space.llm.base import Answer, LanguageModel, Question, Sampling
from prolab_d2.label_space.progress import Progress
from prolab_d2.label_space.prompts import Prompt, load_naming_prompt

__all__ = ["DescribingResult", "describe_categories", "name_properties"]

# Means nothing: what a model says of it, it would say of anything.
_NONSENSE = CategoryEntry("blorvax")
# At temperature 0, another seed would give the same answer again.
_RETRY_TEMPERATURE = 0.5
# A category with this share of the sentences asked for is not asked again.
_ENOUGH = 2 / 3
# Two categories with so many sentences in common: one of them was taken for the other.
_ALIKE = 0.8
# Sentences of a property that a model is shown; more say little that is new.
_SHOWN = 12
_NAMING_ATTEMPTS = 2

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class DescribingResult:
    """What a language model said about categories.

    Attributes:
        descriptions: sentences by category, in the order of the list.
        faults: by category, how often which fault was found in its answers; only categories with
            at least one. Their sentences have been asked for again as far as `attempts` allowed.
        provenance: "llm", "llm_sha256", "prompt", "prompt_hash", "prompt_style", "sentences",
            "temperature", "llm_seed", "attempts".
    """

    descriptions: Descriptions
    faults: dict[str, dict[str, int]]
    provenance: dict[str, Any]

    def __str__(self) -> str:
        """A short report: sentences, and categories with faults."""
        total = sum(map(len, self.descriptions.values()))
        lines = [f"{total} sentences about {len(self.descriptions)} categories"]
        for category, faults in self.faults.items():
            listed = ", ".join(f"{fault} ({number})" for fault, number in faults.items())
            kept = len(self.descriptions[category])
            lines.append(f"  {_shown(category)}: {kept} sentences kept; {listed}")
        return "\n".join(lines)


@dataclass
class _Draft:
    """What is known about a category so far."""

    sentences: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)


def describe_categories(
    entries: Sequence[CategoryEntry],
    model: LanguageModel,
    prompt: Prompt,
    *,
    sentences: int | None = None,
    seed: int = 0,
    temperature: float | None = None,
    attempts: int = 3,
    work: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> DescribingResult:
    """Asks a language model for short sentences about every category.

    Args:
        sentences: how many for each category; the prompt's own number if left out.
        temperature: of the first attempt; the prompt's own if left out. Further attempts are
            drawn with at least 0.5, since they would otherwise give the same again.
        attempts: how often a category is asked for before its faults are accepted.
        work: folder where answers are kept, one file for each category and attempt, named by a
            hash of all that changes the answer; what is there is not asked for again.
        workers: questions in flight at a time; more than one makes sense for a server only.
        progress: is told about a stage "descriptions" of len(entries) categories.
    Raises:
        ProLabError: a category without any usable sentence (it is named), a prompt that does not
            suit the model, or a model that cannot answer.
    """
    entries = check_entries(entries)
    if prompt.style == "chat" and not model.can_chat:
        raise ProLabError(
            f"{model.provenance['llm']} has no chat template, which the prompt {prompt.name!r} "
            "needs: use --prompt-style facets, or a model that was trained for conversations"
        )
    sentences = prompt.sentences if sentences is None else sentences
    temperature = prompt.temperature if temperature is None else temperature
    _check_numbers(attempts=attempts, workers=workers)
    if not 0 <= temperature <= 2:
        raise ProLabError(f"the temperature {temperature} is not between 0 and 2: choose another")
    describer = _Describer(_Asker(model, work), prompt, sentences, seed, temperature)
    known = {entry for entry in entries if describer.is_known(entry)}
    progress = progress or Progress()
    with progress.stage("descriptions", len(entries), "categories") as stage:
        generic = describer.generic_sentences()

        def describe(entry: CategoryEntry) -> _Draft:
            draft = describer.describe(entry, range(attempts), generic)
            stage.advance(reused=entry in known)
            return draft

        drafts = _in_parallel(describe, entries, workers)
    alike = _find_alike(drafts)
    if alike:
        progress.tell(f"{len(alike)} categories have the answer of another: asking once more")
        again = range(attempts, 2 * attempts)
        numbers = sorted(alike)
        redone = _in_parallel(
            lambda number: describer.describe(entries[number], again, generic), numbers, workers
        )
        for number, draft in zip(numbers, redone, strict=True):
            faults = drafts[number].faults + draft.faults
            faults[f"same answer as for {_shown(entries[alike[number]].name)}"] += 1
            drafts[number] = _Draft(draft.sentences or drafts[number].sentences, faults)
    _check_complete(entries, drafts, attempts)
    return DescribingResult(
        descriptions={e.name: tuple(d.sentences) for e, d in zip(entries, drafts, strict=True)},
        faults={e.name: dict(d.faults) for e, d in zip(entries, drafts, strict=True) if d.faults},
        provenance={
            **model.provenance,
            "prompt": prompt.name,
            "prompt_hash": prompt.sha256,
            "prompt_style": prompt.style,
            "sentences": sentences,
            "temperature": temperature,
            "llm_seed": seed,
            "attempts": attempts,
            "hints": {entry.name: entry.hint for entry in entries if entry.hint},
        },
    )


def name_properties(
    properties: Sequence[Property],
    model: LanguageModel,
    *,
    seed: int = 0,
    work: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[str]:
    """A name of at most 6 words for every property, summing up its sentences.

    Names are unique, also when case is ignored. A property whose answers are unusable or name
    another property keeps the name it has.

    Args:
        work, workers: as for `describe_categories`.
        progress: is told about a stage "names" of len(properties) properties.
    Raises:
        ProLabError: the model cannot answer.
    """
    _check_numbers(workers=workers)
    prompt = load_naming_prompt()
    asker = _Asker(model, work)
    names = [entry.name for entry in properties]
    # Names that properties keep must stay theirs.
    taken = {name.casefold() for name in names}
    open_numbers = list(range(len(properties)))
    progress = progress or Progress()
    with progress.stage("names", len(properties), "properties") as stage:
        for attempt in range(_NAMING_ATTEMPTS):

            def ask(number: int, attempt: int = attempt) -> str | None:
                question = prompt.question(_some_sentences(properties[number]), model.can_chat)
                sampling = Sampling(
                    _seed(seed, "name", number, attempt),
                    _RETRY_TEMPERATURE if attempt else prompt.temperature,
                    prompt.repeat_penalty,
                )
                title = {"property": names[number], "attempt": attempt + 1}
                known = asker.knows([(question, sampling)])
                (answer,) = asker.ask([(question, sampling)], title)
                if not attempt:
                    stage.advance(reused=known)
                return read_name(answer, prompt.examples)

            given = _in_parallel(ask, open_numbers, workers)
            failed = []
            for number, name in zip(open_numbers, given, strict=True):
                own = names[number].casefold()
                if name is None or name.casefold() in taken - {own}:
                    failed.append(number)
                else:
                    names[number] = name
                    taken.add(name.casefold())
            open_numbers = failed
    return names


class _Asker:
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


@dataclass(frozen=True)
class _Describer:
    """Describes one category after another with the same settings."""

    asker: _Asker
    prompt: Prompt
    sentences: int
    seed: int
    temperature: float

    def describe(
        self, entry: CategoryEntry, attempts: Iterable[int], generic: frozenset[str]
    ) -> _Draft:
        """Asks until enough sentences are usable; each attempt adds those that are new."""
        tasks = self.prompt.tasks(entry, self.sentences)
        kept: list[list[str]] = [[] for _ in tasks]
        faults: Counter[str] = Counter()
        for attempt in attempts:
            open_tasks = [
                number
                for number, task in enumerate(tasks)
                if len(kept[number]) < math.ceil(task.sentences * _ENOUGH)
            ]
            if not open_tasks:
                break
            title = {"category": entry.name, "hint": entry.hint, "attempt": attempt + 1}
            try:
                answers = self.asker.ask(self._questions(entry, attempt, open_tasks), title)
            except ProLabError as error:
                if entry == _NONSENSE:
                    raise
                raise ProLabError(f"category {_shown(entry.name)}: {error}") from error
            for number, answer in zip(open_tasks, answers, strict=True):
                task, lines = tasks[number], kept[number]
                found = judge(task, answer, entry.name, generic)
                faults += found.faults
                known = set(map(normalize, lines))
                lines += [line for line in found.sentences if normalize(line) not in known]
                del lines[task.sentences :]
        return _Draft(_distinct(line for lines in kept for line in lines), faults)

    def is_known(self, entry: CategoryEntry) -> bool:
        """Whether an earlier run has asked about this category."""
        return self.asker.knows(self._questions(entry, 0))

    def generic_sentences(self) -> frozenset[str]:
        """What the model says of a word that means nothing, normalised."""
        draft = self.describe(_NONSENSE, range(1), frozenset())
        return frozenset(map(normalize, draft.sentences))

    def _questions(
        self, entry: CategoryEntry, attempt: int, numbers: Sequence[int] | None = None
    ) -> list[tuple[Question, Sampling]]:
        tasks = self.prompt.tasks(entry, self.sentences)
        temperature = self.temperature
        if attempt:
            temperature = max(temperature, _RETRY_TEMPERATURE)
        penalty = self.prompt.repeat_penalty
        return [
            (
                tasks[number].question,
                Sampling(_seed(self.seed, entry.name, number, attempt), temperature, penalty),
            )
            for number in (range(len(tasks)) if numbers is None else numbers)
        ]


def _find_alike(drafts: Sequence[_Draft]) -> dict[int, int]:
    """Number of a category -> number of another one that has nearly the same sentences."""
    sets = [set(map(normalize, draft.sentences)) for draft in drafts]
    owners = defaultdict(list)
    for number, lines in enumerate(sets):
        for line in lines:
            owners[line].append(number)
    alike: dict[int, int] = {}
    for number, lines in enumerate(sets):
        shared = Counter(other for line in lines for other in owners[line] if other != number)
        for other, count in shared.items():
            if count >= _ALIKE * max(len(lines), len(sets[other])):
                alike.setdefault(number, other)
    return alike


def _check_complete(
    entries: Sequence[CategoryEntry], drafts: Sequence[_Draft], attempts: int
) -> None:
    empty = [(e.name, d) for e, d in zip(entries, drafts, strict=True) if not d.sentences]
    if not empty:
        return
    name, draft = empty[0]
    others = f" (as for {len(empty) - 1} more)" if len(empty) > 1 else ""
    raise ProLabError(
        f"category {_shown(name)}: the language model gave no usable sentence in {attempts} "
        f"attempts{others}: {', '.join(draft.faults)}; add a hint to the list "
        f"('{_shown(name)[1:-1]}: what it is'), or try another prompt, seed or model"
    )


def _check_numbers(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ProLabError(f"{number} {name} are too few: choose at least 1")


def _some_sentences(entry: Property) -> list[str]:
    """Different sentences of a property, spread evenly over all of them."""
    lines = _distinct(line for _, line in entry.descriptions) or [entry.name]
    step = max(1, len(lines) / _SHOWN)
    return [lines[int(i * step)] for i in range(min(len(lines), _SHOWN))]


def _distinct(lines: Iterable[str]) -> list[str]:
    return list({normalize(line): line for line in reversed(list(lines))}.values())[::-1]


def _seed(*parts: Any) -> int:
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") % 2**31


def _shown(name: str) -> str:
    """A name in quotes, for one line of a message."""
    return repr(name if len(name) <= 60 else f"{name[:57]}...")


def _in_parallel(
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
