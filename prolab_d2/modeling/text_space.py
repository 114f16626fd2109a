"""Baselines with one text embedding per category, and no properties.

`TextSpace`, the text-embedding classifier: a pixel embedding is compared with the mean embedding of
every category's sentences, which the label space holds, by cosine similarity; softmax cross-entropy
teaches it. The embeddings are no parameters: those of another label space of the same encoder take
their place at test time, also for categories that were never trained. `ConvexCombination` gives a
network of one-hot labels such categories, too.

Shapes: B batch, D embedding, N categories, T trained ones, h x w feature size.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prolab_d2.errors import ProLabError

__all__ = ["ConvexCombination", "TextSpace"]


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


class ConvexCombination(nn.Module):
    """Any categories from the probabilities of trained ones (ConSE, Norouzi et al., ICLR 2014).

    A pixel gets the mean of the trained categories' text embeddings, weighted by its
    probabilities, and that is compared with the embedding of every category by cosine.
    """

    def __init__(self, trained: np.ndarray, asked: np.ndarray) -> None:
        """
        Args:
            trained: (T, D) embeddings of the categories of the logits, of length 1.
            asked: (N, D) of those that are answered, of the same encoder.
        Raises:
            ProLabError: they have different widths.
        """
        super().__init__()
        if trained.shape[1] != asked.shape[1]:
            raise ProLabError(
                f"the categories have embeddings of {asked.shape[1]} numbers and the trained ones "
                f"of {trained.shape[1]}: build their label space with the encoder of the training"
            )
        for name, embeddings in (("trained", trained), ("asked", asked)):
            rows = F.normalize(torch.tensor(embeddings, dtype=torch.float32), dim=1)
            self.register_buffer(name, rows, persistent=False)

    def logits(self, category_logits: Tensor) -> Tensor:
        """(B, T, h, w) logits of the trained categories -> (B, N, h, w) cosine similarities."""
        with torch.autocast(category_logits.device.type, enabled=False):
            probabilities = category_logits.float().softmax(dim=1).permute(0, 2, 3, 1)
            mixed = F.normalize(F.linear(probabilities, self.trained.T), dim=-1)
            return F.linear(mixed, self.asked).permute(0, 3, 1, 2)
