"""Downloads as they are: zip and tar files that nobody has to unpack, or folders of them.

Files are called by their path within a `Part`, with "/". Reading is safe from several threads.
"""

from __future__ import annotations

import lzma
import tarfile
import threading
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prolab_d2.data.datasets.prepared import names_below
from prolab_d2.errors import ProLabError, first_line

__all__ = ["Download", "MissingDownload", "Part", "Sources", "Tree"]

_DAMAGED = (
    OSError,
    EOFError,
    RuntimeError,  # an encrypted member
    NotImplementedError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
)


class MissingDownload(ProLabError):
    """A download is in none of the folders that are searched."""


@dataclass(frozen=True)
class Download:
    """A file to download by hand, because its licence has to be accepted or it is large.

    Attributes:
        file: its name; where the page calls it otherwise it has to be renamed.
        page: where it is offered.
        what: what is in it, with its approximate size.
    """

    file: str
    page: str
    what: str


@dataclass(frozen=True)
class Part:
    """A folder of a download, such as the masks of a split.

    Attributes:
        download: the archive, or a single file.
        inside: the folder within the archive, ending in "/"; empty for all of it.
        folders: where it lies once unpacked, relative to a folder that is searched.
    """

    download: Download
    inside: str
    folders: tuple[str, ...]


class Tree(ABC):
    """The files of a part."""

    def __init__(self, place: str) -> None:
        self.place = place

    @abstractmethod
    def names(self, suffix: str) -> list[str]:
        """The files that end in `suffix`, sorted, without it."""

    @abstractmethod
    def _read(self, name: str) -> bytes:
        """Content of a file; KeyError or FileNotFoundError if there is none."""

    def read(self, name: str) -> bytes:
        """
        Raises:
            ProLabError: there is no such file, or the archive is damaged.
        """
        try:
            return self._read(name)
        except (KeyError, FileNotFoundError):
            raise ProLabError(
                f"{name} is missing in {self.place}: download that again, or correct the folder"
            ) from None
        except _DAMAGED as error:
            raise ProLabError(
                f"{name} in {self.place} cannot be read ({first_line(error)}): download that again"
            ) from error


class _Folder(Tree):
    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self._root = root

    def names(self, suffix: str) -> list[str]:
        return sorted(names_below(self._root, suffix))

    def _read(self, name: str) -> bytes:
        return (self._root / name).read_bytes()


class _Archive:
    """An opened archive: the names of all members, and how to read one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        opened: tuple[list[str], Callable[[str], bytes]]
        try:
            if zipfile.is_zipfile(path):
                opened = _open_zip(path)
            elif tarfile.is_tarfile(path):
                opened = _open_tar(path)
            else:
                raise tarfile.ReadError("neither zip nor tar")
        except _DAMAGED as error:
            raise ProLabError(
                f"archive {path} cannot be read ({first_line(error)}): download it again"
            ) from error
        self.names, self.read = opened


def _open_zip(path: Path) -> tuple[list[str], Callable[[str], bytes]]:
    # Members are read under a lock of its own and inflated outside of it. Given a file, it does not
    # count its readers, which threads could disturb, to close the file after the last.
    archive = zipfile.ZipFile(open(path, "rb"))  # noqa: SIM115
    return [info.filename for info in archive.infolist() if not info.is_dir()], archive.read


def _open_tar(path: Path) -> tuple[list[str], Callable[[str], bytes]]:
    """A plain tar is read at random; of a compressed one, which allows no jumps, all is kept."""
    try:
        with tarfile.open(path, "r:") as archive:
            places = {_plain(m.name): (m.offset_data, m.size) for m in archive if m.isfile()}
    except tarfile.ReadError:
        contents: dict[str, bytes] = {}
        with tarfile.open(path, "r:*") as compressed:
            for member in compressed:
                if member.isfile():
                    contents[_plain(member.name)] = compressed.extractfile(member).read()
        return list(contents), contents.__getitem__
    file, lock = open(path, "rb"), threading.Lock()  # noqa: SIM115

    def read(name: str) -> bytes:
        offset, size = places[name]
        with lock:
            file.seek(offset)
            content = file.read(size)
        if len(content) < size:
            raise EOFError("the archive ends early")
        return content

    return list(places), read


def _plain(name: str) -> str:
    return name.removeprefix("./")


class _ArchiveTree(Tree):
    def __init__(self, archive: _Archive, inside: str) -> None:
        super().__init__(f"{archive.path}/{inside}".rstrip("/"))
        self._archive = archive
        self._inside = inside

    def names(self, suffix: str) -> list[str]:
        start = len(self._inside)
        return sorted(
            name[start:].removesuffix(suffix)
            for name in self._archive.names
            if name.startswith(self._inside)
            and name.endswith(suffix)
            and not name.rpartition("/")[2].startswith(".")
        )

    def _read(self, name: str) -> bytes:
        return self._archive.read(self._inside + name)


class Sources:
    """Finds downloads in some folders, archives before folders that were unpacked from them."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(dict.fromkeys(folders))
        self._archives: dict[Path, _Archive] = {}

    def find(self, part: Part) -> Tree | None:
        """The files of a part; None if neither its archive nor a folder of it is there.

        Raises:
            ProLabError: the archive cannot be read.
        """
        path = self.find_file(part.download.file)
        if path is not None:
            if path not in self._archives:
                self._archives[path] = _Archive(path)
            return _ArchiveTree(self._archives[path], part.inside)
        for folder in self.folders:
            for place in part.folders:
                if (folder / place).is_dir():
                    return _Folder(folder / place)
        return None

    def find_file(self, name: str) -> Path | None:
        """A downloaded file."""
        for folder in self.folders:
            if (folder / name).is_file():
                return folder / name
        return None

    def require(self, part: Part, other: str = "") -> Tree:
        """
        Args:
            other: what would do instead, for the sentence.
        Raises:
            MissingDownload: the part is not there.
            ProLabError: as `find`.
        """
        tree = self.find(part)
        if tree is None:
            raise MissingDownload(
                f"neither {part.download.file} nor the folder {part.folders[0]} of it is in "
                f"{' or '.join(map(str, self.folders))}: download it from {part.download.page}"
                f"{other}, or name its folder with --source"
            )
        return tree
