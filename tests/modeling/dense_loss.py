"""The property loss written out step by step, the way the published code computes it.

It is what the fused kernel is compared with: dense maps, autograd, no tricks.

Shapes: B batch, D embedding, K properties, N categories, h x w feature size, H x W image size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dense_activations(
    embedding: Tensor, bank: Tensor, similarity: str, temperature: float, normalize: bool
) -> Tensor:
    """(B, D, H, W) and a bank (K, D) of unit vectors -> (B, K, H, W)."""
    if normalize:
        embedding = F.normalize(embedding, dim=1, eps=1e-12)
    logits = torch.einsum("kd,bdhw->bkhw", bank, embedding)
    return torch.sigmoid(logits / temperature) if similarity == "cosine_sigmoid" else logits


def dense_loss(
    embedding: Tensor,
    labels: Tensor,
    bank: Tensor,
    signatures: Tensor,
    *,
    similarity: str = "cosine_sigmoid",
    temperature: float = 0.04,
    normalize: bool = False,
    kind: str = "cosine",
    unlabelled: str = "ignore",
    ignore_label: int = 255,
) -> Tensor:
    """Scalar for embedding (B, D, h, w), labels (B, H, W), unit bank (K, D), signatures (N, K)."""
    resized = F.interpolate(embedding, labels.shape[1:], mode="bilinear", align_corners=False)
    activations = dense_activations(resized, bank, similarity, temperature, normalize)
    valid = labels != ignore_label
    table = F.pad(signatures.to(embedding.dtype), (0, 0, 0, 1))  # a row of zeros: unlabelled
    target = table[labels.masked_fill(~valid, len(signatures))].permute(0, 3, 1, 2)
    if kind == "cosine":
        losses = 1 - F.cosine_similarity(activations, target, dim=1, eps=1e-8)
    elif kind == "bce":
        losses = F.binary_cross_entropy(activations, target, reduction="none").mean(1)
    else:
        losses = (activations - target).square().mean(1)
    if unlabelled == "count":
        return losses.mean()
    return (losses * valid).sum() / valid.sum()
