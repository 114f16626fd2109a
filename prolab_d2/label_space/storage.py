"""A label space as files, and as the part of a checkpoint.

`label_space.json` holds all text, `label_space.safetensors` all arrays, `build.log` dates and
timings, which are no part of the content.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from prolab_d2.errors import ProLabError
from prolab_d2.files import atomic_folder
from prolab_d2.resources import resource_folder

__all__ = [
    "LOGGED",
    "SCHEMA_VERSION",
    "Data",
    "check_files_belong_together",
    "find_folder",
    "folder_files",
    "hash_arrays",
    "is_label_space",
    "read_folder",
    "read_state",
    "shipped_label_spaces",
    "without_garbage_collection",
    "write_folder",
]

SCHEMA_VERSION = 1
JSON_NAME = "label_space.json"
ARRAYS_NAME = "label_space.safetensors"
LOG_NAME = "build.log"
# Entries of the provenance that go to build.log: they differ between runs that give the same.
LOGGED = ("dates", "timings")

# Document (JSON data), arrays by name, log.
Data = tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any]]

_KEYS = {"categories": list, "descriptions": dict, "properties": list, "provenance": dict}


def is_label_space(folder: str | os.PathLike[str]) -> bool:
    return (Path(folder) / JSON_NAME).is_file()


def shipped_label_spaces() -> list[str]:
    """Names of the label spaces that come with the package."""
    try:
        root = resource_folder("label_spaces")
    except FileNotFoundError:
        return []
    return sorted(folder.name for folder in root.iterdir() if is_label_space(folder))


def find_folder(folder_or_name: str | os.PathLike[str]) -> Path:
    """The folder that holds a label space.

    Raises:
        ProLabError: neither a folder with a label space nor the name of a shipped one.
    """
    text = os.fspath(folder_or_name)
    folder = Path(text).expanduser()
    if text and is_label_space(folder):
        return folder
    names = shipped_label_spaces()
    if text in names:
        return resource_folder("label_spaces") / text
    if text and folder.is_dir():
        problem = f"holds no {JSON_NAME}"
    elif text and folder.exists():
        problem = "is a file, not a folder"
    else:
        problem = "does not exist"
    raise ProLabError(
        f"label space {text!r} {problem}: give a folder made by tools/build_label_space.py, or one "
        f"of the names {', '.join(names) or '(none is installed)'}"
    )


def hash_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and values, the same on every machine."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        little_endian = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(little_endian.data)
    return digest.hexdigest()


def folder_files(
    document: Mapping[str, Any], arrays: Mapping[str, np.ndarray], log: Mapping[str, Any]
) -> dict[str, bytes]:
    """The files of a label space: content by name."""
    packed = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    full = {"schema_version": SCHEMA_VERSION, **document, "arrays_sha256": hash_arrays(packed)}
    return {
        ARRAYS_NAME: safetensors.numpy.save(packed),
        JSON_NAME: _to_json(full),
        LOG_NAME: _to_json(log),
    }


def write_folder(folder: str | os.PathLike[str], files: Mapping[str, bytes]) -> None:
    """Writes files to a folder, all or none if it is a new one."""
    with atomic_folder(folder) as temporary:
        for name, content in files.items():
            (temporary / name).write_bytes(content)


def _to_json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, ensure_ascii=False, indent=1) + "\n").encode()


def read_folder(folder: Path) -> Data:
    """Reads `folder_files`; the content is checked by whoever makes a LabelSpace of it.

    Raises:
        ProLabError: a file is missing or unreadable.
    """
    document = _parse(_read_text(folder / JSON_NAME), str(folder / JSON_NAME))
    return document, _read_arrays(folder / ARRAYS_NAME), _read_log(folder / LOG_NAME)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """For reading: it makes many small objects and no garbage, so that Python would look for some
    again and again among all objects of the process, which takes longer than the reading."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def check_files_belong_together(folder: Path, data: Data) -> None:
    """Finds two files that are fine each for itself, but come from different label spaces.

    Raises:
        ProLabError: the arrays are not those that the JSON file was written with.
    """
    document, arrays, _ = data
    expected = document.get("arrays_sha256")
    if expected is not None and expected != hash_arrays(arrays):
        raise ProLabError(
            f"{folder}: {ARRAYS_NAME} is not the file that {JSON_NAME} was saved with: build the "
            "label space again, copy both files from one place, or remove arrays_sha256 from "
            f"{JSON_NAME} if the change is meant"
        )


def read_state(state: Mapping[str, Any], where: str) -> Data:
    """Reads the part of a checkpoint that `LabelSpace.state` gave.

    Raises:
        ProLabError: it is something else.
    """
    if not isinstance(state, Mapping) or not {"json", "arrays"} <= state.keys():
        raise ProLabError(f"{where}: no label space inside, use a checkpoint of this project")
    document = _parse(state["json"], where)
    arrays = {
        name: np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)
        for name, array in state["arrays"].items()
    }
    _check_arrays(arrays, where)
    return document, arrays, document.get("log", {})


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProLabError(f"cannot read {path} ({error}): restore or rebuild it") from error


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (TypeError, ValueError) as error:
        raise ProLabError(f"{where} is not valid JSON ({error}): restore or rebuild it") from error
    if not isinstance(document, dict):
        raise ProLabError(f"{where} is no label space, a JSON object is expected: rebuild it")
    version = document.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise ProLabError(
            f"{where} has schema version {version!r}, this program reads {SCHEMA_VERSION}: "
            "update prolab_d2, or build the label space again"
        )
    for key, kind in _KEYS.items():
        if not isinstance(document.get(key), kind):
            noun = "a list" if kind is list else "an object"
            raise ProLabError(f"{where}: {key!r} must be {noun}: restore or rebuild the file")
    return document


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ProLabError(f"{path} is missing: copy it from the same place as {JSON_NAME}")
    try:
        arrays = safetensors.numpy.load_file(path)
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise ProLabError(f"cannot read {path} ({error}): restore or rebuild it") from error
    _check_arrays(arrays, str(path))
    return arrays


def _check_arrays(arrays: Mapping[str, np.ndarray], where: str) -> None:
    missing = {"bank", "signatures"} - arrays.keys()
    if missing:
        raise ProLabError(
            f"{where}: the array {' and '.join(sorted(missing))} is missing: restore or rebuild it"
        )


def _read_log(path: Path) -> dict[str, Any]:
    """Dates and timings; without them, or with text of somebody's own, the label space is whole."""
    try:
        log = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in log.items() if k in LOGGED} if isinstance(log, dict) else {}
