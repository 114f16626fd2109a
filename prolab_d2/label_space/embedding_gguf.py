"""Sentence encoders of the BERT kind as GGUF files, through llama.cpp.

Shapes: M descriptions, D embedding.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prolab_d2.device import available_cores
from prolab_d2.errors import ProLabError, first_line
from prolab_d2.files import sha256_of
from prolab_d2.label_space.embedding import check_pooling, too_long
from prolab_d2.label_space.gguf import check_gguf, import_llama_cpp, listen_for_errors

if TYPE_CHECKING:
    from llama_cpp import Llama

__all__ = ["GgufEncoder"]

# Tokens of a batch, and of the longest sentence. Descriptions have some twenty; more would only
# make attention, which sees the whole batch, slower.
_MAX_TOKENS = 512

# enum llama_pooling_type: what is asked for, and what is found and gives one embedding for a
# sentence. The last token (3) only a file can ask for.
_POOLING_NUMBER = {"default": -1, "mean": 1, "cls": 2}
_POOLING_NAME = {1: "mean", 2: "cls", 3: "default"}


class GgufEncoder:
    """A GGUF encoder. Needs llama-cpp-python, but neither PyTorch nor sentence-transformers."""

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        pooling: str = "mean",
        lower_case: bool = True,
        batch_size: int = 64,
        device: str | None = None,
    ) -> None:
        """
        Args:
            model: the .gguf file.
            pooling: one of `embedding.POOLINGS`; "default" is what the file says.
            device: "cpu", or another name for the GPU; the GPU, where llama.cpp was built for one,
                when left out.
        Raises:
            ProLabError: the model cannot be loaded, or states no pooling when asked for its own.
        """
        check_pooling(pooling)
        path = Path(model).expanduser()
        check_gguf(path)
        self._model = _load(
            path,
            device,
            embedding=True,
            pooling_type=_POOLING_NUMBER[pooling],
            n_ctx=_MAX_TOKENS,
            n_batch=_MAX_TOKENS,
            n_ubatch=_MAX_TOKENS,
        )
        used = _POOLING_NAME.get(self._model.pooling_type())
        if used is None:
            raise ProLabError(
                f"{path} states no pooling that gives one embedding per sentence: choose the "
                "pooling 'mean' or 'cls'"
            )
        metadata = self._model.metadata
        trained = metadata.get(f"{metadata.get('general.architecture')}.context_length")
        self._limit = min(_MAX_TOKENS, int(trained or _MAX_TOKENS))
        self._lower_case = lower_case
        self._batch_size = batch_size
        self.provenance: dict[str, Any] = {
            "encoder": path.name,
            "encoder_sha256": sha256_of(path),
            "pooling": used,
            "lower_case": lower_case,
        }

    def encode(self, sentences: Sequence[str]) -> np.ndarray:
        """(M, D) float32 with rows of unit length.

        Raises:
            ProLabError: a sentence is too long for the model, which would cut it silently.
        """
        lines = [line.lower() for line in sentences] if self._lower_case else list(sentences)
        for line in lines:
            tokens = len(self._model.tokenize(line.encode()))
            if tokens > self._limit:
                raise too_long(line, tokens, self._limit)
        rows: list[list[float]] = []
        for start in range(0, len(lines), self._batch_size):
            rows += self._model.embed(lines[start : start + self._batch_size])
        result = np.asarray(rows, dtype=np.float32)
        return result / np.linalg.norm(result, axis=1, keepdims=True)


def _load(path: Path, device: str | None, **options: Any) -> Llama:
    llama_cpp = import_llama_cpp(f"the sentence encoder {path}")
    if device not in (None, "cpu") and not llama_cpp.llama_supports_gpu_offload():
        raise ProLabError(
            f"device {device!r} cannot be used, this llama-cpp-python was built for the CPU only: "
            "try cpu, or build it for your GPU"
        )
    asked = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(asked) if asked.isdigit() and int(asked) else available_cores()
    errors = listen_for_errors()
    try:
        return llama_cpp.Llama(
            str(path),
            n_gpu_layers=0 if device == "cpu" else -1,
            n_threads=threads,
            n_threads_batch=threads,
            verbose=False,
            **options,
        )
    except (ValueError, RuntimeError, OSError) as error:
        reason = next(iter(errors), first_line(error))
        raise ProLabError(
            f"llama.cpp cannot load {path} ({reason}): copy the file again, or choose a "
            "model that this version of llama.cpp knows"
        ) from error
