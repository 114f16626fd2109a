"""What the formulas say, step by step, in the fastest plain PyTorch: the measure of the rest.

Contiguous maps with the channels last, one matrix product each, no loops, no scores and no
training accuracy beside the loss.

Shapes: B batch, C feature channels, D embedding, K properties, N categories, h x w feature size,
H x W image size, P = B H W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["dense_labels", "dense_loss", "dense_scores"]


def dense_loss(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    bank: Tensor,
    targets: Tensor,
    rows: Tensor,
    temperature: float,
    normalize: bool,
) -> Tensor:
    """The cosine loss, mean over the labelled pixels.

    Args:
        features: (B, C, h, w).
        weight, bias: (D, C), (D,) of the projection.
        bank: (K, D), unit rows.
        targets: (N + 1, K), the unit signatures and a row of zeros.
        rows: (B, H, W) int64, the row of `targets` of every pixel, N where unlabelled.
    """
    embedding = F.linear(features.to(weight.dtype).permute(0, 2, 3, 1), weight, bias)
    embedding = _resize(embedding.permute(0, 3, 1, 2), rows.shape[1:]).permute(0, 2, 3, 1)
    if normalize:
        embedding = _unit(embedding, 1e-12)
    activations = torch.sigmoid(F.linear(embedding, bank) / temperature)  # (B, H, W, K)
    # The targets are unit vectors: faster than F.cosine_similarity, which divides by their length.
    length = torch.linalg.vector_norm(activations, dim=-1).clamp_min(1e-8)
    cosine = (activations * targets[rows]).sum(-1) / length
    valid = rows < len(targets) - 1
    return ((1 - cosine) * valid).sum() / valid.sum()


def dense_scores(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    bank: Tensor,
    category_weights: Tensor,
    temperature: float,
    normalize: bool,
) -> Tensor:
    """(B, N, h, w) category scores at the resolution of the features (B, C, h, w).

    `category_weights` (N, K) are the signatures over their length; for the others see `dense_loss`.
    """
    embedding = F.linear(features.to(weight.dtype).permute(0, 2, 3, 1), weight, bias)
    if normalize:
        embedding = _unit(embedding, 1e-12)
    activations = torch.sigmoid(F.linear(embedding, bank) / temperature)
    scores = F.linear(_unit(activations, 1e-12), category_weights)
    return scores.permute(0, 3, 1, 2)


def dense_labels(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, H, W) int64: the best category at full size, from scores (B, N, h, w)."""
    return _resize(scores, size).argmax(dim=1)


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


def _unit(x: Tensor, eps: float) -> Tensor:
    """`F.normalize` of the last dimension, a little faster."""
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(eps)
