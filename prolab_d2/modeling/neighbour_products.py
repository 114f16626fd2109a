"""Inner products of the vectors of neighbouring pixels.

Five maps (four here: both diagonals always have the same weight) that tell the length of every
bilinear mixture of neighbours, see `resized_length`. The edge is replicated, as a resize does.

Shapes: B batch, D width of the vectors, h x w size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from prolab_d2.modeling.threads import Shared, image_parts, in_threads, slices

__all__ = [
    "Stencil",
    "gradient_weights",
    "neighbour_products",
    "replicate_edges",
    "row_chunks",
    "stencil_gradient",
]

_CHUNK_ENTRIES = {"cpu": 2**19, "default": 2**25}


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
        vectors = vectors.permute(0, 2, 3, 1)
        products = vectors.new_empty(len(vectors), 4, *vectors.shape[1:3])
        stencils = Shared(Stencil)

        def run(part: tuple[int, slice]) -> None:
            image, rows = part
            with stencils.one() as stencil:
                for chunk in row_chunks(vectors, rows):
                    stencil.products(vectors[image], chunk, products[image])

        for _ in in_threads(run, image_parts(*vectors.shape[:2], vectors.device), vectors.device):
            pass
        replicate_edges(products)
        return products

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        vectors = ctx.saved_tensors[0].permute(0, 2, 3, 1)
        result = torch.empty_like(vectors)
        weights = gradient_weights(gradient)

        def run(part: tuple[int, slice]) -> None:
            image, rows = part
            for chunk in row_chunks(vectors, rows):
                stencil_gradient(vectors[image], chunk, weights[:, image], result[image, chunk])

        for _ in in_threads(run, image_parts(*vectors.shape[:2], vectors.device), vectors.device):
            pass
        return result.permute(0, 3, 1, 2)


def row_chunks(x: Tensor, rows: slice) -> Iterator[slice]:
    """Rows of (B, h, w, D) that stay in the cache of a CPU core, or enough to fill a GPU."""
    entries = _CHUNK_ENTRIES.get(x.device.type, _CHUNK_ENTRIES["default"])
    return slices(rows.stop, max(1, entries // x[0, 0].numel()), start=rows.start)


def replicate_edges(products: Tensor) -> None:
    """Sets what `Stencil.products` leaves open in (B, 4, h, w), where no neighbour is."""
    own, right, down, diagonals = products.unbind(1)
    right[:, :, -1] = own[:, :, -1]
    down[:, -1] = own[:, -1]
    diagonals[:, :, -1] = 2 * down[:, :, -1]
    diagonals[:, -1] = 2 * right[:, -1]


def gradient_weights(gradient: Tensor) -> Tensor:
    """What `stencil_gradient` multiplies vectors with, (4, B, h, w), from the gradient of the
    products (B, 4, h, w)."""
    own, right, down, diagonals = gradient = gradient.clone().transpose(0, 1)
    # The adjoint of the replicated edge, in the opposite order; then all are inner products.
    right[:, -1] += 2 * diagonals[:, -1]
    down[:, :-1, -1] += 2 * diagonals[:, :-1, -1]
    own[:, -1] += down[:, -1]
    own[:, :, -1] += right[:, :, -1]
    own *= 2
    return gradient


class Stencil:
    """Products of the vectors of an image, some rows at a time.

    Keeps the memory that it works in: to get it anew takes several times as long as the work.
    """

    def __init__(self) -> None:
        self._room: Tensor | None = None

    def products(self, vectors: Tensor, rows: slice, products: Tensor) -> None:
        """Writes some rows of `products` (4, h, w) of vectors (h, w, D), in any memory where D is
        contiguous, but not where a neighbour would be beyond the edge."""
        own, right, down, diagonals = products[:, rows]
        here, below = vectors[rows], vectors[rows.start + 1 : rows.stop + 1]
        count = len(below)  # one less in the last rows
        dot = self._dot
        own.copy_(dot(here, here))
        right[:, :-1] = dot(here[:, :-1], here[:, 1:])
        down[:count] = dot(here[:count], below)
        diagonals[:count, :-1] = dot(here[:count, :-1], below[:, 1:])
        diagonals[:count, :-1] += dot(here[:count, 1:], below[:, :-1])

    def _dot(self, a: Tensor, b: Tensor) -> Tensor:
        if self._room is None or self._room.numel() < a.numel():
            self._room = a.new_empty(a.numel())
        return torch.mul(a, b, out=self._room[: a.numel()].view(a.shape)).sum(-1)


def stencil_gradient(vectors: Tensor, rows: slice, weights: Tensor, out: Tensor) -> None:
    """Writes to `out` (rows, w, D) the gradient of some rows of the vectors (h, w, D) of an image,
    from their `gradient_weights` (4, h, w)."""
    own, right, down, diagonals = weights[..., None]
    here = vectors[rows]
    torch.mul(here, own[rows], out=out)
    out[:, :-1].addcmul_(here[:, 1:], right[rows, :-1])
    out[:, 1:].addcmul_(here[:, :-1], right[rows, :-1])
    below = slice(rows.start + 1, rows.stop + 1)
    above = slice(max(rows.start - 1, 0), rows.stop - 1)
    count = len(vectors[below])
    for part, other, pairs in (
        (out[:count], below, slice(rows.start, rows.start + count)),
        (out[len(out) - len(vectors[above]) :], above, above),
    ):
        other = vectors[other]
        part.addcmul_(other, down[pairs])
        part[:, :-1].addcmul_(other[:, 1:], diagonals[pairs, :-1])
        part[:, 1:].addcmul_(other[:, :-1], diagonals[pairs, :-1])
