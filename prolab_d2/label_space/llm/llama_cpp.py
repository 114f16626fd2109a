"""llama.cpp in this process."""

from __future__ import annotations

import os
from typing import Any

from prolab_d2.label_space.llm.base import Answer, Question, Sampling

__all__ = ["DEFAULT_MODEL", "LlamaCpp"]

DEFAULT_MODEL = "TheBloke/Llama-2-7B-Chat-GGUF:*Q4_K_M.gguf"


class LlamaCpp:
    """A GGUF model."""

    provenance: dict[str, Any]
    can_chat: bool

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        threads: int | None = None,
        gpu_layers: int = 0,
        context: int = 2048,
    ) -> None:
        """
        Args:
            model: a GGUF file, "package:NAME" for one that a Python package carries, or
                "OWNER/REPOSITORY:PATTERN" for one on the Hugging Face hub.
            threads: all physical cores when left out.
            gpu_layers: how many layers run on the GPU; -1 for all.
            context: tokens of prompt and answer together.
        Raises:
            ProLabError: llama-cpp-python is missing, or the model cannot be found or loaded.
        """
        raise NotImplementedError

    def answer(self, question: Question, sampling: Sampling) -> Answer:
        raise NotImplementedError
