"""Lengths of bilinearly resized vectors, from inner products at the low resolution.

A resized vector mixes four neighbours, so its squared length is a sum over their inner products:
with themselves, with the right, the lower and the two diagonal neighbours (see
`neighbour_products`), whatever the width of the vectors and the size of the target.

Shapes: B batch, h x w feature size, H x W image size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from prolab_d2.modeling.resize import resize_matrix, source_rows

__all__ = ["SquaredLengths", "squared_length_rows"]

_SQUARED_EPS = 1e-24


def squared_length_rows(products: Tensor, width: int) -> Tensor:
    """The part of the squared lengths that the columns decide; `SquaredLengths` adds the rows.

    Args:
        products: (B, 4, h, w) from `neighbour_products`, float32 or float64.
        width: W of the target.
    Returns:
        (B, 3, h, W), per source row and target column: the squared length, the inner product with
        the row below, and the resized squared length (an upper bound, without gradient).
    """
    own, right, down, diagonals = products.unbind(1)
    same, cross = _squared_weights(products.shape[3], width, products)
    mixture = resize_matrix(products.shape[3], width, products.dtype, products.device)
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
