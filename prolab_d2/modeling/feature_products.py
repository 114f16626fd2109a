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

from prolab_d2.modeling.neighbour_products import (
    Stencil,
    gradient_weights,
    replicate_edges,
    row_chunks,
    stencil_gradient,
)
from prolab_d2.modeling.threads import Shared, image_parts, in_threads

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
    """Some rows at a time: features, logits and vectors of these are in the cache for all that is
    done with them, and the gradient of the vectors never exists as a whole."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, bank: Tensor
    ) -> tuple[Tensor, Tensor]:
        pixels = features.permute(0, 2, 3, 1)
        size = pixels.shape[:3]
        table, shift = bank @ weight, bank @ bias  # (K, C), (K,)
        basis, own, own_shift = _in_own_basis(weight, bias)
        half = _zero_columns(basis, own)
        logits = pixels.new_empty(*size, len(bank))
        vectors = pixels.new_empty(*size, len(own))
        products = pixels.new_empty(size[0], 4, *size[1:])
        stencils = Shared(Stencil)

        def run(part: tuple[int, slice]) -> None:
            image, rows = part
            first, lower = rows.start, own[half:, half:]
            with stencils.one() as stencil:
                for chunk in row_chunks(pixels, rows):
                    f = pixels[image, chunk].flatten(0, 1)
                    v = vectors[image, chunk].flatten(0, 1)
                    torch.addmm(shift, f, table.T, out=logits[image, chunk].flatten(0, 1))
                    torch.addmm(own_shift[:half], f, own[:half].T, out=v[:, :half])
                    torch.addmm(own_shift[half:], f[:, half:], lower.T, out=v[:, half:])
                    # The row below the last one is not there yet.
                    ready = slice(first, chunk.stop - 1)
                    stencil.products(vectors[image], ready, products[image])
                    first = ready.stop

        parts = image_parts(*size[:2], pixels.device)
        for _ in in_threads(run, parts, pixels.device):
            pass
        for image, rows in parts:
            last = slice(rows.stop - 1, rows.stop)
            with stencils.one() as stencil:
                stencil.products(vectors[image], last, products[image])
        replicate_edges(products)
        ctx.save_for_backward(features, bank, table, own, basis, vectors)
        return logits, products

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_logits: Tensor, of_products: Tensor) -> tuple[Tensor | None, ...]:
        features, bank, table, own, basis, vectors = ctx.saved_tensors
        half, pixels = _zero_columns(basis, own), features.permute(0, 2, 3, 1)
        weights = gradient_weights(of_products)
        of_features = torch.empty_like(features) if ctx.needs_input_grad[0] else None
        most = next(row_chunks(pixels, slice(0, pixels.shape[1]))).stop  # rows of a chunk
        rooms = Shared(lambda: vectors.new_empty(most, *vectors.shape[2:]))

        def run(part: tuple[int, slice]) -> list[Tensor]:
            """Sums over the pixels of a part: the gradients of table, shift, own, own shift."""
            image, rows = part
            sums = [x.new_zeros(shape) for x in (table, own) for shape in (x.shape, len(x))]
            with rooms.one() as room:
                for chunk in row_chunks(pixels, rows):
                    of_vectors = room[: chunk.stop - chunk.start]
                    stencil_gradient(vectors[image], chunk, weights[:, image], of_vectors)
                    f = pixels[image, chunk].flatten(0, 1)
                    g, v = of_logits[image, chunk].flatten(0, 1), of_vectors.flatten(0, 1)
                    if of_features is not None:
                        of_f = of_features.permute(0, 2, 3, 1)[image, chunk].flatten(0, 1)
                        torch.mm(g, table, out=of_f)
                        of_f[:, :half].addmm_(v[:, :half], own[:half, :half])
                        of_f[:, half:].addmm_(v, own[:, half:])
                    ones = f.new_ones(len(f))
                    for x, total, shift in zip((g, v), sums[::2], sums[1::2], strict=True):
                        total.addmm_(x.T, f)
                        shift.addmv_(x.T, ones)
            return sums

        with torch.autocast(features.device.type, enabled=False):
            # Each has sums of its own, so that these do not depend on who does what: fewer parts.
            parts = image_parts(*pixels.shape[:2], pixels.device, per_thread=2)
            results = zip(*in_threads(run, parts, pixels.device), strict=True)
            of_table, of_shift, of_own, of_own_shift = map(sum, results)

            def to_embedding(logits: Tensor, vectors: Tensor) -> Tensor:
                return bank.T @ logits + (vectors if basis is None else basis @ vectors)

            of_weight = to_embedding(of_table, of_own)
            of_bias = to_embedding(of_shift, of_own_shift)
            return of_features, of_weight, of_bias, None


def _zero_columns(basis: Tensor | None, own: Tensor) -> int:
    """How many columns of the lower part are zero, from as many rows on: a factor is triangular."""
    return 0 if basis is None else own.shape[1] // 2


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
