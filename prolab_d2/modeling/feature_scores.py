"""The fused scoring: category scores of pixels from the features of the decode head.

What `PropertySpace` computes step by step, for as many pixels as stay in the cache of a core.

Shapes: C feature channels, D embedding, K properties, N categories, P pixels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from prolab_d2.modeling.memory import copy_transposed, new_map
from prolab_d2.modeling.threads import Shared, in_threads, slices

__all__ = ["FeatureScorer"]

_EPS = 1e-12
# Adding up the few properties of a signature beats a matrix product on a CPU up to this density.
_SPARSE = 1 / 8
# Activations of a band of rows: what stays in the cache of a core, or keeps a GPU busy.
_BAND_ENTRIES = {"cpu": 2**19, "default": 2**26}


class FeatureScorer:
    """Category scores of pixels, without gradients. Nothing of K channels is kept."""

    def __init__(
        self,
        bank: Tensor,
        signatures: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *,
        temperature: float,
        sigmoid: bool,
        normalize_embedding: bool,
        property_weights: Tensor | None,
        category_weights: Tensor,
    ) -> None:
        """
        Args:
            bank: (K, D), the properties.
            signatures: (N, K) bool.
            weight, bias: (D, C) and (D,) of the projection.
            temperature: what the products are divided by.
            sigmoid: activations are the sigmoid of that; else that.
            normalize_embedding, property_weights, category_weights: of the `PropertySpace`.
        """
        self.temperature, self.sigmoid = temperature, sigmoid
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        if normalize_embedding:
            self.bank, self.weight, self.bias = bank, weight, bias
        else:  # projection, bank and temperature are one product
            self.bank = None
            self.weight, self.bias = (bank @ x / temperature for x in (weight, bias))
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

    def __call__(self, features: Tensor) -> Tensor:
        """Features (B, C, h, w) to scores (B, N, h, w), channels last in memory."""
        batch, _, height, width = features.shape
        device, (categories, properties) = features.device, self.category_weights.shape
        scores = new_map((batch, height, width, categories), self.weight.dtype, device)
        entries = _BAND_ENTRIES.get(device.type, _BAND_ENTRIES["default"])
        step = max(1, entries // max(1, width * properties))
        bands = [(image, rows) for image in range(batch) for rows in slices(height, step)]
        # To get this memory anew for every band can take longer than the work.
        maps = 1 if self.property_weights is None else 2
        rooms = Shared(lambda: self.weight.new_empty(maps, properties * step * width))
        pixels = features.permute(0, 2, 3, 1)

        def run(band: tuple[int, slice]) -> None:
            with rooms.one() as room:
                x = pixels[band].flatten(0, 1).to(self.weight.dtype)
                self._score(x, scores[band].view(-1, categories), room)

        with torch.autocast(device.type, enabled=False):
            for _ in in_threads(run, bands, device):
                pass
        return scores.permute(0, 3, 1, 2)

    def _score(self, features: Tensor, out: Tensor, room: Tensor) -> None:
        """Features (P, C) to scores, written to `out` (P, N). The room is for P pixels or more."""
        size = self.category_weights.shape[1], len(features)
        activations, *other = room[:, : math.prod(size)].view(-1, *size)
        if self.bank is None:
            # One pass for product and bias.
            torch.addmm(self.bias[:, None], self.weight, features.T, out=activations)
        else:
            embedding = torch.addmm(self.bias[:, None], self.weight, features.T)
            length = _length(embedding).mul_(self.temperature)
            torch.mm(self.bank, embedding, out=activations).div_(length)
        if self.sigmoid:
            activations.sigmoid_()
        weighted = activations
        if self.property_weights is not None:
            weighted = torch.mul(activations, self.property_weights, out=other[0])
        inverse = _length(weighted).reciprocal_()
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
        # Divided before they are transposed: both at once takes several times as long.
        copy_transposed(sums.mul_(inverse), out)


def _length(x: Tensor) -> Tensor:
    """(P,): of every column of (., P). Many times as fast as `torch.linalg.vector_norm`."""
    if x.device.type == "cpu":
        squared = torch.from_numpy(np.einsum("ip,ip->p", x.numpy(), x.numpy()))
    else:
        squared = x.square().sum(0)
    return squared.sqrt_().clamp_(min=_EPS)
