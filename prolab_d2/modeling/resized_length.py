"""Lengths of bilinearly resized vectors, from inner products at the low resolution.

A resized vector mixes four neighbours, so its squared length is a sum over their inner products:
with themselves, with the right, the lower and the two diagonal neighbours. These are five maps of
the low resolution (four here: both diagonals have the same weight), whatever the width D of the
vectors and the size of the target. The edge is replicated, as the resize does.

Shapes: B batch, D embedding, h x w feature size, H x W image size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from prolab_d2.modeling.resize import resize_matrix, source_rows

__all__ = ["SquaredLengths", "squared_length_rows"]

# Entries of the rows that are multiplied at a time: they stay in the cache of a CPU core.
_CHUNK_ENTRIES = {"cpu": 2**17, "other": 2**26}
_SQUARED_EPS = 1e-24


def squared_length_rows(embedding: Tensor, width: int) -> Tensor:
    """The part of the squared lengths that the columns decide; `SquaredLengths` adds the rows.

    Args:
        embedding: (B, D, h, w) float32 or float64.
        width: W of the target.
    Returns:
        (B, 3, h, W), per source row and target column: the squared length, the inner product with
        the row below, and the resized squared length (an upper bound, without gradient).
    """
    own, right, down, diagonals = _NeighbourProducts.apply(embedding).unbind(1)
    same, cross = _squared_weights(embedding.shape[3], width, embedding)
    mixture = resize_matrix(embedding.shape[3], width, embedding.dtype, embedding.device)
    return torch.stack(
        [
            own @ same.T + right @ cross.T,
            down @ same.T + diagonals @ (0.5 * cross).T,
            own.detach() @ mixture.T,
        ],
        dim=1,
    )


class SquaredLengths:
    """Squared lengths of bands of rows, and their adjoint.

    Where four neighbours cancel so far that rounding decides about the rest, and below 1e-24 (the
    published clamp of the length at 1e-12), the squared length is a constant without gradient.
    """

    def __init__(self, rows: Tensor, height: int) -> None:
        """
        Args:
            rows: (B, 3, h, W) from `squared_length_rows`.
            height: H of the target.
        """
        self.rows = rows
        source = rows.shape[2]
        self.same, self.cross = _squared_weights(source, height, rows)
        self.mixture = resize_matrix(source, height, rows.dtype, rows.device)
        self.rounding = 8 * torch.finfo(rows.dtype).eps
        self.gradient = torch.zeros_like(rows)

    def inverse(self, image: int, target: slice, source: slice) -> tuple[Tensor, Tensor]:
        """One over the lengths of target rows that read the source rows.

        Returns:
            (rows, W), and whether it has a gradient (rows, W) bool.
        """
        rows = self.rows[image, :, source]
        squared = self.same[target, source] @ rows[0] + self.cross[target, source] @ rows[1]
        floor = self.mixture[target, source] @ rows[2]
        floor = floor.mul_(self.rounding).clamp_(min=_SQUARED_EPS)
        return torch.maximum(squared, floor).rsqrt_(), squared > floor

    def accumulate(self, image: int, target: slice, source: slice, gradient: Tensor) -> None:
        """Adds the adjoint of a gradient (rows, W) with respect to the squared lengths."""
        rows = self.gradient[image, :, source]
        rows[0].addmm_(self.same[target, source].T, gradient)
        rows[1].addmm_(self.cross[target, source].T, gradient)


def _squared_weights(source: int, target: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of |u a + v b|^2 for neighbours a, b: u^2 at a and v^2 at b; 2 u v at a.

    Returns:
        Two matrices (target, source).
    """
    lower, upper, weight = (part[:, None] for part in source_rows(source, target, 0, target))
    same = torch.zeros(target, source, dtype=weight.dtype)
    cross = torch.zeros_like(same)
    same.scatter_add_(1, lower, (1 - weight).square()).scatter_add_(1, upper, weight.square())
    cross.scatter_add_(1, lower, 2 * weight * (1 - weight))
    return same.to(like), cross.to(like)


class _NeighbourProducts(torch.autograd.Function):
    """(B, D, h, w) -> (B, 4, h, w): inner products with itself, the right and the lower neighbour,
    and the sum of both diagonal products of the four pixels from here to the lower right."""

    @staticmethod
    def forward(ctx: Any, embedding: Tensor) -> Tensor:
        ctx.save_for_backward(embedding)
        e = embedding.permute(0, 2, 3, 1)  # (B, h, w, D)
        batch, height, width, _ = e.shape
        products = e.new_empty(batch, 4, height, width)
        for image, rows in _chunks(e):
            own, right, down, diagonals = products[image, :, rows].unbind(0)
            here, below = e[image, rows], e[image, rows.start + 1 : rows.stop + 1]
            count = len(below)  # one less than rows in the last chunk
            own.copy_(_dot(here, here))
            right[:, :-1] = _dot(here[:, :-1], here[:, 1:])
            down[:count] = _dot(here[:count], below)
            diagonals[:count, :-1] = _dot(here[:count, :-1], below[:, 1:])
            diagonals[:count, :-1] += _dot(here[:count, 1:], below[:, :-1])
        own, right, down, diagonals = products.unbind(1)
        right[:, :, -1] = own[:, :, -1]
        down[:, -1] = own[:, -1]
        diagonals[:, :, -1] = 2 * down[:, :, -1]
        diagonals[:, -1] = 2 * right[:, -1]
        return products

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (embedding,) = ctx.saved_tensors
        e = embedding.permute(0, 2, 3, 1)
        own, right, down, diagonals = (part[..., None] for part in gradient.clone().unbind(1))
        # The adjoint of the replicated edge, in the opposite order; then all are inner products.
        right[:, -1] += 2 * diagonals[:, -1]
        down[:, :-1, -1] += 2 * diagonals[:, :-1, -1]
        own[:, -1] += down[:, -1]
        own[:, :, -1] += right[:, :, -1]
        own *= 2
        result = torch.empty_like(e)
        for image, rows in _chunks(e):
            start, stop = rows.start, rows.stop
            out, here = result[image, rows], e[image, rows]
            torch.mul(here, own[image, rows], out=out)
            along = right[image, rows, :-1]
            out[:, :-1].addcmul_(here[:, 1:], along)
            out[:, 1:].addcmul_(here[:, :-1], along)
            below = e[image, start + 1 : stop + 1]
            across, corner = down[image, rows][: len(below)], diagonals[image, rows][: len(below)]
            _add_row(out[: len(below)], below, across, corner[:, :-1])
            above = e[image, max(start - 1, 0) : stop - 1]
            across, corner = (
                part[image, max(start - 1, 0) : stop - 1] for part in (down, diagonals)
            )
            _add_row(out[len(out) - len(above) :], above, across, corner[:, :-1])
        return result.permute(0, 3, 1, 2)


def _add_row(out: Tensor, other: Tensor, straight: Tensor, diagonal: Tensor) -> None:
    """Adds the neighbours of the row above or below: straight on, and both diagonals."""
    out.addcmul_(other, straight)
    out[:, :-1].addcmul_(other[:, 1:], diagonal)
    out[:, 1:].addcmul_(other[:, :-1], diagonal)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)


def _chunks(e: Tensor) -> Iterator[tuple[int, slice]]:
    """Images and slices of rows of (B, h, w, D), of bounded size."""
    limit = _CHUNK_ENTRIES.get(e.device.type, _CHUNK_ENTRIES["other"])
    rows = max(1, limit // e[0, 0].numel())
    for image in range(e.shape[0]):
        for start in range(0, e.shape[1], rows):
            yield image, slice(start, min(start + rows, e.shape[1]))
