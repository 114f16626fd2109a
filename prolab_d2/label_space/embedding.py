"""From sentences to embeddings: what an encoder is, which there are, and sentence-transformers.

Shapes: M descriptions, D embedding.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from prolab_d2.device import check_device
from prolab_d2.errors import ProLabError, first_line
from prolab_d2.hub import require_hub
from prolab_d2.packages import PACKAGE, package_folder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn

__all__ = [
    "ENCODERS",
    "POOLINGS",
    "Encoder",
    "SentenceEncoder",
    "check_pooling",
    "hash_weights",
    "load_encoder",
    "load_pretrained",
    "too_long",
]

# "mean": average of all tokens, the published recipe. "cls": the first token, BGE's own way.
# "default": what the model asks for.
POOLINGS = ("mean", "cls", "default")

# The forms of `load_encoder`'s first argument, for help texts.
ENCODERS = (
    "folder of a sentence-transformers model, name on the Hugging Face hub "
    "(BAAI/bge-base-en-v1.5), package:NAME for one inside a Python package, FILE.gguf of a BERT "
    "for llama.cpp, or clip:NAME for the text encoder of a CLIP"
)

_CLIP = "clip:"

Model = TypeVar("Model")


class Encoder(Protocol):
    """Anything that embeds sentences.

    Attributes:
        provenance: what decides the embeddings: "encoder", "encoder_sha256", and "pooling" and
            "lower_case" as `load_encoder` takes them.
    """

    provenance: dict[str, Any]

    def encode(self, sentences: Sequence[str]) -> np.ndarray:
        """(M, D) float32 with rows of unit length."""


def load_encoder(
    spec: str | os.PathLike[str],
    *,
    pooling: str = "mean",
    lower_case: bool = True,
    batch_size: int = 64,
    device: str | None = None,
) -> Encoder:
    """The encoder of a name, with the library that it needs.

    Args:
        spec: DIR, NAME on the hub or package:NAME for sentence-transformers, FILE.gguf for
            llama.cpp, clip:DIR or clip:NAME for the text encoder of a CLIP.
        pooling: one of `POOLINGS`.
        lower_case: as in the published recipe.
        batch_size: sentences at a time.
        device: "cpu", "cuda", ...; the fastest there is when left out.
    Raises:
        ProLabError: the model cannot be found or loaded.
    """
    name = os.fspath(spec)
    options = {
        "pooling": pooling,
        "lower_case": lower_case,
        "batch_size": batch_size,
        "device": device,
    }
    if name.lower().endswith(".gguf"):
        from prolab_d2.label_space.embedding_gguf import GgufEncoder

        return GgufEncoder(name, **options)
    if name.startswith(_CLIP):
        from prolab_d2.label_space.embedding_clip import ClipTextEncoder

        return ClipTextEncoder(name.removeprefix(_CLIP), **options)
    return SentenceEncoder(name, **options)


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
        check_pooling(pooling)
        self._lower_case = lower_case
        self._batch_size = batch_size

        def load(source: str, offline: bool) -> SentenceTransformer:
            from sentence_transformers import SentenceTransformer

            if device is not None:
                check_device(device)
            return SentenceTransformer(source, device=device, local_files_only=offline)

        name = os.fspath(model)
        loaded, recorded = load_pretrained(name, "sentence encoder", "sentence_transformers", load)
        self._model, pooling = _with_pooling(loaded, pooling)
        self.provenance: dict[str, Any] = {
            "encoder": recorded,
            "encoder_sha256": hash_weights(self._model),
            "pooling": pooling,
            "lower_case": lower_case,
        }

    def encode(self, sentences: Sequence[str]) -> np.ndarray:
        """(M, D) float32 with rows of unit length.

        Raises:
            ProLabError: a sentence is too long for the model, which would cut it silently.
        """
        lines = [line.lower() for line in sentences] if self._lower_case else list(sentences)
        self._check_lengths(lines)
        result = self._model.encode(
            lines,
            batch_size=self._batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return np.asarray(result, dtype=np.float32)

    def _check_lengths(self, lines: Sequence[str]) -> None:
        limit = self._model.max_seq_length
        for line in lines:
            # A token has at least one byte; only what could be too long is tokenised twice.
            if limit and len(line.encode()) + 8 > limit:
                tokens = len(self._model.tokenizer(line, verbose=False)["input_ids"])
                if tokens > limit:
                    raise too_long(line, tokens, limit)


def check_pooling(pooling: str) -> None:
    """
    Raises:
        ProLabError: none of `POOLINGS`.
    """
    if pooling not in POOLINGS:
        raise ProLabError(
            f"unknown pooling {pooling!r}: choose one of {', '.join(map(repr, POOLINGS))}"
        )


def too_long(line: str, tokens: int, limit: int) -> ProLabError:
    """The error of a sentence with more tokens than the encoder reads."""
    return ProLabError(
        f"a description has {tokens} tokens, and the sentence encoder reads {limit} "
        f"({line[:80]!r}...): shorten it, or choose an encoder that reads more"
    )


def load_pretrained(
    name: str, what: str, library: str, load: Callable[[str, bool], Model]
) -> tuple[Model, str]:
    """A model from a folder, a Python package, the local cache of the hub or the hub itself.

    Args:
        name: a folder, "package:NAME", or a name on the Hugging Face hub.
        what: kind of model, for messages.
        library: that `load` imports.
        load: function of the folder or name, and whether the network must not be used.
    Returns:
        The model, and the name for the provenance: of a folder only the last part, because where
        it lies means nothing elsewhere.
    Raises:
        ProLabError: the model cannot be found or loaded. Where the hub cannot be reached, within
            seconds.
    """
    source, local = _locate(name, what)
    if importlib.util.find_spec(library) is None:
        raise ProLabError(
            f"a {what} needs {library.replace('_', '-')}, which is not installed: "
            "run pip install 'prolab_d2[label-space]'"
        )
    recorded = Path(source).resolve().name if local and not name.startswith(PACKAGE) else name
    if local or _is_cached(source):
        try:
            with _no_progress_bar():
                return load(source, True), recorded
        except ProLabError:
            raise
        except Exception as error:  # of whichever library finds the damage
            if local:
                raise ProLabError(
                    f"cannot load the {what} in {source} ({first_line(error)}): "
                    "copy the whole folder of the model again"
                ) from error
    require_hub(
        f"the {what} {source!r}",
        "connect once so that it is downloaded, or copy the model's folder here and give its path "
        "as the encoder",
    )
    try:
        return load(source, False), recorded
    except ProLabError:
        raise
    except Exception as error:
        raise ProLabError(
            f"cannot load the {what} {source!r} from the Hugging Face hub "
            f"({first_line(error)}): check the name, or give a local folder"
        ) from error


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Without the bar of transformers, which is over before it can be read."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _locate(name: str, what: str) -> tuple[str, bool]:
    """(folder or hub name, whether it is a folder), checked before any library sees it."""
    if name.startswith(PACKAGE):
        return _folder_in_package(name, what), True
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
            raise ProLabError(
                f"{folder} holds no {what} (config.json is missing): give the folder of a model "
                "as the hub has it"
            )
        return str(folder), True
    looks_like_path = name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1
    if looks_like_path or folder.exists() or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise ProLabError(
            f"there is no folder {name!r} with a {what}: correct the path, or give a "
            "name from the Hugging Face hub such as BAAI/bge-base-en-v1.5"
        )
    return name, False


def _folder_in_package(source: str, what: str) -> str:
    folder = package_folder(source, what)
    for mark in ("modules.json", "config.json"):
        found = sorted(folder.rglob(mark))
        if found:
            return str(found[0].parent)
    raise ProLabError(f"{source!r} holds no {what}: choose another package")


def _is_cached(name: str) -> bool:
    """Whether the model of this hub name has been downloaded before."""
    from huggingface_hub import try_to_load_from_cache

    # sentence-transformers finds its own models without their owner.
    names = (name,) if "/" in name else (name, f"sentence-transformers/{name}")
    return any(isinstance(try_to_load_from_cache(n, "config.json"), str) for n in names)


def _with_pooling(model: SentenceTransformer, pooling: str) -> tuple[SentenceTransformer, str]:
    """The same model with its pooling layer exchanged, and the pooling that it has then."""
    layers = list(model)
    # Not by the class itself, which moves between releases.
    places = [i for i, layer in enumerate(layers) if type(layer).__name__ == "Pooling"]
    if pooling == "default":
        mode = _mode(layers[places[0]]) if len(places) == 1 else pooling
        return model, mode if mode in POOLINGS else pooling
    if not places:
        raise ProLabError(
            f"this sentence encoder has no pooling to set to {pooling!r}: use the pooling 'default'"
        )
    from sentence_transformers import SentenceTransformer

    for i in places:
        # Older releases know the width as word_embedding_dimension.
        config = layers[i].get_config_dict()
        width = config.get("embedding_dimension") or config["word_embedding_dimension"]
        layers[i] = type(layers[i])(width, pooling_mode=pooling)
    return SentenceTransformer(modules=layers, device=str(model.device)), pooling


def _mode(layer: Any) -> Any:
    """What a pooling layer does, such as "mean"."""
    # Older releases have a method for it.
    return getattr(layer, "pooling_mode", None) or layer.get_pooling_mode_str()


def hash_weights(model: nn.Module) -> str:
    """SHA-256 of all weights, so that a rebuilt label space can be compared.

    Without their names and buffers, which differ between versions of the libraries.
    """
    tensors = [parameter.detach().cpu().float().numpy() for parameter in model.parameters()]
    digests = sorted(hashlib.sha256(tensor.tobytes()).digest() for tensor in tensors)
    return hashlib.sha256(b"".join(digests)).hexdigest()
