"""Language models behind an OpenAI-compatible server: llama.cpp's, vLLM, or a hosted API."""

from __future__ import annotations

import email.utils
import http.client
import json
import math
import os
import random
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from prolab_d2.errors import ProLabError
from prolab_d2.label_space.llm.base import Answer, Question, Sampling

__all__ = ["Server"]

# Busy, starting, or out of order for a while. Other statuses stay the same when asked again.
_PASSING = {408, 425, 429, 500, 502, 503, 504, 529}
_LONGEST_PAUSE = 120.0
# A server that wants more is asked again by the user, not by a program that seems to hang.
_LONGEST_WISH = 900.0
# A server that has never answered is more likely a wrong address than one that is busy.
_FIRST_RETRIES = 2
# Not every server takes these: what it complains about is left out or, if it has, renamed.
_OPTIONAL = {"max_tokens": "max_completion_tokens", "seed": None, "temperature": None, "stop": None}
_MAX_BYTES = 4 << 20
_CHUNK = 1 << 16


class _TryAgainError(Exception):
    """A failure that may pass. `after`: seconds that the server asks to wait."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class _RefusedError(Exception):
    """A request that the server does not take. `text`: all that it says about it."""

    def __init__(self, message: str, text: str) -> None:
        super().__init__(message)
        self.text = text


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected request would lose its body, and hand the key to another host."""

    def redirect_request(self, *args: Any, **options: Any) -> None:
        return None


class Server:
    """Sends one request for each question; may be used by many threads at a time."""

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
            ProLabError: `url` is no address, or the key cannot be sent.
        """
        self._url = _base_url(url)
        self._model = model
        self._key = os.environ.get(key_variable, "").strip()
        self._key_variable = key_variable
        if not all("!" <= char <= "~" for char in self._key):
            raise ProLabError(
                f"the key in the environment variable {key_variable} holds blanks or other "
                "characters that no key has: set it again"
            )
        self._timeout, self._retries, self._backoff = timeout, retries, backoff
        self._opener = urllib.request.build_opener(_NoRedirect)
        # A rate limit concerns all threads: none sends before this moment.
        self._not_before = 0.0
        self._was_reached = False
        self._unwanted: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        # Where the server runs changes no answer, and the file of a model is not known here.
        self.provenance: dict[str, Any] = {"llm": model, "llm_sha256": None}

    def answer(self, question: Question, sampling: Sampling) -> Answer:
        """
        Raises:
            ProLabError: the server refuses the request, or fails again and again.
        """
        attempt = 0
        while True:
            try:
                self._wait_for_turn()
                return self._ask(question, sampling)
            except _TryAgainError as error:
                attempt += 1
                most = self._retries if self._was_reached else min(self._retries, _FIRST_RETRIES)
                if attempt > most or error.after > _LONGEST_WISH:
                    cure = "start again later" if self._was_reached else "check the address"
                    raise ProLabError(
                        f"the server {self._url} gave no answer, at last "
                        f"({self._safe(str(error))}): {cure}; the answers so far are kept"
                    ) from None
                if error.after:
                    self._postpone_all(error.after)
                pause = min(self._backoff * 2 ** (attempt - 1), _LONGEST_PAUSE)
                time.sleep(pause * random.uniform(0.5, 1))

    def _ask(self, question: Question, sampling: Sampling) -> Answer:
        chat = not isinstance(question.prompt, str)
        options = {
            "max_tokens": question.max_tokens,
            "temperature": sampling.temperature,
            "seed": sampling.seed,
            "stop": list(question.stop) or None,
        }
        body: dict[str, Any] = {"model": self._model}
        if chat:
            body["messages"] = [{"role": m.role, "content": m.content} for m in question.prompt]
        else:
            body["prompt"] = question.prompt
        unwanted = self._unwanted
        for name, value in options.items():
            key = _OPTIONAL[name] if name in unwanted else name
            if key is not None and value is not None:
                body[key] = value
        path = "/chat/completions" if chat else "/completions"
        try:
            return _read_answer(self._post(path, json.dumps(body).encode()), chat)
        except _RefusedError as error:
            if not self._learn_from(error.text, unwanted):
                raise ProLabError(str(error)) from None
        return self._ask(question, sampling)

    def _learn_from(self, complaint: str, unwanted: frozenset[str]) -> bool:
        """Whether there is another option to do without; `unwanted`: those left out so far."""
        with self._lock:
            if self._unwanted == unwanted:
                named = {name for name in _OPTIONAL if re.search(rf"\b{name}\b", complaint)}
                self._unwanted |= named
            return self._unwanted != unwanted

    def _post(self, path: str, body: bytes) -> bytes:
        request = urllib.request.Request(self._url + path, body, method="POST")
        request.add_header("Content-Type", "application/json")
        if self._key:
            # Unredirected, and no part of anything that is printed or stored.
            request.add_unredirected_header("Authorization", f"Bearer {self._key}")
        deadline = time.monotonic() + self._timeout
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                self._was_reached = True
                return _read_body(response, deadline)
        except urllib.error.HTTPError as error:
            raise self._status_error(error, path) from None
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, TimeoutError):
                reason = f"no answer within {self._timeout:g} seconds"
            raise _TryAgainError(str(reason) or type(reason).__name__) from None

    def _status_error(self, error: urllib.error.HTTPError, path: str) -> Exception:
        """What a status that is no success means."""
        self._was_reached = True
        with error:
            try:
                text = error.read(_CHUNK)
            except (OSError, http.client.HTTPException):
                text = b""
        detail = self._safe(_message(text))
        said = f"status {error.code}" + (f": {detail}" if detail else "")
        if error.code in _PASSING:
            after = _retry_after(error.headers)
            if after > _LONGEST_WISH:
                said += f", and asks to wait for {after / 60:.0f} minutes"
            return _TryAgainError(said, after)
        if error.code in (401, 403):
            cure = f"put a valid key into the environment variable {self._key_variable}"
        elif error.code in (301, 302, 303, 307, 308):
            target = self._safe(error.headers.get("Location", "another place"))
            cure = f"the server has moved to {target}: give that address"
        elif error.code == 404 and path == "/completions":
            cure = "check address and model; a server that only chats cannot do facets, use chat"
        elif error.code == 404:
            cure = "check the address and the name of the model"
        else:
            cure = "check the name of the model and the prompt"
        sentence = f"the server {self._url} refuses the request with {said}; {cure}"
        if error.code in (400, 422):
            return _RefusedError(sentence, text.decode(errors="replace"))
        return ProLabError(sentence)

    def _safe(self, text: str) -> str:
        """One short line without the key, which some servers repeat."""
        if self._key:
            text = text.replace(self._key, "***")
        text = " ".join(text.split())
        return text if len(text) <= 200 else f"{text[:197]}..."

    def _wait_for_turn(self) -> None:
        while True:
            with self._lock:
                left = self._not_before - time.monotonic()
            if left <= 0:
                return
            # Not all threads at the same moment.
            time.sleep(left + random.uniform(0, 0.1 * self._backoff))

    def _postpone_all(self, seconds: float) -> None:
        with self._lock:
            self._not_before = max(self._not_before, time.monotonic() + seconds)


def _base_url(url: str) -> str:
    """Without a slash at the end; with "/v1" where only a host is named."""
    text = url.strip().rstrip("/")
    try:
        parts = urllib.parse.urlsplit(text)
        host = (parts.hostname or "").encode("idna")
        valid = (
            host and parts.scheme in ("http", "https") and parts.port != 0 and text.isprintable()
        )
    except ValueError:  # also what no host can be called
        valid = False
    if not valid or " " in text or parts.query or parts.fragment:
        raise ProLabError(
            f"{url!r} is no address of a server: give one such as http://localhost:8080/v1"
        )
    if parts.username or parts.password:
        raise ProLabError(
            f"the address of the server {parts.hostname} holds a name or password, which would be "
            "shown in messages: put a key into the environment variable OPENAI_API_KEY instead"
        )
    for ending in ("/chat/completions", "/completions"):
        text = text.removesuffix(ending)
    return f"{text}/v1" if not urllib.parse.urlsplit(text).path else text


def _read_body(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The whole body, unless it drips for too long or does not end."""
    parts = bytearray()
    # read1 returns what is there; read would wait for a whole chunk, however slowly it comes.
    while chunk := response.read1(_CHUNK):
        parts += chunk
        if len(parts) > _MAX_BYTES:
            raise _TryAgainError(f"an answer of more than {_MAX_BYTES >> 20} MiB")
        if time.monotonic() > deadline:
            raise TimeoutError
    if response.length:
        raise _TryAgainError(f"the connection was cut, {response.length} bytes are missing")
    return bytes(parts)


def _read_answer(body: bytes, chat: bool) -> Answer:
    """The text in a response; `_TryAgainError` for anything that is no such response."""
    try:
        data = json.loads(body)
    except ValueError:
        start = " ".join(body[:80].decode(errors="replace").split())
        raise _TryAgainError(f"no JSON: {start!r}") from None
    choices = data.get("choices") if isinstance(data, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        detail = _message(body)
        raise _TryAgainError(f"a response without an answer ({detail})" if detail else "no answer")
    choice = choices[0]
    message = choice.get("message")
    text = choice.get("text")
    if chat:
        text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(text, str):
        raise _TryAgainError("a response whose answer is no text")
    return Answer(text, cut=choice.get("finish_reason") == "length")


def _message(body: bytes) -> str:
    """The message in the body of an error: JSON of the usual form, or the beginning of a text."""
    text = body.decode(errors="replace").strip()
    try:
        data = json.loads(text)
    except ValueError:
        # The source of a page says nothing to a user.
        return "" if text.startswith("<") else text
    error = data.get("error", data) if isinstance(data, dict) else data
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or ""
    return error if isinstance(error, str) else json.dumps(error)


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds to wait, given as a number or as a date; 0 if not given."""
    value = headers.get("Retry-After", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
