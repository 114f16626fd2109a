"""The running explorer, asked for what it must not give. Needs Gradio, and no browser."""

from __future__ import annotations

import ast
import http.client
import json
import socket
from pathlib import Path

import pytest

from projects.ProLab.explorer import SHIPPED
from tests.explorer.conftest import SECONDS, UPLOAD_MEGABYTES, Served
from tests.golden import REPOSITORY

pytestmark = pytest.mark.slow


def ask(
    served: Served, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=SECONDS)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, sent)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace")


def upload(served: Served, content: bytes) -> tuple[int, str]:
    body = (
        b'--edge\r\nContent-Disposition: form-data; name="files"; filename="photo.png"\r\n\r\n'
        + content
        + b"\r\n--edge--\r\n"
    )
    kind = "multipart/form-data; boundary=edge"
    return ask(served, "POST", "/gradio_api/upload", body, content_type=kind)


def test_the_page_is_there_and_names_no_other_host(served: Served) -> None:
    status, page = ask(served, "GET", "/")
    assert status == 200 and "ProLab explorer" in page
    config = json.loads(ask(served, "GET", "/config")[1])
    assert config["analytics_enabled"] is False
    assert not config.get("run_history")


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", str(SHIPPED), str(REPOSITORY / "setup.py"), "setup.py", "../setup.py"],
)
def test_no_file_of_the_server_can_be_read(served: Served, path: str) -> None:
    assert path.startswith(".") or (REPOSITORY / path).is_file()
    for route in ("file=", "file/", "file%3D"):
        status, text = ask(served, "GET", f"/gradio_api/{route}{path}")
        assert status == 404 and len(text) < 100


def test_an_upload_can_be_read_again_and_asked_about_by_nobody_else(served: Served) -> None:
    status, text = upload(served, b"some bytes")
    (path,) = json.loads(text)
    assert status == 200 and Path(path).read_bytes() == b"some bytes"
    assert ask(served, "GET", f"/gradio_api/file={path}") == (200, "some bytes")
    question = {"data": [{"path": "/etc/passwd"}], "fn_index": 0, "session_hash": "x"}
    status, text = ask(served, "POST", "/gradio_api/queue/join", json.dumps(question).encode())
    assert (status, text) == (403, "only uploaded files can be asked about\n")


@pytest.mark.parametrize("excess", [2_000, 500_000])
def test_an_upload_over_the_limit_is_refused(served: Served, excess: int) -> None:
    status, text = upload(served, b"x" * (UPLOAD_MEGABYTES * 1_000_000 + excess))
    assert status == 413 and text


def test_it_answers_this_computer_alone_and_only_under_its_own_name(served: Served) -> None:
    with pytest.raises(ConnectionRefusedError):  # another address of the same computer
        socket.create_connection(("127.0.0.2", served.port), timeout=SECONDS)
    assert ask(served, "GET", "/", host="example.org")[0] == 400
    assert ask(served, "GET", "/", origin="http://example.org")[0] == 403


def test_it_has_asked_no_other_host(served: Served) -> None:
    ask(served, "GET", "/")
    ask(served, "GET", "/gradio_api/file=https://example.org/picture.png")
    asked = served.log.read_text().splitlines() if served.log.exists() else []
    hosts = {str(ast.literal_eval(line)[0]) for line in asked}
    assert hosts <= {"127.0.0.1", "localhost", "::1"}
