"""From categories to descriptions, and from properties to names, by a language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prolab_d2.label_space.category_list import CategoryEntry
from prolab_d2.label_space.descriptions import Descriptions
from prolab_d2.label_space.label_space import Property
from prolab_d2.label_space.llm.base import LanguageModel
from prolab_d2.label_space.progress import Progress
from prolab_d2.label_space.prompts import Prompt

__all__ = ["DescribingResult", "describe_categories", "name_properties"]


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
        raise NotImplementedError


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
            drawn with at least 0.7, since they would otherwise give the same again.
        attempts: how often a category is asked for before its faults are accepted.
        work: folder where answers are kept, one file for each category and attempt, named by a
            hash of all that changes the answer; what is there is not asked for again.
        workers: questions in flight at a time; more than one makes sense for a server only.
        progress: is told about a stage "descriptions" of len(entries) categories.
    Raises:
        ProLabError: a category without any usable sentence (it is named), a prompt that does not
            suit the model, or a model that cannot answer.
    """
    raise NotImplementedError


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
    """
    raise NotImplementedError
