"""A Hugging Face hub with one model, played by a server on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_COMMIT = "0" * 40


class Hub(ThreadingHTTPServer):
    """Serves the files of `folder` as the model `name`; `asked` collects what clients wanted."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name, self.asked = name, list[str]()
        self.files = {
            path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.is_file()
        }

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        headers = {"X-Repo-Commit": _COMMIT}
        name = self.server.name
        file = self.server.files.get(path.removeprefix(f"/{name}/resolve/").partition("/")[2])
        if file is not None:
            data = file.read_bytes()
            headers["ETag"] = f'"{hashlib.sha1(data).hexdigest()}"'
        elif path == "/":
            data = b"the hub"
        elif path == f"/api/models/{name}":
            siblings = [{"rfilename": file} for file in self.server.files]
            data = json.dumps({"id": name, "sha": _COMMIT, "siblings": siblings}).encode()
        elif path.startswith(f"/api/models/{name}/tree/"):
            entry = {"type": "file", "size": 0, "oid": ""}
            data = json.dumps([{**entry, "path": file} for file in self.server.files]).encode()
        else:
            data = b""
            there = path.startswith((f"/{name}/", f"/api/models/{name}/"))
            headers["X-Error-Code"] = "EntryNotFound" if there else "RepoNotFound"
        self.send_response(404 if "X-Error-Code" in headers else 200)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hub(name: str, folder: Path) -> Iterator[Hub]:
    with Hub(name, folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
