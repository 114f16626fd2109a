"""The text-embedding classifier: one sentence embedding per category, and no properties.

A baseline for the method. A pixel embedding is compared with the mean embedding of every category's
sentences, which the label space holds, by cosine similarity; softmax cross-entropy teaches it. The
embeddings are no parameters: those of another label space of the same encoder take their place
at test time, also for categories that were never trained.

Shapes: B batch, D embedding, N categories, h x w feature size.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prolab_d2.errors import ProLabError

__all__ = ["TextSpace"]


class TextSpace(nn.Module):
    """Turns pixel embeddings into category logits, cosine similarity / temperature."""

    def __init__(self, embeddings: np.ndarray | Tensor, temperature: float = 0.07) -> None:
        """
        Args:
            embeddings: (N, D), such as `LabelSpace.category_embeddings`; the rows are divided by
                their length here.
            temperature: above 0.
        Raises:
            ProLabError: no matrix, or another temperature.
        """
        super().__init__()
        embeddings = torch.as_tensor(np.array(embeddings), dtype=torch.float32)
        if embeddings.ndim != 2:
            raise ProLabError(
                f"text embeddings of shape {tuple(embeddings.shape)}: give (N, D), one per category"
            )
        if not temperature > 0:
            raise ProLabError(
                f"MODEL.PROLAB.TEXT_TEMPERATURE is {temperature}: give a number above 0"
            )
        self.temperature = float(temperature)
        # A constant that comes with the label space, so no checkpoint needs to hold it as weights.
        self.register_buffer("embeddings", F.normalize(embeddings, dim=1), persistent=False)

    def extra_repr(self) -> str:
        number, width = self.embeddings.shape
        return f"categories={number}, embedding_dim={width}, temperature={self.temperature}"

    def logits(self, embedding: Tensor) -> Tensor:
        """(B, D, h, w) pixel embeddings -> (B, N, h, w) float32, in [-1, 1] / temperature."""
        with torch.autocast(embedding.device.type, enabled=False):
            unit = F.normalize(embedding.float(), dim=1)
            similarity = F.linear(unit.permute(0, 2, 3, 1), self.embeddings)
            return similarity.permute(0, 3, 1, 2) / self.temperature
