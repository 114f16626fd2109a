"""Results of finished stages as files, so that a job that was stopped goes on where it was.

A file is named after a hash of all that its content depends on. What is torn, or does not belong
there, is found by what the file says about itself, and made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from prolab_d2._version import __version__
from prolab_d2.errors import ProLabError, first_line
from prolab_d2.files import atomic_path, check_writable, remove_leftovers
from prolab_d2.label_space.progress import Progress
from prolab_d2.label_space.storage import hash_arrays

__all__ = ["Arrays", "Stages", "content_hash", "read_arrays"]

Arrays = dict[str, np.ndarray]

_SUFFIX = ".safetensors"
_LOCK = ".lock"
_KEY = "stage"


def content_hash(data: Any) -> str:
    """SHA-256 of JSON data. The order of keys counts: in descriptions, it gives the ids."""
    return hashlib.sha256(json.dumps(data, ensure_ascii=False).encode()).hexdigest()


class Stages:
    """A folder with the results of stages; without a folder, everything is made anew.

    stages = Stages("output/mine.build", progress)
    with stages.locked():
        arrays = stages.reuse("embeddings", {"encoder": ..., "sentences": ...}, make)
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, progress: Progress | None = None
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self._progress = progress or Progress()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other jobs out of the folder, and removes what killed ones have left half written.

        Raises:
            ProLabError: another job works there, or it cannot be written to.
        """
        if self.folder is None:
            yield
            return
        check_writable(self.folder)
        with (self.folder / _LOCK).open("w") as lock:
            # A lock ends with its process, however that ends.
            if not _try_lock(lock.fileno()):
                raise ProLabError(
                    f"another process works in {self.folder}: wait until it has finished, or "
                    "choose another folder for working files"
                )
            for folder, _, _ in os.walk(self.folder):
                remove_leftovers(os.path.join(folder, "*"))
            yield

    def reuse(
        self, stage: str, inputs: Mapping[str, Any], make: Callable[[], Arrays]
    ) -> tuple[Arrays, bool]:
        """The arrays of a stage, from its file or made and written there.

        Args:
            stage: its name, which begins the name of the file.
            inputs: all that the result depends on, as JSON data; long ones as a hash.
            make: computes the arrays.
        Returns:
            The arrays, and whether an earlier run has made them.
        Raises:
            ProLabError: the file cannot be written.
        """
        path = self.path(stage, inputs)
        if path is None:
            return make(), False
        record = _record(stage, inputs)
        if path.exists():
            try:
                return _read(path, record), True
            except _UnusableError as error:
                self._progress.tell(f"{stage}: {path} {error} and is made again")
        arrays = make()
        packed = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        metadata = {"made_from": record, "arrays_sha256": hash_arrays(packed)}
        with atomic_path(path) as temporary:
            # Under one key: safetensors writes several in any order.
            content = safetensors.numpy.save(packed, {_KEY: json.dumps(metadata)})
            temporary.write_bytes(content)
        return arrays, False

    def path(self, stage: str, inputs: Mapping[str, Any]) -> Path | None:
        """The file of a stage."""
        if self.folder is None:
            return None
        key = content_hash(_record(stage, inputs))[:16]
        return self.folder / f"{stage}-{key}{_SUFFIX}"

    def part(self, name: str) -> Stages:
        """A folder of its own for the parts of one stage."""
        return Stages(None if self.folder is None else self.folder / name, self._progress)

    def clear(self) -> None:
        """Removes the folder of a `part` that is no longer needed."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def read_arrays(path: str | os.PathLike[str]) -> tuple[Arrays, dict[str, Any]]:
    """Arrays of any safetensors file, and what they were made from if it is one of `Stages`.

    Raises:
        ProLabError: the file is missing, or something else.
    """
    try:
        arrays, metadata = _load(Path(path))
        return arrays, metadata.get("made_from", {})
    except _UnusableError as error:
        raise ProLabError(f"{path} {error}: give a .safetensors file") from error


def _record(stage: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {"stage": stage, "prolab_d2": __version__, **inputs}


class _UnusableError(Exception):
    """What is wrong with a file."""


def _read(path: Path, record: dict[str, Any]) -> Arrays:
    arrays, metadata = _load(path)
    if metadata.get("made_from") != record:
        raise _UnusableError("was made from something else")
    if metadata.get("arrays_sha256") != hash_arrays(arrays):
        raise _UnusableError("is damaged")
    return arrays


def _load(path: Path) -> tuple[Arrays, dict[str, Any]]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, json.loads((file.metadata() or {}).get(_KEY, "{}"))
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise _UnusableError(f"cannot be read ({first_line(error)})") from error


def _try_lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
