"""Files appear whole or not at all: everything is written beside its place and then renamed."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prolab_d2.errors import ProLabError

__all__ = [
    "atomic_files",
    "atomic_folder",
    "atomic_path",
    "check_writable",
    "remove_leftovers",
    "sha256_of",
]

_MARK = ".unfinished"
# Errors that concern the place written to, wherever they surface.
_PLACE_ERRORS = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG}


def _temporary_folder(target: Path) -> Path:
    """A new folder beside `target`."""
    _make_parent(target)
    temporary = _temporary_sibling(target)
    try:
        temporary.mkdir()
    except OSError as error:
        raise _cannot_write(target, error) from error
    return temporary


def _temporary_sibling(path: Path) -> Path:
    # The suffix stays, because writers such as Pillow and NumPy choose the format by it.
    return path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}{_MARK}{path.suffix}")


def _cannot_write(path: Path, error: OSError) -> ProLabError:
    reason = (error.strerror or str(error)).lower()
    return ProLabError(
        f"cannot write {path} ({reason}): choose another output folder, or make room and "
        "grant write permission there"
    )


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from error


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary name in the folder of `path`; becomes `path` when the block succeeds.

    Parent folders are created. When the block raises, the temporary file is removed and a former
    file under `path` stays as it was.

    Raises:
        ProLabError: the folder cannot be written to, or the disk is full.
    """
    target = Path(path).resolve() if os.path.islink(path) else Path(path)
    if target.is_dir():
        raise ProLabError(f"cannot write {target}, a folder of that name exists: choose another")
    _make_parent(target)
    temporary = _temporary_sibling(target)
    try:
        # Fails here, not after an hour of work inside the block.
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise _cannot_write(target, error) from error
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        if error.errno in _PLACE_ERRORS or error.filename == str(temporary):
            raise _cannot_write(target, error) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_files(path: str | os.PathLike[str]) -> Iterator[Path]:
    """`atomic_path` for a writer that may put further files beside `path`, which refers to them.

    Yields a path of the same name in a temporary folder beside `path`. When the block succeeds,
    all files of that folder take their places, `path` last.

    Raises:
        ProLabError: the folder cannot be written to, or the disk is full.
    """
    target = Path(path)
    if target.is_dir():
        raise ProLabError(f"cannot write {target}, a folder of that name exists: choose another")
    temporary = _temporary_folder(target)
    try:
        yield temporary / target.name
        for file in sorted(temporary.iterdir(), key=lambda file: file.name == target.name):
            os.replace(file, target.parent / file.name)
    except OSError as error:
        if error.errno in _PLACE_ERRORS or str(error.filename).startswith(str(temporary)):
            raise _cannot_write(target, error) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary folder beside `path`; becomes `path` when the block succeeds.

    A new folder appears with one rename. If `path` exists already, the new files take the place of
    those of the same name, one rename each, in the order of their names; other files in it stay,
    because they may be the user's.

    Raises:
        ProLabError: the place cannot be written to, or the disk is full.
    """
    target = Path(path).resolve()
    if target.exists() and not target.is_dir():
        raise ProLabError(f"cannot write {target}, a file of that name exists: choose another")
    temporary = _temporary_folder(target)
    try:
        yield temporary
        if target.is_dir():
            for file in sorted(temporary.iterdir()):
                os.replace(file, target / file.name)
        else:
            os.rename(temporary, target)
    except OSError as error:
        ours = str(error.filename).startswith((str(temporary), str(target)))
        if error.errno in _PLACE_ERRORS or ours:
            raise _cannot_write(target, error) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Makes sure, before long work begins, that files can be written to `folder`; creates it.

    Raises:
        ProLabError: it cannot be created or written to.
    """
    probe = _temporary_sibling(Path(folder) / "probe")
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(probe.parent / "probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _cannot_write(Path(folder), error) from error


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Removes what killed processes have left of writing the file or folder `path`.

    With "*" as the name of the file, of everything in its folder.
    """
    path = Path(path)
    stem = path.name if path.name == "*" else glob.escape(path.stem)
    for entry in path.parent.glob(f".{stem}.*{_MARK}*"):
        owner = re.search(rf"\.(\d+)-[0-9a-f]{{8}}{re.escape(_MARK)}", entry.name)
        if owner is None or _is_running(int(owner[1])):
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    """Whether another process of this number is alive; where that cannot be told, it is."""
    if process == os.getpid() or os.name != "posix":
        return process != os.getpid()
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, read in parts: a model may be larger than the memory."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
