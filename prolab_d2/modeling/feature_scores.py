"""The fused scoring: category scores of pixels from the features of the decode head.

What `PropertySpace` computes step by step, for as many pixels as stay in the cache of a core.

Shapes: C feature channels, D embedding, K properties, N categories, P pixels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["FeatureScorer"]

_EPS = 1e-12
# Adding up the few properties of a signature beats a matrix product on a CPU up to this density.
_SPARSE = 1 / 8


class FeatureScorer:
    """Category scores of pixels, without gradients."""

    def __init__(
        self,
        bank: Tensor,
        signatures: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *,
        sigmoid: bool,
        normalize_embedding: bool,
        property_weights: Tensor | None,
        category_weights: Tensor,
    ) -> None:
        """
        Args:
            bank: (K, D), the properties over the temperature, where it costs nothing.
            signatures: (N, K) bool.
            weight, bias: (D, C) and (D,) of the projection.
            sigmoid: activations are the sigmoid of the products; else the products.
            normalize_embedding, property_weights, category_weights: of the `PropertySpace`.
        """
        self.sigmoid = sigmoid
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        if normalize_embedding:
            self.bank, self.weight, self.bias = bank, weight, bias
        else:  # projection and bank are one product
            self.bank, self.weight, self.bias = None, bank @ weight, bank @ bias
        self.category_weights = category_weights
        self.property_weights = None
        if property_weights is not None:
            self.property_weights = property_weights.to(bank.dtype)[:, None]
        few = signatures.sum() <= _SPARSE * signatures.numel()
        on_cpu = bank.dtype == torch.float32 and bank.device.type == "cpu"
        self.members = None
        if on_cpu and few and property_weights is None:
            category, self.members = signatures.nonzero(as_tuple=True)
            counts = torch.bincount(category, minlength=len(signatures))
            self.offsets = counts.cumsum(0) - counts
            self.shares = counts.to(bank.dtype).rsqrt_()[category]

    def room(self, pixels: int) -> Tensor:
        """Memory to work in for so many pixels."""
        return self.weight.new_empty(2, len(self.category_weights[0]) * pixels)

    def __call__(self, features: Tensor, out: Tensor, room: Tensor) -> None:
        """Features (P, C) to scores, written to `out` (P, N). The room is for P pixels or more."""
        # Kept from call to call: to get this memory anew can take longer than the work.
        size = self.category_weights.shape[1], len(features)
        activations, other = room[:, : math.prod(size)].view(2, *size)
        if self.bank is None:
            # One pass for product and bias.
            torch.addmm(self.bias[:, None], self.weight, features.T, out=activations)
        else:
            embedding = torch.addmm(self.bias[:, None], self.weight, features.T)
            torch.mm(self.bank, embedding, out=activations).div_(_length(embedding))
        if self.sigmoid:
            activations.sigmoid_()
        weighted = activations
        if self.property_weights is not None:
            weighted = torch.mul(activations, self.property_weights, out=other)
        inverse = _length(weighted, other).reciprocal_()
        if self.members is None:
            sums = self.category_weights @ activations
        else:
            # One addition for each property of a signature, along all pixels.
            sums = F.embedding_bag(
                self.members,
                activations,
                self.offsets,
                mode="sum",
                per_sample_weights=self.shares,
            )
        # Divided before they are transposed: both at once takes up to four times as long.
        out.copy_(sums.mul_(inverse).T)


def _length(x: Tensor, room: Tensor | None = None) -> Tensor:
    """(P,): of every column of (., P). Many times as fast as `torch.linalg.vector_norm`."""
    squares = torch.mul(x, x, out=room)
    return x.new_ones(len(x)).matmul(squares).sqrt_().clamp_(min=_EPS)
