"""What language models and sentence encoders in GGUF files share: llama.cpp, and its errors."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from prolab_d2.errors import ProLabError, first_line

__all__ = ["check_gguf", "import_llama_cpp", "listen_for_errors"]

_MAGIC = b"GGUF"
# Of llama.cpp's log levels. The Python library takes them for others: it would show warnings and
# hide errors.
_LOG_ERROR = 4
_callback: Any = None
_errors: list[str] = []


def import_llama_cpp(what: str) -> ModuleType:
    """The module `llama_cpp`.

    Args:
        what: needs it, for the message.
    Raises:
        ProLabError: it is not installed.
    """
    # Spinning threads slow everything down 8 to 30 times on a machine that is busy. Read when the
    # first library with OpenMP is loaded; that may have been PyTorch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import llama_cpp
    except ImportError as error:
        raise ProLabError(
            f"{what} needs llama-cpp-python, which is not installed: run make llm in a checkout, "
            "or pip install 'prolab_d2[llm]'"
        ) from error
    global _callback
    if _callback is None:
        _callback = llama_cpp.llama_log_callback(_take_message)
        llama_cpp.llama_log_set(_callback, ctypes.c_void_p(0))
    return llama_cpp


def listen_for_errors() -> list[str]:
    """A list that fills with what llama.cpp writes about failures from now on, none of it shown."""
    global _errors
    _errors = []
    return _errors


def _take_message(level: int, text: bytes, _: Any) -> None:
    if level == _LOG_ERROR:
        # "llama_model_load: error loading model: unknown model architecture: 'x'"
        line = text.decode(errors="replace").strip()
        _errors.append(line.partition(": error loading model: ")[2] or line)


def check_gguf(path: Path) -> None:
    """Finds what llama.cpp itself only calls a failure.

    Raises:
        ProLabError: the file cannot be read, or is of another format.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
    except OSError as error:
        raise ProLabError(
            f"cannot read {path} ({first_line(error)}): correct the path, or its permissions"
        ) from error
    if start != _MAGIC:
        raise ProLabError(
            f"{path} is no GGUF file: give one that llama.cpp can load, or convert the model with "
            "llama.cpp's convert_hf_to_gguf.py"
        )
