"""Which requests get through to Gradio; needs none of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from prolab_d2.explorer.guard import ENVELOPE_BYTES, QUESTION_BYTES, Guard

HOST = "127.0.0.1:7860"
JOIN = "/gradio_api/queue/join"
UPLOAD = "/gradio_api/upload"


class Inner:
    """An application that reads a whole request and says yes."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.body = b""
        self.cut_off = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope.get("path", scope["type"]))
        more = scope["type"] == "http"
        while more:
            message = await receive()
            self.cut_off = message["type"] == "http.disconnect"
            self.body += message.get("body", b"")
            more = message.get("more_body", False)
        if scope["type"] == "http":
            headers = [(b"content-security-policy", b"everything goes")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"yes"})


class Site:
    """A guard over `Inner`, asked without a network."""

    def __init__(self, files: Path, hosts: Sequence[str] | None = ("127.0.0.1", "::1")) -> None:
        self.inner = Inner()
        self.guard = Guard(self.inner, files, upload_bytes=1_000_000, hosts=hosts)
        self.headers: dict[str, str] = {}

    def ask(
        self, method: str, path: str, parts: Sequence[bytes] = (b"",), **headers: str
    ) -> tuple[int, str]:
        """The status and the text of an answer to a body that comes in parts."""
        sent: list[Any] = []
        bodies = [
            {"type": "http.request", "body": part, "more_body": i < len(parts)}
            for i, part in enumerate(parts, 1)
        ]

        async def receive() -> Any:
            return bodies.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        pairs = {"host": HOST, **{name.replace("_", "-"): v for name, v in headers.items()}}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(name.encode(), value.encode()) for name, value in pairs.items()],
        }
        asyncio.run(self.guard(scope, receive, send))
        self.headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], b"".join(part["body"] for part in sent[1:]).decode()

    def question(self, value: Any, **headers: str) -> int:
        return self.ask("POST", JOIN, [json.dumps(value).encode()], **headers)[0]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "uploads").mkdir()
    return Site(tmp_path / "uploads")


@pytest.mark.parametrize(
    "path",
    ["/", "/config", "/theme.css", "/assets/index.js", "/gradio_api/queue/data"],
)
def test_the_page_gets_what_it_needs(site: Site, path: str) -> None:
    assert site.ask("GET", path) == (200, "yes")
    assert site.ask("GET", path, origin=f"http://{HOST}") == (200, "yes")
    assert site.headers["content-security-policy"].startswith("default-src 'self'")
    assert site.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/process_recording"),  # starts another program
        ("GET", "/gradio_api/proxy=https://example.org/"),
        ("GET", "/gradio_api/file=https://example.org/picture.png"),  # fetches it
        ("GET", "/gradio_api/info"),
        ("POST", "/gradio_api/run/predict"),
        ("POST", "/gradio_api/call/run"),
        ("POST", "/gradio_api/vibe-code"),
        ("GET", "/gradio_api/runs"),
        ("GET", "/gradio_api/component_server"),
        ("GET", "/monitoring"),
        ("PUT", "/"),
        ("GET", JOIN),
        ("GET", "/asset"),
    ],
)
def test_nothing_else_gets_through(site: Site, method: str, path: str) -> None:
    status, text = site.ask(method, path)
    assert (status, site.inner.paths) == (404, [])
    assert text == "there is nothing here\n"
    assert "content-security-policy" in site.headers


def test_only_files_of_visitors_can_be_read(site: Site, tmp_path: Path) -> None:
    (tmp_path / "uploads/link").symlink_to("/etc/passwd")
    for path in (
        "/etc/passwd",
        str(tmp_path / "model.pth"),
        f"{tmp_path}/uploads/../model.pth",
        f"{tmp_path}/uploads/link",
        f"{tmp_path}/uploads_too/file",
        "setup.py",
        "",
        "\0",
    ):
        assert site.ask("GET", f"/gradio_api/file={path}")[0] == 404, path
    assert site.inner.paths == []
    assert site.ask("GET", f"/gradio_api/file={tmp_path}/uploads/a/image.png")[0] == 200


def test_a_question_names_no_other_files(site: Site, tmp_path: Path) -> None:
    ours = str(tmp_path / "uploads/a/photo.png")
    question = {"data": [{"path": ours, "url": f"http://{HOST}/x"}, "path", None], "fn_index": 3}
    assert site.question(question) == 200
    assert json.loads(site.inner.body) == question
    for path in ("/etc/passwd", "https://example.org/a.png", 7, {"path": ours}):
        assert site.question({"data": [None, {"deep": [{"path": path}]}]}) == 403, path
    assert site.ask("POST", JOIN, [b"{"])[0] == 400
    assert site.ask("POST", JOIN, [b"[" * 100_000])[0] == 400
    assert len(site.inner.paths) == 1


def test_a_question_in_parts_arrives_whole(site: Site) -> None:
    assert site.ask("POST", JOIN, [b'{"data"', b": [1", b"]}"])[0] == 200
    assert json.loads(site.inner.body) == {"data": [1]}


def test_questions_are_bounded_whatever_they_announce(site: Site) -> None:
    part = b" " * (QUESTION_BYTES // 2 + 1)
    for headers in ({}, {"content_length": "10"}, {"content_length": "1000000"}):
        status, text = site.ask("POST", JOIN, [part, part, b"{}"], **headers)
        assert (status, text) == (413, "more than 0.2 MB are not taken\n")
    assert site.ask("POST", JOIN, [b"{}"], content_length="many")[0] == 413
    assert site.inner.paths == []


def test_uploads_are_bounded_whatever_they_announce(site: Site) -> None:
    most = 1_000_000 + ENVELOPE_BYTES
    assert site.ask("POST", UPLOAD, [b"x"], content_length=str(most + 1))[0] == 413
    assert site.inner.paths == []
    assert site.ask("POST", UPLOAD, [b"x" * most])[0] == 200
    assert not site.inner.cut_off and len(site.inner.body) == most
    site.ask("POST", UPLOAD, [b"x" * most, b"x"])
    assert site.inner.cut_off


def test_pages_of_other_sites_cannot_ask(site: Site) -> None:
    for origin in ("http://example.org", "null", "http://127.0.0.1:9000"):
        assert site.question({}, origin=origin) == 403
    for host in ("example.org", "example.org:7860", "127.0.0.1.example.org", ""):
        assert site.ask("GET", "/", host=host)[0] == 400
    assert site.inner.paths == []
    assert site.ask("GET", "/", host="[::1]:7860")[0] == 200


def test_any_name_will_do_where_everybody_is_served(tmp_path: Path) -> None:
    assert Site(tmp_path, hosts=None).ask("GET", "/", host="studio.local:80")[0] == 200


def test_start_and_end_reach_the_application_and_sockets_do_not(site: Site) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(site.guard({"type": "lifespan"}, None, send))
    asyncio.run(site.guard({"type": "websocket", "path": "/"}, None, send))
    assert site.inner.paths == ["lifespan"]
    assert sent == [{"type": "websocket.close"}]
