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

from prolab_d2.modeling.memory import new_map, new_map_like
from prolab_d2.modeling.neighbour_products import (
    Stencil,
    gradient_weights,
    replicate_edges,
    row_chunks,
)
from prolab_d2.modeling.threads import image_parts, in_threads

__all__ = ["feature_logits", "logits_and_products"]

# Components of a pixel in steps of this number: rows that start at odd places are slow.
_ALIGNMENT = 16


def feature_logits(features: Tensor, weight: Tensor, bias: Tensor | None, bank: Tensor) -> Tensor:
    """Products of the embeddings with the bank, differentiable in all but the bank.

    Args:
        features: (B, C, h, w) float32 or float64, the type of all others.
        weight, bias: (D, C), (D,) of the projection.
        bank: (K, D).
    Returns:
        (B, K, h, w), channels last in memory.
    """
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    logits, _ = _LogitsAndProducts.apply(features, weight, bias, bank, False)
    return logits.permute(0, 3, 1, 2)


def logits_and_products(
    features: Tensor, weight: Tensor, bias: Tensor | None, bank: Tensor
) -> tuple[Tensor, Tensor]:
    """What a loss with normalised embeddings needs: `feature_logits`, and (B, 4, h, w),
    `neighbour_products` of the embeddings, differentiable as those."""
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    logits, products = _LogitsAndProducts.apply(features, weight, bias, bank, True)
    return logits.permute(0, 3, 1, 2), products


class _LogitsAndProducts(torch.autograd.Function):
    """Some rows at a time: features, logits and vectors of these are in the cache for all that is
    done with them, and the gradient of the vectors never exists as a whole."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, bank: Tensor, lengths: bool
    ) -> tuple[Tensor, Tensor | None]:
        pixels = features.permute(0, 2, 3, 1)
        size = pixels.shape[:3]
        table, shift = bank @ weight, bank @ bias  # (K, C), (K,)
        logits = new_map(pixels, (*size, len(bank)))
        basis = vectors = products = own = None
        if lengths:
            basis, own, own_shift = _in_own_basis(weight, bias)
            half = _zero_columns(basis, own)
            vectors = new_map(pixels, (*size, len(own)))
            products = pixels.new_empty(size[0], 4, *size[1:])

        def run(part: tuple[int, slice]) -> None:
            image, rows = part
            stencil = Stencil(vectors[image]) if lengths else None
            first = rows.start
            for chunk in row_chunks(pixels, rows):
                f = pixels[image, chunk].flatten(0, 1)
                torch.addmm(shift, f, table.T, out=logits[image, chunk].flatten(0, 1))
                if lengths:
                    v = vectors[image, chunk].flatten(0, 1)
                    torch.addmm(own_shift[:half], f, own[:half].T, out=v[:, :half])
                    others = f[:, half:], own[half:, half:].T
                    torch.addmm(own_shift[half:], *others, out=v[:, half:])
                    # The row below the last one is not there yet.
                    stencil.products(slice(first, chunk.stop - 1), products[image])
                    first = chunk.stop - 1

        parts = image_parts(*size[:2], pixels.device)
        for _ in in_threads(run, parts, pixels.device):
            pass
        if lengths:
            for image, rows in parts:
                last = slice(rows.stop - 1, rows.stop)
                Stencil(vectors[image]).products(last, products[image])
            replicate_edges(products)
        ctx.save_for_backward(features, bank, table, own, basis, vectors)
        return logits, products

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_logits: Tensor, of_products: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        features, bank, table, own, basis, vectors = ctx.saved_tensors
        pixels, lengths = features.permute(0, 2, 3, 1), vectors is not None
        of_features = new_map_like(features) if ctx.needs_input_grad[0] else None
        if lengths:
            weights, half = gradient_weights(of_products), _zero_columns(basis, own)

        def run(part: tuple[int, slice]) -> list[Tensor]:
            """Sums over the pixels of a part: the gradients of table, shift, own, own shift."""
            image, rows = part
            sums = [x.new_zeros(s) for x in (table, own)[: 1 + lengths] for s in (x.shape, len(x))]
            stencil = Stencil(vectors[image]) if lengths else None
            room = None
            for chunk in row_chunks(pixels, rows):
                f = pixels[image, chunk].flatten(0, 1)
                gradients = [of_logits[image, chunk].flatten(0, 1)]
                if lengths:
                    if room is None:
                        room = torch.empty_like(vectors[image, chunk])
                    of_vectors = room[: chunk.stop - chunk.start]
                    stencil.gradient(chunk, weights[:, image], of_vectors)
                    gradients.append(of_vectors.flatten(0, 1))
                if of_features is not None:
                    of_f = of_features.permute(0, 2, 3, 1)[image, chunk].flatten(0, 1)
                    torch.mm(gradients[0], table, out=of_f)
                    if lengths:
                        v = gradients[1]
                        of_f[:, :half].addmm_(v[:, :half], own[:half, :half])
                        of_f[:, half:].addmm_(v, own[:, half:])
                ones = f.new_ones(len(f))
                for x, total, shift in zip(gradients, sums[::2], sums[1::2], strict=True):
                    total.addmm_(x.T, f)
                    shift.addmv_(x.T, ones)
            return sums

        with torch.autocast(features.device.type, enabled=False):
            parts = image_parts(*pixels.shape[:2], pixels.device)
            results = zip(*in_threads(run, parts, pixels.device), strict=True)
            of_table, of_shift, *of_own = (torch.stack(x).sum(0) for x in results)
            of_weight, of_bias = bank.T @ of_table, bank.T @ of_shift
            if lengths:
                if basis is not None:
                    of_own = [basis @ x for x in of_own]
                of_weight, of_bias = of_weight + of_own[0], of_bias + of_own[1]
            return of_features, of_weight, of_bias, None, None


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
