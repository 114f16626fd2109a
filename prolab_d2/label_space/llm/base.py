"""What every back end for language models understands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

__all__ = ["Answer", "LanguageModel", "Message", "Question", "Sampling"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Question:
    """What a language model is asked.

    Attributes:
        prompt: a conversation that ends with a message of the user, or a text to be continued.
        shared: so many characters of the text (of the last message) are the same for all
            categories; what comes before them can be evaluated once and kept.
        max_tokens: the answer is cut there.
        stop: the answer ends before the first of these.
        grammar: GBNF that the answer keeps to, for back ends that can; otherwise None.
    """

    prompt: tuple[Message, ...] | str
    shared: int
    max_tokens: int
    stop: tuple[str, ...] = ()
    grammar: str | None = None


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        seed: below 2 ** 31.
        temperature: 0 takes the most probable token always, whatever the seed.
        repeat_penalty: divides the scores of tokens that the answer holds already; 1 is none.
            Servers have no common name for it and go without.
    """

    seed: int = 0
    temperature: float = 0.0
    repeat_penalty: float = 1.0


@dataclass(frozen=True)
class Answer:
    """`cut`: the text reached the greatest length and did not come to an end by itself."""

    text: str
    cut: bool = False


class LanguageModel(Protocol):
    """A language model in this process or behind a server. Threads may share it.

    Attributes:
        provenance: "llm" (its name, without folders), "llm_sha256" (of the file, None for a
            server) and whatever else changes its answers. JSON data.
        can_chat: whether it takes conversations; a GGUF file without chat template does not.
    """

    provenance: dict[str, Any]
    can_chat: bool

    def answer(self, question: Question, sampling: Sampling) -> Answer:
        """
        Raises:
            ProLabError: the question cannot be answered (too long, server gone, ...).
        """
