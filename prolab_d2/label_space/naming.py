"""Names of properties, short and unique: a sentence of the cluster, or a language model's.

Shapes: M descriptions, D embedding, K properties.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path

import numpy as np

from prolab_d2.label_space.answers import distinct_lines, read_name
from prolab_d2.label_space.asking import (
    RETRY_TEMPERATURE,
    Asker,
    check_positive,
    in_parallel,
    seed_of,
)
from prolab_d2.label_space.clustering import Clusters
from prolab_d2.label_space.label_space import Property
from prolab_d2.label_space.llm.base import LanguageModel, Sampling
from prolab_d2.label_space.progress import Progress
from prolab_d2.label_space.prompts import load_naming_prompt

__all__ = ["name_properties", "property_names", "shorten"]

# Characters. Sentences written for a label space are below, answers of a language model often not.
_MAX_LENGTH = 60
_MIN_WORDS = 3
# Of a distance between embeddings of length 1, and more.
_ROUNDING = 1e-5
# Sentences of a property that a model is shown; more say little that is new.
_SHOWN = 12
_NAMING_ATTEMPTS = 2


def property_names(
    sentences: Sequence[str], embeddings: np.ndarray, clusters: Clusters
) -> list[str]:
    """For every cluster the member nearest its centre, shortened and made unique.

    Names that differ only in case count as equal. Of members equally near, such as any two that are
    alone in a cluster, the first counts as nearest. When the nearest member names another property
    already, the next nearest does, and in the end a number is added.

    Args:
        sentences: M of them.
        embeddings: (M, D).
    """
    names: list[str] = []
    taken: set[str] = set()
    for number, centre in enumerate(clusters.centres):
        members = np.flatnonzero(clusters.labels == number)
        distance = np.linalg.norm(embeddings[members] - centre, axis=1)
        candidates = [shorten(sentences[i]) for i in members[_nearest_first(distance)]]
        numbered = (f"{candidates[0]} ({i})" for i in count(2))
        name = next(name for name in chain(candidates, numbered) if name.lower() not in taken)
        names.append(name)
        taken.add(name.lower())
    return names


def _nearest_first(distance: np.ndarray) -> np.ndarray:
    """Indices (members,) by distance (members,); the order of equal ones does not depend on how a
    processor rounds."""
    order = distance.argsort(kind="stable")
    steps = np.diff(distance[order], prepend=distance[order[0]]) > _ROUNDING
    rank = np.empty(len(distance), dtype=np.int64)
    rank[order] = steps.cumsum()
    return rank.argsort(kind="stable")


def shorten(sentence: str, max_length: int = _MAX_LENGTH) -> str:
    """The sentence without its final stop; a long one ends in "…" after a clause or a word.

    What is left out is only ever the end, and the dots say so: nothing in the middle changes.
    """
    text = " ".join(sentence.split()).rstrip(" .")
    if len(text) <= max_length:
        return text
    room = text[: max_length - 1]
    clauses = [m.start() for m in re.finditer(r"[,;:(]| [-–—] ", room)]
    clauses = [end for end in clauses if _is_whole(room[:end])]
    words = [m.start() for m in re.finditer(" ", room)]
    end = (clauses or words or [len(room)])[-1]
    return room[:end].rstrip(" .,;:(-–—") + "…"


def _is_whole(text: str) -> bool:
    return len(text.split()) >= _MIN_WORDS and text.count("(") == text.count(")")


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
    check_positive(workers=workers)
    prompt = load_naming_prompt()
    asker = Asker(model, work)
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
                    seed_of(seed, "name", number, attempt),
                    RETRY_TEMPERATURE if attempt else prompt.temperature,
                    prompt.repeat_penalty,
                )
                title = {"property": names[number], "attempt": attempt + 1}
                known = asker.knows([(question, sampling)])
                (answer,) = asker.ask([(question, sampling)], title)
                if not attempt:
                    stage.advance(reused=known)
                return read_name(answer, prompt.examples)

            given = in_parallel(ask, open_numbers, workers)
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


def _some_sentences(entry: Property) -> list[str]:
    """Different sentences of a property, spread evenly over all of them."""
    lines = distinct_lines(line for _, line in entry.descriptions) or [entry.name]
    step = max(1, len(lines) / _SHOWN)
    return [lines[int(i * step)] for i in range(min(len(lines), _SHOWN))]
