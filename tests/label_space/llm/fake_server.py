"""A real HTTP server in this process, which answers as a test tells it to."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prolab_d2.label_space.llm import Server


def chat_response(text: Any = "- thin bars\n", finish: str = "stop") -> bytes:
    message = {"role": "assistant", "content": text}
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode()


class Fake:
    """Behaviours for the requests to come, the last of them for all others; and what came."""

    def __init__(self) -> None:
        self.behaviours: list[Callable[[BaseHTTPRequestHandler], None]] = []
        self.requests: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.lock = threading.Lock()
        self.url = ""
        self.in_flight = self.most_in_flight = 0

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            self.times.append(time.monotonic())
            self.requests.append(
                {"path": handler.path, "headers": dict(handler.headers), "body": body}
            )
            handler.asked = body
            behave = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            behave(handler)
        finally:
            with self.lock:
                self.in_flight -= 1

    def server(self, **options: Any) -> Server:
        return Server(self.url, "tiny", **{"backoff": 0.01, "timeout": 5, **options})


@contextmanager
def running(fake: Fake) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            fake.handle(self)

        def log_message(self, *args: Any) -> None:
            pass

    class QuietServer(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: Any) -> None:
            pass  # a client that went away

    server = QuietServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reply(body: bytes, status: int = 200, **headers: str) -> Callable:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def error(status: int, message: str = "no", **headers: str) -> Callable:
    return reply(json.dumps({"error": {"message": message}}).encode(), status, **headers)


def cut(handler: BaseHTTPRequestHandler) -> None:
    """Half of an answer."""
    body = chat_response()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def drip(handler: BaseHTTPRequestHandler) -> None:
    """One byte now and then, for ever."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)


def flood(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x" * 65536)


def sleep(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(1)


GOOD = reply(chat_response())
