"""The folder that a label space is written to: nobody's files are lost, and a kill does no harm."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prolab_d2.errors import ProLabError
from prolab_d2.files import atomic_path, check_writable, remove_leftovers, sha256_of
from prolab_d2.label_space.descriptions import read_descriptions
from prolab_d2.label_space.label_space import LabelSpace
from prolab_d2.label_space.storage import LOG_NAME, is_label_space, write_folder

__all__ = ["DESCRIPTIONS_NAME", "Output", "write_descriptions"]

DESCRIPTIONS_NAME = "descriptions.json"
_RECORD_NAME = "output.json"


class Output:
    """Where a label space goes.

    One that is there already stays, unless it is to be overwritten, or the same job has made it
    before: a job that is repeated after a kill, at whatever moment, comes to its end. What the job
    has written is recorded in its working folder.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        work: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        settings: Mapping[str, Any],
    ) -> None:
        """
        Args:
            work: folder of working files.
            settings: JSON data that tells this job from others.
        Raises:
            ProLabError: the folder holds another label space, or cannot be written to.
        """
        self.folder = Path(folder)
        self._overwrite = overwrite
        self._record = Path(work) / _RECORD_NAME
        self._settings = {"output": os.path.abspath(folder), **settings}
        if self.folder.exists() and not self.folder.is_dir():
            raise ProLabError(f"--output {self.folder} is a file: choose another folder")
        earlier = self._read_record()
        if is_label_space(self.folder) and not overwrite and not earlier:
            raise self._occupied()
        check_writable(self.folder if self.folder.is_dir() else self.folder.parent)
        remove_leftovers(self.folder)

    def write(self, space: LabelSpace) -> None:
        """Writes the label space, and the descriptions beside it.

        Raises:
            ProLabError: a label space or descriptions of other content are there, or the folder
                cannot be written.
        """
        files = space.files()
        digests = {
            name: hashlib.sha256(content).hexdigest()
            for name, content in files.items()
            if name != LOG_NAME
        }
        if is_label_space(self.folder) and not self._overwrite:
            self._check_own(digests)
        descriptions = {name: lines for name, lines in space.descriptions.items() if lines}
        if descriptions and self._lacks(descriptions):
            files[DESCRIPTIONS_NAME] = _to_json(descriptions)
        self._write_record(digests, complete=False)
        write_folder(self.folder, files)
        self._write_record(digests, complete=True)

    def _check_own(self, digests: Mapping[str, str]) -> None:
        """The label space that is there must be what an earlier run of this job has written."""
        earlier = self._read_record()
        if earlier.get("files") != digests:
            raise self._occupied()
        if earlier["complete"]:
            for name, digest in digests.items():
                path = self.folder / name
                if not path.is_file() or sha256_of(path) != digest:
                    raise self._occupied()

    def _lacks(self, descriptions: Mapping[str, tuple[str, ...]]) -> bool:
        """Whether the descriptions have to be written; a file that says the same stays as it is."""
        path = self.folder / DESCRIPTIONS_NAME
        if not path.exists():
            return True
        try:
            present = read_descriptions(path)
        except ProLabError:
            present = None
        if present == descriptions and list(present) == list(descriptions):
            return False
        if not self._overwrite:
            raise ProLabError(
                f"{path} holds other descriptions: choose another --output, or replace them with "
                "--overwrite"
            )
        return True

    def _occupied(self) -> ProLabError:
        return ProLabError(
            f"{self.folder} holds a label space already: choose another --output, or replace it "
            "with --overwrite"
        )

    def _read_record(self) -> dict[str, Any]:
        """What an earlier run of this job has noted; empty without one."""
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        mine = isinstance(record, dict) and record.get("settings") == self._settings
        return record if mine else {}

    def _write_record(self, digests: Mapping[str, str], *, complete: bool) -> None:
        record = {"settings": self._settings, "files": digests, "complete": complete}
        with atomic_path(self._record) as temporary:
            temporary.write_bytes(_to_json(record))


def write_descriptions(
    path: str | os.PathLike[str], descriptions: Mapping[str, tuple[str, ...]]
) -> None:
    """Writes what `read_descriptions` reads."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(_to_json(descriptions))


def _to_json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, ensure_ascii=False, indent=1) + "\n").encode()
