"""Miniatures of official downloads: the names, modes and values of the real ones, tiny images."""

from __future__ import annotations

import dataclasses
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from tests.data.folders import photograph

Files = dict[str, bytes]


def jpeg(seed: int | np.ndarray, size: tuple[int, int] = (6, 8)) -> bytes:
    """An RGB JPEG of (H, W) noise, or of the given pixels."""
    pixels = seed if isinstance(seed, np.ndarray) else photograph(seed, size)
    return _encoded(Image.fromarray(pixels), "jpeg")


def png(pixels: np.ndarray, palette: list[int] | None = None) -> bytes:
    """A PNG of the array: mode L, RGB or I;16, or P with a palette of 768 values."""
    image = Image.fromarray(pixels)
    if palette is not None:
        image = image.convert("P") if image.mode != "L" else image
        image.putpalette(palette)
    return _encoded(image, "png")


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def ids(*values: int, size: tuple[int, int] = (6, 8), dtype: type = np.uint8) -> np.ndarray:
    """(H, W) mask that holds all the values, row by row, again and again."""
    return np.resize(np.array(values, dtype), size)


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def unpack(root: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def shrink(monkeypatch: pytest.MonkeyPatch, tool: ModuleType, count: int, name: str) -> None:
    """The splits of a tool have `count` entries, as its miniature has."""
    splits = {
        key: dataclasses.replace(split, counts=(count,))
        for key, split in getattr(tool, name).items()
    }
    monkeypatch.setattr(tool, name, splits)


def read(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode in ("L", "I;16"), "ids, not colours"
        return np.asarray(image)


def snapshot(root: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
