"""From categories to descriptions, by a language model.

What the sentences of a category are depends on its answers and on nothing else; `asking` keeps
these, so a run that is killed and started again ends in the same result.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prolab_d2.errors import ProLabError
from prolab_d2.label_space.answers import distinct_lines, judge, normalize
from prolab_d2.label_space.asking import (
    RETRY_TEMPERATURE,
    Asker,
    check_positive,
    in_parallel,
    seed_of,
)
from prolab_d2.label_space.category_list import CategoryEntry, check_entries
from prolab_d2.label_space.descriptions import Descriptions
from prolab_d2.label_space.llm.base import LanguageModel, Question, Sampling
from prolab_d2.label_space.progress import Progress
from prolab_d2.label_space.prompts import Prompt

__all__ = ["DescribingResult", "describe_categories"]

# Means nothing: what a model says of it, it would say of anything.
_NONSENSE = CategoryEntry("blorvax")
# A category with this share of the sentences asked for is not asked again.
_ENOUGH = 2 / 3
# Two categories with so many sentences in common: one of them was taken for the other.
_ALIKE = 0.8


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
    check_positive(attempts=attempts, workers=workers)
    if not 0 <= temperature <= 2:
        raise ProLabError(f"the temperature {temperature} is not between 0 and 2: choose another")
    describer = _Describer(Asker(model, work), prompt, sentences, seed, temperature)
    known = {entry for entry in entries if describer.is_known(entry)}
    progress = progress or Progress()
    with progress.stage("descriptions", len(entries), "categories") as stage:
        generic = describer.generic_sentences()

        def describe(entry: CategoryEntry) -> _Draft:
            draft = describer.describe(entry, range(attempts), generic)
            stage.advance(reused=entry in known)
            return draft

        drafts = in_parallel(describe, entries, workers)
    alike = _find_alike(drafts)
    if alike:
        progress.tell(f"{len(alike)} categories have the answer of another: asking once more")
        again = range(attempts, 2 * attempts)
        numbers = sorted(alike)
        redone = in_parallel(
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


@dataclass(frozen=True)
class _Describer:
    """Describes one category after another with the same settings."""

    asker: Asker
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
        return _Draft(distinct_lines(line for lines in kept for line in lines), faults)

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
            temperature = max(temperature, RETRY_TEMPERATURE)
        penalty = self.prompt.repeat_penalty
        return [
            (
                tasks[number].question,
                Sampling(seed_of(self.seed, entry.name, number, attempt), temperature, penalty),
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


def _shown(name: str) -> str:
    """A name in quotes, for one line of a message."""
    return repr(name if len(name) <= 60 else f"{name[:57]}...")
