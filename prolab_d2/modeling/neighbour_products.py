"""Inner products of the vectors of neighbouring pixels.

Five maps (four here: both diagonals always have the same weight) that tell the length of every
bilinear mixture of neighbours, see `resized_length`. The edge is replicated, as a resize does.

Shapes: B batch, D width of the vectors, h x w size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from prolab_d2.modeling.threads import in_threads, slices

__all__ = ["neighbour_products", "products_of", "products_adjoint"]


def neighbour_products(vectors: Tensor) -> Tensor:
    """Inner products of every vector with its neighbours, differentiable.

    Args:
        vectors: (B, D, h, w) float32 or float64.
    Returns:
        (B, 4, h, w): with itself, the right and the lower neighbour, and the sum of both diagonal
        products of the four pixels from here to the lower right.
    """
    return _NeighbourProducts.apply(vectors)


class _NeighbourProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:
        ctx.save_for_backward(vectors)
        return products_of(vectors.permute(0, 2, 3, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        vectors = ctx.saved_tensors[0].permute(0, 2, 3, 1)
        result = torch.empty_like(vectors)
        products_adjoint(vectors, gradient, result)
        return result.permute(0, 3, 1, 2)


def products_of(vectors: Tensor) -> Tensor:
    """`neighbour_products` of vectors (B, h, w, D) in any memory where D is contiguous."""
    products = vectors.new_empty(vectors.shape[0], 4, *vectors.shape[1:3])

    def run(part: tuple[int, slice]) -> None:
        image, rows = part
        for chunk in _chunks(vectors, rows):
            _products_of_rows(vectors[image], chunk, products[image])

    for _ in in_threads(run, _parts(vectors), vectors.device):
        pass
    own, right, down, diagonals = products.unbind(1)
    right[:, :, -1] = own[:, :, -1]
    down[:, -1] = own[:, -1]
    diagonals[:, :, -1] = 2 * down[:, :, -1]
    diagonals[:, -1] = 2 * right[:, -1]
    return products


def products_adjoint(vectors: Tensor, gradient: Tensor, out: Tensor) -> None:
    """Writes to `out` (B, h, w, D) the gradient for vectors (B, h, w, D), from that of their
    products (B, 4, h, w)."""
    own, right, down, diagonals = gradient = gradient.clone().transpose(0, 1)
    # The adjoint of the replicated edge, in the opposite order; then all are inner products.
    right[:, -1] += 2 * diagonals[:, -1]
    down[:, :-1, -1] += 2 * diagonals[:, :-1, -1]
    own[:, -1] += down[:, -1]
    own[:, :, -1] += right[:, :, -1]
    own *= 2

    def run(part: tuple[int, slice]) -> None:
        image, rows = part
        for chunk in _chunks(vectors, rows):
            _gradient_of_rows(vectors[image], chunk, gradient[:, image, ..., None], out[image])

    for _ in in_threads(run, _parts(vectors), vectors.device):
        pass


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
    entries = 2**18 if e.device.type == "cpu" else 2**25
    return slices(rows.stop, max(1, entries // e[0, 0].numel()), start=rows.start)
