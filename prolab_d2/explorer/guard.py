"""What gets through to Gradio: the requests of our page, from our page, of a bounded size.

Gradio answers far more than one page needs: it fetches files of other hosts for a visitor, converts
videos with another program, and lists what can be called. Only what is named here gets through.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any

__all__ = ["Guard"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

# Gradio builds functions from texts of its own; nothing comes from another host.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
API = "/gradio_api/"
FILE = API + "file="
PAGES = ("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt")
READ = ("/assets/", "/static/", API + "heartbeat/")
READ_EXACTLY = tuple(API + name for name in ("queue/data", "upload_progress", "startup-events"))
JOIN, UPLOAD = API + "queue/join", API + "upload"
WRITE = (JOIN, UPLOAD, API + "cancel", API + "reset")
# Questions are short texts; images come as uploads.
QUESTION_BYTES = 200_000
# Around the file in an upload: boundaries, its name.
ENVELOPE_BYTES = 10_000


class Guard:
    """An ASGI application around another one."""

    def __init__(
        self, app: App, files: Path, upload_bytes: int, hosts: Iterable[str] | None
    ) -> None:
        """
        Args:
            app: what answers the requests that get through.
            files: the folder whose files may be read.
            upload_bytes: of one file.
            hosts: names that visitors use, without a port; None for any. A page of another site
                cannot reach this one under a name of its own.
        """
        self._app = app
        self._files = files.resolve()
        self._upload_bytes = upload_bytes
        self._hosts = None if hosts is None else frozenset(hosts)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page opens no sockets
            await send({"type": "websocket.close"})
            return
        try:
            self._check(scope)
            if scope["method"] == "POST":
                receive = await self._checked_body(scope["path"], _headers(scope), receive)
        except _Refused as refused:
            await _answer(refused, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = {name for name, _ in HEADERS}
                theirs = [pair for pair in message.get("headers", ()) if pair[0] not in ours]
                message["headers"] = [*theirs, *HEADERS]
            await send(message)

        await self._app(scope, receive, with_headers)

    def _check(self, scope: MutableMapping[str, Any]) -> None:
        headers = _headers(scope)
        host = headers.get("host", "")
        if self._hosts is not None and _without_port(host) not in self._hosts:
            raise _Refused(400, "this name is not that of the explorer")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise _Refused(403, "only the explorer's own page may ask")
        if not self._is_known(scope["method"], scope["path"]):
            raise _Refused(404, "there is nothing here")

    def _is_known(self, method: str, path: str) -> bool:
        if method == "POST":
            return path in WRITE
        if method not in ("GET", "HEAD"):
            return False
        if path.startswith(FILE):
            return self._is_ours(path.removeprefix(FILE))
        return path in PAGES or path in READ_EXACTLY or path.startswith(READ)

    def _is_ours(self, path: str) -> bool:
        try:
            return Path(path).resolve().is_relative_to(self._files)
        except (OSError, ValueError):
            return False

    async def _checked_body(self, path: str, headers: dict[str, str], receive: Receive) -> Receive:
        if path != UPLOAD:
            return await self._checked_question(headers, receive)
        most = self._upload_bytes + ENVELOPE_BYTES
        _check_length(headers, most)
        return _cut_off(receive, most)

    async def _checked_question(self, headers: dict[str, str], receive: Receive) -> Receive:
        """Reads a whole question, which may name files of `files` alone."""
        _check_length(headers, QUESTION_BYTES)
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Refused(400, "the question was cut off")
            body, more = body + message.get("body", b""), message.get("more_body", False)
            if len(body) > QUESTION_BYTES:
                raise _too_long(QUESTION_BYTES)
        try:
            paths = list(_paths(json.loads(body)))
        except (ValueError, RecursionError) as error:
            raise _Refused(400, "the question is no JSON") from error
        if not all(isinstance(one, str) and self._is_ours(one) for one in paths):
            raise _Refused(403, "only uploaded files can be asked about")
        pending = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        return replay


class _Refused(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def _headers(scope: MutableMapping[str, Any]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _check_length(headers: dict[str, str], most: int) -> None:
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > most:
        raise _too_long(most)


def _too_long(most: int) -> _Refused:
    return _Refused(413, f"more than {most / 1e6:.3g} MB are not taken")


def _cut_off(receive: Receive, most: int) -> Receive:
    """Ends a body that is longer than allowed, whatever length was announced."""
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return message if seen <= most else {"type": "http.disconnect"}

    return bounded


def _paths(value: Any) -> Iterable[Any]:
    """What stands under "path" anywhere in JSON: that is how Gradio names a file."""
    if isinstance(value, dict):
        if value.get("path") is not None:
            yield value["path"]
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _paths(one)


async def _answer(refused: _Refused, send: Send) -> None:
    body = f"{refused}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        *HEADERS,
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
