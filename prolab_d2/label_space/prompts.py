"""Prompts: files that say how a language model is asked about a category."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["PROMPT_STYLES", "Prompt", "load_prompt", "shipped_prompts"]

PROMPT_STYLES = ("chat", "facets")


@dataclass(frozen=True)
class Prompt:
    """A prompt file, read and checked.

    Attributes:
        name: of a shipped prompt, or the file's name.
        style: one of `PROMPT_STYLES`.
        sha256: of the file's content.
        sentences: how many it asks for.
        temperature: that it was written for.
    """

    name: str
    style: str
    sha256: str
    sentences: int
    temperature: float


def load_prompt(source: str | os.PathLike[str] | None = None, style: str | None = None) -> Prompt:
    """A shipped prompt by name ("structured", "naive", "visual", "facets") or a file by path.

    Args:
        source: "structured" for the style chat and "facets" for the style facets if left out.
        style: must be that of the file if given; "chat" if both are left out.
    Raises:
        ProLabError: unknown name, unreadable file, or a file of another style.
    """
    raise NotImplementedError


def shipped_prompts() -> list[str]:
    """Names that `load_prompt` knows without a path."""
    raise NotImplementedError
