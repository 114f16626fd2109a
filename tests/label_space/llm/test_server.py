"""The client of an OpenAI-compatible server, asked by way of HTTP."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from prolab_d2 import ProLabError
from prolab_d2.label_space.category_list import CategoryEntry
from prolab_d2.label_space.describing import describe_categories
from prolab_d2.label_space.llm import Answer, Message, Question, Sampling, Server
from prolab_d2.label_space.prompts import load_prompt
from tests.label_space.llm.fake_server import (
    GOOD,
    Fake,
    chat_response,
    cut,
    drip,
    error,
    flood,
    hang_up,
    reply,
    running,
    sleep,
)

CHAT = Question((Message("system", "Be brief."), Message("user", "fence?")), 0, 50, stop=("\n\n",))
TEXT = Question("a fence is", 0, 20, stop=("\n", "."))
KEY = "sk-very-secret-4711"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    fake = Fake()
    with running(fake):
        yield fake


def test_conversations(fake: Fake) -> None:
    fake.behaviours = [GOOD, reply(chat_response("- thin", finish="length"))]
    server = fake.server()
    assert server.provenance == {"llm": "tiny", "llm_sha256": None} and server.can_chat
    sampling = Sampling(seed=7, temperature=0.5, repeat_penalty=1.1)
    assert server.answer(CHAT, sampling) == Answer("- thin bars\n")
    assert server.answer(CHAT, sampling) == Answer("- thin", cut=True)
    request = fake.requests[0]
    assert request["path"] == "/v1/chat/completions"
    assert request["body"] == {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "fence?"},
        ],
        "max_tokens": 50,
        "temperature": 0.5,
        "seed": 7,
        "stop": ["\n\n"],
    }
    assert "Authorization" not in request["headers"]


def test_texts_to_be_continued(fake: Fake) -> None:
    body = {"choices": [{"text": " made of wood", "finish_reason": "stop"}]}
    fake.behaviours = [reply(json.dumps(body).encode())]
    assert fake.server().answer(TEXT, Sampling()) == Answer(" made of wood")
    assert fake.requests[0]["path"] == "/v1/completions"
    assert fake.requests[0]["body"]["prompt"] == "a fence is"


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("", "/v1/chat/completions"),
        ("/", "/v1/chat/completions"),
        ("/v1", "/v1/chat/completions"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/api/openai/", "/api/openai/chat/completions"),
    ],
)
def test_addresses_of_every_form(given: str, path: str, fake: Fake) -> None:
    fake.behaviours = [GOOD]
    Server(fake.url + given, "tiny").answer(CHAT, Sampling())
    assert fake.requests[0]["path"] == path


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8080", "ftp://host", "http://", "http://a b/", "http://host:x", "http://.x",
     "http://host/v1?key=1", "http://ho\nst"],
)  # fmt: skip
def test_no_address(url: str) -> None:
    with pytest.raises(ProLabError, match="is no address of a server: give one such as http://"):
        Server(url, "tiny")


def test_the_key_is_sent_and_shown_nowhere(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "\n")
    monkeypatch.setenv("OTHER_KEY", "another")
    refused = error(401, f"Incorrect API key provided: {KEY}")
    fake.behaviours = [GOOD, GOOD, refused]
    server = fake.server()
    server.answer(CHAT, Sampling())
    assert fake.requests[0]["headers"]["Authorization"] == f"Bearer {KEY}"
    fake.server(key_variable="OTHER_KEY").answer(CHAT, Sampling())
    assert fake.requests[1]["headers"]["Authorization"] == "Bearer another"
    with pytest.raises(ProLabError) as caught:
        describe_categories([CategoryEntry("sky")], server, load_prompt(), work=tmp_path)
    assert str(caught.value) == (
        f"the server {fake.url}/v1 refuses the request with status 401: "
        "Incorrect API key provided: ***; put a valid key into the environment variable "
        "OPENAI_API_KEY"
    )
    assert KEY not in "".join(capfd.readouterr()) and KEY not in repr(server.provenance)
    assert not any(KEY in path.read_text() for path in tmp_path.iterdir())
    fake.behaviours = [reply(f"<p>{KEY}".encode())]
    with pytest.raises(ProLabError, match=r"no JSON: '<p>\*\*\*'"):
        fake.server(retries=1).answer(CHAT, Sampling())
    monkeypatch.setenv("OPENAI_API_KEY", "sk very\nsecret")
    with pytest.raises(ProLabError, match="OPENAI_API_KEY holds blanks") as caught:
        fake.server()
    assert "secret" not in str(caught.value)
    with pytest.raises(ProLabError, match="holds a name or password") as caught:
        Server("http://me:secret@host/v1", "tiny")
    assert "secret" not in str(caught.value)


PASSING = {
    "rate limit": error(429),
    "out of order": error(500, "out of memory"),
    "starting": reply(b"<html>503</html>", 503),
    "a page": reply(b"<!doctype html><title>proxy</title>"),
    "no JSON": reply(b"all well"),
    "nothing": reply(b""),
    "a list": reply(b"[]"),
    "a number": reply(b"7"),
    "no choices": reply(b'{"object": "chat.completion"}'),
    "empty choices": reply(b'{"choices": []}'),
    "null choice": reply(b'{"choices": [null]}'),
    "no message": reply(b'{"choices": [{"text": "x"}]}'),
    "no content": reply(chat_response(None)),
    "content of parts": reply(chat_response([{"type": "text"}])),
    "an error with status 200": reply(b'{"error": {"message": "model is loading"}}'),
    "broken letters": reply(b'{"choices": "\xff\xfe"}'),
    "half an answer": cut,
    "cut connection": hang_up,
    "an answer without end": flood,
}


@pytest.mark.parametrize("case", PASSING)
def test_failures_that_pass(case: str, fake: Fake) -> None:
    fake.behaviours = [PASSING[case], PASSING[case], GOOD]
    assert fake.server().answer(CHAT, Sampling()) == Answer("- thin bars\n")
    assert len(fake.requests) == 3
    assert fake.requests[0]["body"] == fake.requests[2]["body"]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (error(500, "out of memory"), "status 500: out of memory"),
        (reply(b"<html>503</html>", 503), "status 503"),
        (reply(b"<p>hello"), "no JSON: '<p>hello'"),
        (reply(b'{"error": {"message": "loading"}}'), "a response without an answer (loading)"),
        (reply(chat_response(None)), "a response whose answer is no text"),
        (flood, "an answer of more than 4 MiB"),
        (error(429, "slow down"), "status 429: slow down"),
    ],
)
def test_failures_that_stay(behaviour: Callable, reason: str, fake: Fake) -> None:
    fake.behaviours = [behaviour]
    with pytest.raises(ProLabError) as caught:
        fake.server(retries=2).answer(CHAT, Sampling())
    assert str(caught.value) == (
        f"the server {fake.url}/v1 gave no answer, at last ({reason}): start again later; the "
        "answers so far are kept"
    )
    assert len(fake.requests) == 3


@pytest.mark.parametrize("behaviour", [sleep, drip])
def test_slow_answers_end(behaviour: Callable, fake: Fake) -> None:
    fake.behaviours = [behaviour, GOOD]
    assert fake.server(timeout=0.2).answer(CHAT, Sampling()).text == "- thin bars\n"
    fake.behaviours = [behaviour]
    with pytest.raises(ProLabError, match=r"\(no answer within 0.2 seconds\)"):
        fake.server(timeout=0.2, retries=1).answer(CHAT, Sampling())


@pytest.mark.parametrize(
    ("status", "cure"),
    [
        (400, "check the name of the model and the prompt"),
        (403, "put a valid key into the environment variable OPENAI_API_KEY"),
        (404, "check the address and the name of the model"),
        (422, "check the name of the model and the prompt"),
    ],
)
def test_refusals_are_not_repeated(status: int, cure: str, fake: Fake) -> None:
    fake.behaviours = [error(status, "not\nthis " + "x" * 500)]
    with pytest.raises(ProLabError, match=f"status {status}: not this x+...; {cure}") as caught:
        fake.server().answer(CHAT, Sampling())
    assert len(fake.requests) == 1 and len(str(caught.value)) < 400


def test_options_that_a_server_does_not_take_are_left_out(fake: Fake) -> None:
    complaints = [
        error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
        reply(b'{"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"]}]}', 422),
        error(400, "Unsupported value: 'temperature' does not support 0"),
    ]
    fake.behaviours = [*complaints, GOOD]
    server = fake.server()
    server.answer(CHAT, Sampling())
    server.answer(CHAT, Sampling())
    assert len(fake.requests) == 5
    for request in fake.requests[3:]:
        assert request["body"].keys() == {"model", "messages", "max_completion_tokens", "stop"}
    # The same complaint again is an error of the request.
    fake.behaviours = complaints[1:2]
    with pytest.raises(ProLabError, match=r'status 422: \[\{"type": "extra_forbidden"'):
        server.answer(CHAT, Sampling())


def test_options_are_left_out_by_all_threads(fake: Fake) -> None:
    barrier = threading.Barrier(4)

    def behave(handler: BaseHTTPRequestHandler) -> None:
        if "seed" in handler.asked:
            barrier.wait(10)
            error(400, "unknown field seed")(handler)
        else:
            GOOD(handler)

    fake.behaviours = [behave]
    server, answers = fake.server(), []
    threads = [
        threading.Thread(target=lambda: answers.append(server.answer(CHAT, Sampling())))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4 and len(fake.requests) == 8


def test_a_server_that_only_chats_knows_no_facets(fake: Fake) -> None:
    fake.behaviours = [reply(b"not found", 404)]
    with pytest.raises(ProLabError, match="status 404: not found; .* cannot do facets, use chat"):
        fake.server().answer(TEXT, Sampling())


def test_the_key_follows_no_redirect(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    other = Fake()
    other.behaviours = [GOOD]
    with running(other):
        for status in (301, 302, 307, 308):
            fake.behaviours = [reply(b"", status, Location=f"{other.url}/v1/chat/completions")]
            with pytest.raises(ProLabError, match=f"status {status}; the server has moved to http"):
                fake.server().answer(CHAT, Sampling())
    assert other.requests == []


def test_retry_after_is_honoured_by_all_threads(fake: Fake) -> None:
    answered = []

    def limited(handler: BaseHTTPRequestHandler) -> None:
        answered.append(time.monotonic())
        error(429, Retry_After="0.5")(handler)

    fake.behaviours = [limited, GOOD]
    server = fake.server()
    first = threading.Thread(target=server.answer, args=(CHAT, Sampling()))
    first.start()
    while not server._not_before:
        time.sleep(0.005)
    server.answer(CHAT, Sampling())  # not to be sent before either
    first.join()
    assert len(fake.times) == 3
    assert min(fake.times[1:]) - answered[0] >= 0.5


def test_retry_after_as_a_date_and_nonsense(fake: Fake) -> None:
    in_two_seconds = formatdate(time.time() + 2, usegmt=True)
    fake.behaviours = [error(503, Retry_After=in_two_seconds), GOOD]
    fake.server().answer(CHAT, Sampling())
    assert fake.times[1] - fake.times[0] >= 0.9  # dates have whole seconds
    for value in ("soon", "-5", "nan", "inf", formatdate(0)):
        fake.behaviours = [error(429, Retry_After=value), GOOD]
        start = time.monotonic()
        fake.server().answer(CHAT, Sampling())
        assert time.monotonic() - start < 4
    fake.behaviours = [error(429, "come back", Retry_After="86400")]
    with pytest.raises(ProLabError, match="come back, and asks to wait for 1440 minutes"):
        fake.server().answer(CHAT, Sampling())


def test_pauses_grow(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("prolab_d2.label_space.llm.server.time.sleep", pauses.append)
    fake.behaviours = [error(500)]
    with pytest.raises(ProLabError):
        fake.server(backoff=1.0, retries=9).answer(CHAT, Sampling())
    assert len(pauses) == 9
    for pause, full in zip(pauses, (1, 2, 4, 8, 16, 32, 64, 120, 120), strict=True):
        assert full / 2 <= pause <= full
    assert (
        len({round(pause / full, 6) for pause, full in zip(pauses, (1, 2, 4, 8), strict=False)})
        == 4
    )


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ProLabError, match=r"Connection refused.*\): check the address"):
            Server(url, "tiny", backoff=0.01).answer(CHAT, Sampling())


def test_several_requests_in_flight(fake: Fake, tmp_path: Path) -> None:
    entries = [CategoryEntry(f"thing {i}") for i in range(12)]
    failures = [error(429, Retry_After="0.1"), error(500), cut, reply(b"<html>"), hang_up]
    arrived = 0

    def behave(handler: BaseHTTPRequestHandler) -> None:
        nonlocal arrived
        with fake.lock:
            arrived += 1
            failure = failures.pop() if failures and arrived % 3 == 0 else None
        if failure is not None:
            return failure(handler)
        time.sleep(0.1)
        category = re.search(r"Kind of thing: (.*)", handler.asked["messages"][-1]["content"])[1]
        lines = [f"{category} seen from {side}" for side in ("above", "below", "behind")]
        reply(chat_response("\n".join(f"- {line}" for line in lines)))(handler)

    fake.behaviours = [behave]
    result = describe_categories(
        entries, fake.server(), load_prompt(), sentences=3, work=tmp_path, workers=4
    )
    assert 2 <= fake.most_in_flight <= 4
    assert len(fake.requests) == 12 + 1 + 5
    for entry in entries:
        assert result.descriptions[entry.name][0] == f"{entry.name} seen from above"
    # Everything is kept: the server is not asked again.
    again = describe_categories(entries, fake.server(), load_prompt(), sentences=3, work=tmp_path)
    assert again == result and len(fake.requests) == 18
