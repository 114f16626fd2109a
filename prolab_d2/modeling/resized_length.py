"""Lengths of bilinearly resized vectors, from inner products at the low resolution.

A resized vector mixes four neighbours, so its squared length is a sum over their inner products:
with themselves, with the right, the lower and the two diagonal neighbours. These are five maps of
the low resolution (four here: both diagonals have the same weight), whatever the width D of the
vectors and the size of the target. The edge is replicated, as the resize does.

Shapes: B batch, D embedding, h x w feature size, H x W image size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from prolab_d2.modeling.resize import resize_matrix, source_rows
from prolab_d2.modeling.threads import in_threads, slices

__all__ = ["SquaredLengths", "squared_length_rows"]

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

    def adjoint(self, target: slice, source: slice, gradient: Tensor, out: Tensor) -> None:
        """Adds to `out` (3, h', W), for the source rows, the adjoint of a gradient (rows, W) with
        respect to the squared lengths of the target rows."""
        out[0].addmm_(self.same[target, source].T, gradient)
        out[1].addmm_(self.cross[target, source].T, gradient)


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
        products = e.new_empty(e.shape[0], 4, *e.shape[1:3])

        def run(part: tuple[int, slice]) -> None:
            image, rows = part
            for chunk in _chunks(e, rows):
                _products_of_rows(e[image], chunk, products[image])

        for _ in in_threads(run, _parts(e), e.device):
            pass
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
        own, right, down, diagonals = gradient = gradient.clone().transpose(0, 1)
        # The adjoint of the replicated edge, in the opposite order; then all are inner products.
        right[:, -1] += 2 * diagonals[:, -1]
        down[:, :-1, -1] += 2 * diagonals[:, :-1, -1]
        own[:, -1] += down[:, -1]
        own[:, :, -1] += right[:, :, -1]
        own *= 2
        result = torch.empty_like(e)

        def run(part: tuple[int, slice]) -> None:
            image, rows = part
            for chunk in _chunks(e, rows):
                _gradient_of_rows(e[image], chunk, gradient[:, image, ..., None], result[image])

        for _ in in_threads(run, _parts(e), e.device):
            pass
        return result.permute(0, 3, 1, 2)


def _products_of_rows(e: Tensor, rows: slice, products: Tensor) -> None:
    """Writes some rows of (4, h, w) products of one image (h, w, D), but not at the far edges."""
    own, right, down, diagonals = products[:, rows]
    here, below = e[rows], e[rows.start + 1 : rows.stop + 1]
    count = len(below)  # one less in the last rows
    own.copy_(_dot(here, here))
    right[:, :-1] = _dot(here[:, :-1], here[:, 1:])
    down[:count] = _dot(here[:count], below)
    diagonals[:count, :-1] = _dot(here[:count, :-1], below[:, 1:])
    diagonals[:count, :-1] += _dot(here[:count, 1:], below[:, :-1])


def _gradient_of_rows(e: Tensor, rows: slice, gradient: Tensor, out: Tensor) -> None:
    """Writes some rows of the gradient (h, w, D), from that of the products (4, h, w, 1)."""
    own, right, down, diagonals = gradient
    here, out = e[rows], out[rows]
    torch.mul(here, own[rows], out=out)
    out[:, :-1].addcmul_(here[:, 1:], right[rows, :-1])
    out[:, 1:].addcmul_(here[:, :-1], right[rows, :-1])
    below, above = (
        slice(rows.start + 1, rows.stop + 1),
        slice(max(rows.start - 1, 0), rows.stop - 1),
    )
    for part, other, weights in (
        (out[: len(e[below])], e[below], slice(rows.start, rows.start + len(e[below]))),
        (out[len(out) - len(e[above]) :], e[above], above),
    ):
        part.addcmul_(other, down[weights])
        part[:, :-1].addcmul_(other[:, 1:], diagonals[weights, :-1])
        part[:, 1:].addcmul_(other[:, :-1], diagonals[weights, :-1])


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)


def _parts(e: Tensor) -> list[tuple[int, slice]]:
    """Images and rows of (B, h, w, D) for `in_threads`."""
    threads = torch.get_num_threads() if e.device.type == "cpu" else 1
    step = math.ceil(e.shape[1] / threads)
    return [(image, rows) for image in range(len(e)) for rows in slices(e.shape[1], step)]


def _chunks(e: Tensor, rows: slice) -> Iterator[slice]:
    """Rows of (B, h, w, D) that stay in the cache of a CPU core, or enough to fill a GPU."""
    entries = 2**17 if e.device.type == "cpu" else 2**25
    return slices(rows.stop, max(1, entries // e[0, 0].numel()), start=rows.start)
