"""Language models behind an OpenAI-compatible server."""

from __future__ import annotations

from typing import Any

from prolab_d2.label_space.llm.base import Answer, Question, Sampling

__all__ = ["Server"]


class Server:
    """llama.cpp's server, vLLM, or a hosted API."""

    provenance: dict[str, Any]
    can_chat = True

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str = "OPENAI_API_KEY",
        timeout: float = 300.0,
        retries: int = 6,
        backoff: float = 1.0,
    ) -> None:
        """
        Args:
            url: "http://localhost:8080", or with a path, "https://host/v1".
            model: its name on the server.
            key_variable: environment variable with the key, if the server wants one.
            timeout: seconds for one answer.
            retries: how often a failed request is repeated.
            backoff: seconds before the first repetition; doubled for each further one.
        Raises:
            ProLabError: `url` is none.
        """
        raise NotImplementedError

    def answer(self, question: Question, sampling: Sampling) -> Answer:
        raise NotImplementedError
