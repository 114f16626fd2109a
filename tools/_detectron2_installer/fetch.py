"""Gets the sources of Detectron2: the release from the package index, or the repository by git.

`pip download` cannot do the first: it runs the release's setup.py, which imports torch in an
isolated environment that has none. So the link is read from the index that pip is configured for
(`pip config`, PIP_* variables, mirrors, local folders), and the file is checked by its sha256.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import http.client
import os
import re
import ssl
import subprocess
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from .errors import InstallError

__all__ = [
    "GIT_COMMIT",
    "GIT_URL",
    "SDIST_NAME",
    "SDIST_SHA256",
    "IndexSettings",
    "fetch_git",
    "fetch_release",
    "git_commands",
    "index_settings",
    "unpack",
]

SDIST_PROJECT = "pb1-detectron2"
SDIST_NAME = "pb1-detectron2-0.6.tar.gz"
SDIST_SHA256 = "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"

GIT_URL = "https://github.com/facebookresearch/detectron2.git"
GIT_COMMIT = "02b5c4e295e990042a714712c21dc79b731e8833"

_ATTEMPTS = 3
_TIMEOUT = 60  # seconds without an answer


@dataclass(frozen=True)
class IndexSettings:
    """Where pip looks for packages.

    Attributes:
        indexes: base addresses of package indexes; the main one first.
        find_links: folders or pages that list files directly.
        certificates: file of certificate authorities, None for the system's.
        proxy: proxy server, None for that of the environment.
    """

    indexes: tuple[str, ...]
    find_links: tuple[str, ...] = ()
    certificates: str | None = None
    proxy: str | None = None


def index_settings(python: str) -> IndexSettings:
    """The settings of the pip that belongs to the interpreter `python`."""
    options: dict[str, str] = {}
    # Later sections overrule earlier ones, as in pip itself.
    config = _pip_output(python, "config", "list")
    for section in ("global", "download", "install", ":env:"):
        for key, value in re.findall(rf"^{section}\.([\w-]+)=(.+)$", config, flags=re.MULTILINE):
            options[key] = str(ast.literal_eval(value))
    indexes: list[str] = []
    if options.get("no-index", "").lower() not in ("1", "true", "yes", "on"):
        main = options.get("index-url") or _default_index(python)
        indexes = [main, *options.get("extra-index-url", "").split()]
    return IndexSettings(
        tuple(index for index in indexes if index),
        tuple(options.get("find-links", "").split()),
        options.get("cert"),
        options.get("proxy"),
    )


def _pip_output(python: str, *arguments: str) -> str:
    environment = {**os.environ, "COLUMNS": "1000", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = [python, "-m", "pip", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    if run.returncode:
        raise InstallError(
            f"{python} has no working pip: create the environment anew with "
            "`python3 -m venv`, or name another interpreter with --python"
        )
    return run.stdout


def _default_index(python: str) -> str:
    """The index that pip's own help names; this file names none."""
    found = re.search(
        r"--index-url <url>.*?\(default:? (\S+?)\)", _pip_output(python, "help", "download"), re.S
    )
    return found.group(1) if found else ""


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attrs if tag == "a" and name == "href" and value]


def fetch_release(settings: IndexSettings, folder: Path) -> Path:
    """Downloads the sdist of release 0.6 into `folder` and checks its sha256.

    Raises:
        InstallError: no index has the file or can be reached, or the file is another one.
    """
    problems: list[str] = []
    for page in _pages(settings):
        try:
            link = _find_link(page, settings)
            if link is None:
                problems.append(f"{_host(page)} does not have {SDIST_NAME}")
                continue
            content = _read(link, settings)
        except (OSError, http.client.HTTPException, ValueError) as error:
            problems.append(f"{_host(page)}: {getattr(error, 'reason', None) or error}")
            continue
        path = folder / SDIST_NAME
        path.write_bytes(content)
        check_hash(path, link)
        return path
    raise InstallError(
        f"{SDIST_NAME} could not be fetched ({'; '.join(problems) or 'pip has no index'}): check "
        "the network and `pip config list`, or give the file with --sdist"
    )


def check_hash(path: Path, origin: str) -> None:
    """Raises InstallError unless `path` is the pinned sdist; `origin` is where it came from."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SDIST_SHA256:
        raise InstallError(
            f"{_without_login(origin)} has sha256 {found} instead of {SDIST_SHA256}: the file is "
            "damaged or not release 0.6, and nothing was installed; fetch it again, or take "
            "--source git"
        )


def _pages(settings: IndexSettings) -> list[str]:
    pages = [f"{index.rstrip('/')}/{SDIST_PROJECT}/" for index in settings.indexes]
    return pages + list(settings.find_links)


def _find_link(page: str, settings: IndexSettings) -> str | None:
    folder = _local_folder(page)
    if folder is not None:
        if (folder / SDIST_NAME).is_file():
            return (folder / SDIST_NAME).as_uri()
        page = (folder / "index.html").as_uri()
        if not (folder / "index.html").is_file():
            return None
    parser = _Links()
    parser.feed(_read(page, settings).decode("utf-8", errors="replace"))
    for link in parser.links:
        address = urllib.parse.urldefrag(urllib.parse.urljoin(page, link)).url
        name = urllib.parse.unquote(urllib.parse.urlsplit(address).path).rsplit("/", 1)[-1]
        if name.lower().replace("_", "-") == SDIST_NAME:
            return address
    return None


def _local_folder(address: str) -> Path | None:
    parts = urllib.parse.urlsplit(address)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    if "://" not in address:
        return Path(address).expanduser().resolve()
    return None


def _read(address: str, settings: IndexSettings) -> bytes:
    """The content at `address`; tries again when the network fails, not when it says no."""
    parts = urllib.parse.urlsplit(address)
    headers = {"Accept": "text/html, */*;q=0.1", "User-Agent": "install_detectron2"}
    if parts.username:
        login = (
            f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        )
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.HTTPSHandler(
            context=ssl.create_default_context(cafile=settings.certificates)
        )
    ]
    if settings.proxy:
        handlers.append(
            urllib.request.ProxyHandler({"http": settings.proxy, "https": settings.proxy})
        )
    opener = urllib.request.build_opener(*handlers)
    request = urllib.request.Request(_without_login(address), headers=headers)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with opener.open(request, timeout=_TIMEOUT) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == _ATTEMPTS:
                raise
        except (OSError, http.client.HTTPException):
            if attempt == _ATTEMPTS or parts.scheme == "file":
                raise
        time.sleep(attempt)
    raise AssertionError("unreachable")


def _without_login(address: str) -> str:
    return re.sub(r"(?<=://)[^/@]*@", "", address)


def _host(address: str) -> str:
    parts = urllib.parse.urlsplit(address)
    return parts.hostname or _without_login(address)


def unpack(sdist: Path, folder: Path) -> Path:
    """Unpacks the release; returns the folder that holds its setup.py."""
    with tarfile.open(sdist) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter="data")
        else:
            archive.extractall(folder)
    return folder / SDIST_NAME.removesuffix(".tar.gz")


def git_commands(url: str, commit: str, folder: Path) -> list[list[str]]:
    """The commands that bring exactly one commit of a repository into `folder`."""
    git = ["git", "-C", str(folder)]
    return [
        ["git", "init", "--quiet", str(folder)],
        [*git, "fetch", "--quiet", "--depth", "1", url, commit],
        [*git, "-c", "advice.detachedHead=false", "checkout", "--quiet", commit],
    ]


def fetch_git(url: str, commit: str, folder: Path) -> Path:
    """Checks out `commit` of the repository at `url`; returns the folder of its setup.py.

    Raises:
        InstallError: git is missing, or the repository cannot be reached.
    """
    for command in git_commands(url, commit, folder):
        try:
            run = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            raise InstallError(
                "--source git needs the program git, which is not installed: install it, or "
                "leave --source out"
            ) from None
        if run.returncode:
            reason = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise InstallError(
                f"commit {commit[:12]} could not be fetched from {url} ({reason}): check the "
                "network, or leave --source out to install release 0.6"
            )
    return folder
