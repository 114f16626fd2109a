"""Files of `torch.save` with NumPy arrays in them, read without running any of their code.

`torch.load(weights_only=True)` refuses NumPy arrays. Here it is told what to make of the names that
their pickles use: not NumPy's own functions, but a few lines that accept numbers only.
"""

from __future__ import annotations

import pickle
import re
from os import PathLike
from typing import Any

import numpy as np

from prolab_d2.errors import ProLabError, first_line

__all__ = ["load_pth"]


def load_pth(path: str | PathLike[str]) -> Any:
    """The content of a file: dicts, lists, texts, numbers and arrays. Tensors become arrays.

    Raises:
        ProLabError: the file is missing or damaged, or asks for anything but tensors and arrays.
    """
    import torch

    if torch.__version__ < (2, 6):
        raise ProLabError(f"reading {path} safely needs PyTorch 2.6 or newer: update PyTorch")
    try:
        open(path, "rb").close()
    except OSError as error:
        raise ProLabError(f"cannot read {path} ({first_line(error)}): correct the path") from error
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            return _plain(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # whatever a damaged or hostile file leads to
        raise ProLabError(
            f"{path} is not a file of tensors and arrays alone ({_reason(error)}), nothing in it "
            "was run: download it again from where it was published"
        ) from error


def _reason(error: Exception) -> str:
    """PyTorch's own message is long, and says how to run the code all the same."""
    wanted = re.search(r"GLOBAL (\S+)", str(error))
    if wanted:
        return f"it asks for {wanted[1]}"
    detail = re.search(r"WeightsUnpickler error:\s*(.+)", str(error))
    return detail[1].strip().rstrip(".") if detail else type(error).__name__


def _plain(value: Any) -> Any:
    """The same with arrays in place of what stands for them."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, _Array):
        return value.content
    if hasattr(value, "detach"):
        return value.detach().float().numpy()
    return value


class _DType:
    """Stands for `numpy.dtype`."""

    def __init__(self, text: str, align: bool = False, copy: bool = False) -> None:
        if not re.fullmatch(r"b1|[iu][1248]|f[248]", text):
            raise pickle.UnpicklingError(f"arrays of {text!r}")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder({"<": "<", ">": ">", "|": "|"}[state[1]])


class _Array:
    """Stands for `numpy.ndarray`."""

    content = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, by_columns, data = state
        if not isinstance(kind, _DType) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("an array of something else than numbers")
        order = "F" if by_columns else "C"
        self.content = np.frombuffer(data, kind.dtype).reshape(shape, order=order)


def _reconstruct(kind: type, shape: tuple[int, ...], code: bytes) -> _Array:
    """Stands for NumPy's function that makes an empty array, for `__setstate__` to fill."""
    return _Array()


def _encode(text: str, encoding: str) -> bytes:
    """Stands for `_codecs.encode`: text is how pickles of protocol 2 keep bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text in {encoding!r}")
    return text.encode(encoding)


_STAND_INS = [
    (_reconstruct, "numpy.core.multiarray._reconstruct"),  # NumPy 1
    (_reconstruct, "numpy._core.multiarray._reconstruct"),  # NumPy 2
    (_Array, "numpy.ndarray"),
    (_DType, "numpy.dtype"),
    (_encode, "_codecs.encode"),
]
