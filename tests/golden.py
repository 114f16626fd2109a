"""Golden arrays of the published implementation: where they lie, how they are read and counted.

The folder comes from the environment variable PROLAB_GOLDEN, else `../shared/reference` beside the
checkout, else the small copy in `tests/golden`. Tests find their cases by glob and fail when a
glob is empty or when a case leaves arrays unread.
"""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import safe_open

REPOSITORY = Path(__file__).resolve().parent.parent


def golden_folder() -> Path:
    if os.environ.get("PROLAB_GOLDEN"):
        return Path(os.environ["PROLAB_GOLDEN"])
    shared = REPOSITORY.parent / "shared" / "reference"
    return shared if shared.is_dir() else REPOSITORY / "tests" / "golden"


def golden_files(pattern: str) -> list[Path]:
    """Files of the golden folder that match; an empty answer is an error, never a silent pass."""
    files = sorted(golden_folder().glob(pattern))
    assert files, f"no golden file matches {pattern!r} in {golden_folder()}"
    return files


def golden_json(name: str) -> Any:
    return json.loads(golden_files(name)[0].read_text())


class GoldenArrays(Mapping[str, np.ndarray]):
    """Arrays of one .npz or .safetensors file; remembers which of them were read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.meta: dict[str, Any] = {}
        if path.suffix == ".npz":
            with np.load(path) as archive:
                self._arrays = {name: archive[name] for name in archive.files}
        else:
            self._arrays = safetensors.numpy.load_file(path)
            with safe_open(path, framework="np") as file:
                self.meta = json.loads((file.metadata() or {}).get("meta", "{}"))
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> np.ndarray:
        self.read.add(name)
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        """All arrays whose name starts with `prefix`, without it (and marks them as read)."""
        return {n[len(prefix) :]: self[n] for n in self._arrays if n.startswith(prefix)}

    def assert_all_read(self, ignore: tuple[str, ...] = ()) -> None:
        """Fails when arrays went unread, except those that match a pattern of `ignore`."""
        unread = {
            n for n in self._arrays.keys() - self.read
            if not any(fnmatch.fnmatch(n, p) for p in ignore)
        }  # fmt: skip
        assert not unread, f"{self.path.name}: arrays never compared: {sorted(unread)}"


def assert_close(
    actual: Any, expected: Any, *, rtol: float, noise: float = 0.0, what: str = ""
) -> None:
    """|actual - expected| <= max(rtol x largest |expected|, 10 x noise stored with the case)."""
    actual = np.asarray(actual, dtype=np.float64)
    expected = np.asarray(expected, dtype=np.float64)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape} != {expected.shape}"
    assert np.isfinite(actual).all(), f"{what}: not finite"
    error = float(np.abs(actual - expected).max(initial=0.0))
    bound = max(rtol * float(np.abs(expected).max(initial=0.0)), 10 * noise)
    assert error <= bound, f"{what}: largest error {error:.3g} > {bound:.3g}"
