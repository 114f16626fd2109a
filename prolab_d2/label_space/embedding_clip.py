"""The text encoder of a CLIP, a row of the paper's ablation.

Shapes: M descriptions, D embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prolab_d2.device import check_device
from prolab_d2.errors import ProLabError
from prolab_d2.label_space.embedding import hash_weights, load_pretrained, too_long

if TYPE_CHECKING:
    from transformers import CLIPTextModelWithProjection, PreTrainedTokenizerBase

__all__ = ["ClipTextEncoder"]


class ClipTextEncoder:
    """Text embeddings as CLIP compares them with images: of the last token, projected."""

    def __init__(
        self,
        model: str,
        *,
        pooling: str = "default",
        lower_case: bool = True,
        batch_size: int = 64,
        device: str | None = None,
    ) -> None:
        """
        Args:
            model: folder or hub name of a CLIP, such as openai/clip-vit-base-patch32.
            pooling: "default"; CLIP has no other.
            device: "cpu", "cuda", ...; a GPU where there is one when left out.
        Raises:
            ProLabError: the model cannot be found or loaded, or another pooling is asked for.
        """
        if pooling != "default":
            raise ProLabError(
                f"the text encoder of a CLIP has no pooling {pooling!r}: use the pooling 'default'"
            )
        (self._model, self._tokenizer), recorded = load_pretrained(
            model, "CLIP text encoder", "transformers", _load
        )
        import torch

        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        check_device(device)
        self._model.to(device)
        self._lower_case = lower_case
        self._batch_size = batch_size
        self.provenance: dict[str, Any] = {
            "encoder": f"clip:{recorded}",
            "encoder_sha256": hash_weights(self._model),
            "pooling": pooling,
            "lower_case": lower_case,
        }

    def encode(self, sentences: Sequence[str]) -> np.ndarray:
        """(M, D) float32 with rows of unit length.

        Raises:
            ProLabError: a sentence is too long for the model.
        """
        import torch

        lines = [line.lower() for line in sentences] if self._lower_case else list(sentences)
        limit = self._model.config.max_position_embeddings
        for line, tokens in zip(lines, self._tokenizer(lines)["input_ids"], strict=True):
            if len(tokens) > limit:
                raise too_long(line, len(tokens), limit)
        parts = []
        for start in range(0, len(lines), self._batch_size):
            batch = self._tokenizer(
                lines[start : start + self._batch_size], padding=True, return_tensors="pt"
            )
            with torch.inference_mode():
                rows = self._model(**batch.to(self._model.device)).text_embeds.float()
            parts.append(torch.nn.functional.normalize(rows).cpu().numpy())
        return np.concatenate(parts)


def _load(
    source: str, offline: bool
) -> tuple[CLIPTextModelWithProjection, PreTrainedTokenizerBase]:
    from transformers import AutoTokenizer, CLIPTextModelWithProjection
    from transformers.utils import logging

    # It would list the weights of the image encoder, which nobody wants here.
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        model, report = CLIPTextModelWithProjection.from_pretrained(
            source, local_files_only=offline, output_loading_info=True
        )
    finally:
        logging.set_verbosity(before)
    if report["missing_keys"]:
        # The library would go on with random numbers in their place.
        raise ValueError(f"it has no weights {', '.join(sorted(report['missing_keys'])[:2])}")
    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=offline)
    return model.eval(), tokenizer
