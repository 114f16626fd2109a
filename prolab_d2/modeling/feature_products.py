"""Logits of pixel embeddings and inner products of neighbouring ones, from the features that are
projected to them.

Nothing needs the D components of an embedding e = W f + b themselves. Logits take one product with
bank x W. Inner products stay the same in any orthonormal basis of a space that holds all columns
of W and b: with the QR factorisation [W b] = Q [R r] they are those of R f + r, which has C + 1
components at most. Unlike the matrix W^T W, whose entries are squares, R f is as exact as W f. And
one product of the features gives both.

Shapes: B batch, C feature channels, D embedding, K properties, R basis vectors, h x w feature size.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from prolab_d2.modeling.neighbour_products import products_adjoint, products_of

__all__ = ["logits_and_products"]

# Components of a pixel in steps of this number: rows that start at odd places are slow.
_ALIGNMENT = 16


def logits_and_products(
    features: Tensor, weight: Tensor, bias: Tensor | None, bank: Tensor
) -> tuple[Tensor, Tensor]:
    """What a loss with normalised embeddings needs, differentiable in all but the bank.

    Args:
        features: (B, C, h, w) float32 or float64, the type of all others.
        weight, bias: (D, C), (D,) of the projection.
        bank: (K, D).
    Returns:
        (B, K, h, w), the products of the embeddings with the bank, and (B, 4, h, w),
        `neighbour_products` of the embeddings.
    """
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    logits, products = _LogitsAndProducts.apply(features, weight, bias, bank)
    return logits.permute(0, 3, 1, 2), products


class _LogitsAndProducts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, bank: Tensor
    ) -> tuple[Tensor, Tensor]:
        pixels = features.permute(0, 2, 3, 1)
        size, pixels = pixels.shape[:3], pixels.flatten(0, 2)
        table = bank @ weight  # (K, C)
        logits = torch.addmm(bank @ bias, pixels, table.T)
        basis, coordinates, shift = _in_own_basis(weight, bias)
        # The factor is triangular: its lower half needs the second half of the features only.
        half = 0 if basis is None else coordinates.shape[1] // 2
        vectors = pixels.new_empty(len(pixels), len(coordinates))
        torch.addmm(shift[:half], pixels, coordinates[:half].T, out=vectors[:, :half])
        torch.addmm(
            shift[half:], pixels[:, half:], coordinates[half:, half:].T, out=vectors[:, half:]
        )
        vectors = vectors.view(*size, -1)
        ctx.half = half
        ctx.save_for_backward(features, table, coordinates, bank, basis, vectors)
        return logits.view(*size, -1), products_of(vectors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_logits: Tensor, of_products: Tensor) -> tuple[Tensor | None, ...]:
        features, table, coordinates, bank, basis, vectors = ctx.saved_tensors
        with torch.autocast(features.device.type, enabled=False):
            of_vectors = torch.empty_like(vectors)
            products_adjoint(vectors, of_products, of_vectors)
            of_vectors, of_logits = of_vectors.flatten(0, 2), of_logits.flatten(0, 2)
            pixels, half = features.permute(0, 2, 3, 1), ctx.half
            of_features = pixels.new_empty(pixels.shape)
            both = of_features.flatten(0, 2)
            torch.mm(of_logits, table, out=both)
            both[:, :half].addmm_(of_vectors[:, :half], coordinates[:half, :half])
            both[:, half:].addmm_(of_vectors, coordinates[:, half:])

            def to_embedding(logits: Tensor, vectors: Tensor) -> Tensor:
                return bank.T @ logits + (vectors if basis is None else basis @ vectors)

            pixels = pixels.flatten(0, 2)
            of_weight = to_embedding(of_logits.T @ pixels, of_vectors.T @ pixels)
            ones = pixels.new_ones(len(pixels))
            of_bias = to_embedding(of_logits.T.mv(ones), of_vectors.T.mv(ones))
            return of_features.permute(0, 3, 1, 2), of_weight, of_bias, None


def _in_own_basis(weight: Tensor, bias: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
    """An orthonormal basis (D, R) of the columns of `weight` and `bias`, and both in it, (R, C) and
    (R,). Where that would save nothing the basis is None, for the one that the embedding has."""
    dim, channels = weight.shape
    width = -(-(channels + 1) // _ALIGNMENT) * _ALIGNMENT
    # A factorisation takes a GPU longer than it saves there.
    if dim <= width or weight.device.type != "cpu":
        return None, weight, bias
    basis, factor = torch.linalg.qr(torch.cat([weight, bias[:, None]], dim=1))
    added = width - channels - 1
    basis, factor = F.pad(basis, (0, added)), F.pad(factor, (0, 0, 0, added))
    return basis, factor[:, :channels], factor[:, channels]
