"""Language models: llama.cpp in this process, or any OpenAI-compatible server."""

from __future__ import annotations

from prolab_d2.label_space.llm.base import Answer, LanguageModel, Message, Question, Sampling
from prolab_d2.label_space.llm.llama_cpp import DEFAULT_MODEL, LlamaCpp
from prolab_d2.label_space.llm.server import Server

__all__ = [
    "DEFAULT_MODEL",
    "Answer",
    "LanguageModel",
    "LlamaCpp",
    "Message",
    "Question",
    "Sampling",
    "Server",
]
