"""GGUF models and llama.cpp, which reads them."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prolab_d2.device import available_cores
from prolab_d2.errors import ProLabError, first_line

if TYPE_CHECKING:
    from llama_cpp import Llama

__all__ = ["llama_cpp_threads", "open_gguf"]

_MAGIC = b"GGUF"


def open_gguf(path: Path, what: str, *, gpu_layers: int | None = None, **options: Any) -> Llama:
    """Loads a model with llama.cpp.

    Args:
        what: kind of model, for messages.
        gpu_layers: how many layers go to the GPU, -1 for all; when left out, all of them where
            llama.cpp was built for a GPU.
        options: of `llama_cpp.Llama`.
    Raises:
        ProLabError: no such file, no model in it, or llama.cpp is not installed or has no GPU.
    """
    if not path.is_file():
        raise ProLabError(f"there is no {what} {path}: correct the path of the .gguf file")
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise ProLabError(f"cannot read {path} ({first_line(error)}): grant permission") from error
    if magic != _MAGIC:
        raise ProLabError(f"{path} is no GGUF file: give a {what} in that format of llama.cpp")
    if importlib.util.find_spec("llama_cpp") is None:
        raise ProLabError(
            f"the {what} {path} needs llama-cpp-python, which is not installed: run make llm in a "
            "checkout, or pip install 'prolab_d2[llm]'"
        )
    # Before the first import: threads that wait by spinning make a busy machine many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import llama_cpp

    if gpu_layers and not llama_cpp.llama_supports_gpu_offload():
        raise ProLabError(
            f"the {what} {path} cannot use a GPU, this llama-cpp-python was built for the CPU "
            "only: let it run there, or build llama-cpp-python for your GPU"
        )
    try:
        layers = -1 if gpu_layers is None else gpu_layers
        return llama_cpp.Llama(str(path), n_gpu_layers=layers, verbose=False, **options)
    except (ValueError, RuntimeError, OSError) as error:
        raise ProLabError(
            f"llama.cpp cannot load {path} ({first_line(error)}): copy the file again, or choose a "
            "model that this version of llama.cpp knows"
        ) from error


def llama_cpp_threads() -> int:
    """As many threads as this process may use, or OMP_NUM_THREADS of them."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else available_cores()
