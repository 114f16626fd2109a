"""Files of `torch.save` in both of its formats, honest and hostile ones."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prolab_d2 import ProLabError
from prolab_d2.label_space.safe_pickle import load_pth

# The format of a zip archive, and the one of PyTorch before 1.6.
FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])


def save(path: Path, content: Any, zipped: bool) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def rewrite(path: Path, old: bytes, new: bytes) -> None:
    """Replaces bytes of the pickle inside."""
    data = path.read_bytes()
    if not zipfile.is_zipfile(path):
        assert old in data
        path.write_bytes(data.replace(old, new))
        return
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            part = source.read(entry)
            if entry.filename.endswith("data.pkl"):
                assert old in part
                part = part.replace(old, new)
            target.writestr(entry, part)


class Runs:
    """Its pickle calls a function when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


@FORMATS
def test_arrays_come_back(tmp_path: Path, zipped: bool) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "columns": rng.normal(size=(5, 3)).astype(np.float32).T,
        "double": rng.normal(size=(2, 3, 4)),
        "half": rng.normal(size=3).astype(np.float16),
        "big end first": np.arange(3, dtype=">i4"),
        "flags": rng.random((3, 2)) < 0.5,
    }
    content = {**arrays, "text": {"a": ["b", 1, 2.5, None]}, "tensor": torch.eye(2)}
    back = load_pth(save(tmp_path / "a.pth", content, zipped))
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)
    assert back["text"] == content["text"]
    np.testing.assert_array_equal(back["tensor"], np.eye(2))


@FORMATS
def test_files_of_either_numpy(tmp_path: Path, zipped: bool) -> None:
    """NumPy 2 has renamed the module that its pickles name."""
    path = save(tmp_path / "a.pth", [np.arange(6.0).reshape(2, 3)], zipped)
    names = [b"numpy._core.multiarray\n", b"numpy.core.multiarray\n"]
    if np.__version__ < "2":
        names.reverse()
    rewrite(path, *names)
    np.testing.assert_array_equal(load_pth(path)[0], np.arange(6.0).reshape(2, 3))


@FORMATS
@pytest.mark.parametrize("place", ["beside the arrays", "inside an array", "as the whole file"])
def test_nothing_of_a_hostile_file_is_run(tmp_path: Path, place: str, zipped: bool) -> None:
    mark = tmp_path / "was run"
    hostile = Runs(os.mkdir, str(mark))
    arrays = [np.zeros((3, 2), np.float32), np.ones((2, 4))]
    content: Any = {
        "beside the arrays": {"descriptions": {"car": ["wheels"]}, "labels": arrays, "x": hostile},
        "inside an array": {"labels": [np.array([hostile, None], dtype=object)]},
        "as the whole file": hostile,
    }[place]
    path = save(tmp_path / "a.pth", content, zipped)
    with pytest.raises(ProLabError, match=r"nothing in it was run: download it again") as caught:
        load_pth(path)
    assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)
    assert not mark.exists()
    # The file is hostile indeed.
    torch.load(path, weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize(
    ("hostile", "named"),
    [
        (Runs(os.system, "true"), "posix.system"),
        (Runs(eval, "1"), "eval"),
        (Runs(np.load, "secrets.npy"), "numpy.*load"),
        (Runs(np.dtype, "O"), "arrays of 'O'"),
        (Runs(pickle.loads, b"N."), "loads"),
    ],
    ids=["system", "eval", "numpy", "objects", "pickle"],
)
def test_what_a_file_asks_for_is_named(tmp_path: Path, hostile: Runs, named: str) -> None:
    with pytest.raises(ProLabError, match=rf"tensors and arrays alone \(.*{named}.*\), nothing"):
        load_pth(save(tmp_path / "a.pth", [hostile], True))


def test_other_encodings_of_bytes(tmp_path: Path) -> None:
    """`_codecs.encode` is allowed for bytes only: other codecs decompress, or import modules."""
    path = save(tmp_path / "a.pth", [np.arange(2)], False)
    rewrite(path, b"latin1", b"zlib_1")
    with pytest.raises(ProLabError, match="nothing in it was run"):
        load_pth(path)


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.pth", [np.zeros(1000)], True).read_bytes()
    cases = {"half": whole[: len(whole) // 2], "text": b"no pickle", "empty": b""}
    cases["old half"] = save(tmp_path / "b.pth", [np.zeros(99)], False).read_bytes()[:300]
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ProLabError, match=rf"{name} is not a file of tensors .*download it"):
            load_pth(tmp_path / name)
    with pytest.raises(ProLabError, match="cannot read .*missing.pth .*: correct the path"):
        load_pth(tmp_path / "missing.pth")


def test_a_list_that_holds_itself(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ProLabError, match="is not a file of tensors and arrays alone"):
        load_pth(save(tmp_path / "a.pth", endless, True))
