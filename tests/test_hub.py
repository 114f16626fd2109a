"""The hub, as real servers on this machine play it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub import constants

from prolab_d2 import ProLabError, hub
from prolab_d2.hub import hub_problem, require_hub


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine that runs the tests."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@contextmanager
def server(status: int) -> Iterator[str]:
    """The address of a server that answers every question with `status`."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [200, 401, 404])
def test_a_hub_that_answers_is_there(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(status) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        assert hub_problem() is None
        require_hub("the model", "copy it")


def test_a_hub_out_of_order(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(503) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        assert hub_problem() == f"{address} cannot be reached (status 503)"


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ProLabError) as caught:
        require_hub("the model 'a/b'", "copy it here")
    message = str(caught.value)
    assert message.startswith("the model 'a/b' is not in the local cache, and http://127.0.0.1:9 ")
    assert message.endswith("): copy it here") and "\n" not in message


def test_a_silent_server_costs_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        assert "cannot be reached" in hub_problem()
        assert time.monotonic() - start < 3


def test_looking_up_the_host_costs_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def resolve(*_: object, **__: object) -> None:
        released.wait(10)
        raise socket.gaierror("no such host")

    monkeypatch.setattr(hub, "_SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
    start = time.monotonic()
    assert "no answer within 0.2 seconds" in hub_problem()
    assert time.monotonic() - start < 3
    released.set()


def test_offline_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("asked"))
    assert hub_problem() == "HF_HUB_OFFLINE forbids a download"
