"""Relative position tables of BEiT: which entry belongs to which pair of tokens; resizing.

A table for a grid of h x w tokens has (2h - 1)(2w - 1) rows, one for every offset between two
tokens, row by row, and three more: class token to grid, grid to class token, class token to itself.

Shapes: M heads.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from prolab_d2.errors import ProLabError
from prolab_d2.modeling.backbones.deformable_attention import Size

__all__ = ["CLASS_TOKEN_ROWS", "relative_position_index", "resize_table", "table_rows"]

CLASS_TOKEN_ROWS = 3


def table_rows(size: Size) -> int:
    """Rows of the table for a grid (h, w)."""
    return (2 * size[0] - 1) * (2 * size[1] - 1) + CLASS_TOKEN_ROWS


def relative_position_index(size: Size) -> Tensor:
    """Row of the table for every pair of query and key; token 0 is the class token.

    Returns:
        (h * w + 1, h * w + 1) int32.
    """
    height, width = size
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    y, x = y.flatten(), x.flatten()
    rows = (y[:, None] - y + height - 1) * (2 * width - 1) + (x[:, None] - x + width - 1)
    last = table_rows(size) - 1
    index = torch.empty(height * width + 1, height * width + 1, dtype=torch.int32)
    index[1:, 1:] = rows
    index[0, :] = last - 2
    index[:, 0] = last - 1
    index[0, 0] = last
    return index


def resize_table(table: Tensor, size: Size) -> Tensor:
    """A table of another, square grid, resized as BEiT does when it loads weights.

    The offsets of the old grid are spread over those of the new one, densest around zero, in
    geometric progression, and a bicubic spline through them is read at whole offsets. The rows of
    the class token are copied.

    Args:
        table: ((2n - 1)^2 + 3, M) of a grid of n x n tokens.
        size: (h, w) of the grid wanted. BEiT itself knows square ones only.
    Returns:
        ((2h - 1)(2w - 1) + 3, M) of the dtype of `table`.
    Raises:
        ProLabError: `table` belongs to no square grid, or to one below 3 x 3.
    """
    offsets = table.shape[0] - CLASS_TOKEN_ROWS
    side = math.isqrt(max(offsets, 0))
    if side * side != offsets or side % 2 == 0 or side < 5:
        raise ProLabError(
            f"a relative position table of {table.shape[0]} rows belongs to no square grid of "
            "3 x 3 tokens or more and cannot be resized: give weights of a model for square images"
        )
    if size[0] == size[1] == (side + 1) // 2:
        return table
    vertical, horizontal = (_spline(_spread_offsets((side + 1) // 2, n), n) for n in size)
    grid = table[:offsets].double().cpu().numpy().reshape(side, side, -1)
    grid = np.einsum("yi,ijm,xj->yxm", vertical, grid, horizontal)
    resized = torch.from_numpy(grid.reshape(-1, table.shape[1])).to(table)
    return torch.cat([resized, table[offsets:]])


def _spread_offsets(source: int, target: int) -> np.ndarray:
    """Where the offsets of a grid of `source` tokens lie among those of `target` tokens.

    They are 0, +-1, +-(1 + q), +-(1 + q + q^2), ...; bisection finds the q that ends at
    target - 1, as far as 1.01 <= q <= 1.5 can.

    Returns:
        (2 source - 1,) float64, rising.
    """
    low, high, ratio = 1.01, 1.5, 1.01
    while high - low > 1e-6:
        ratio = (low + high) / 2
        if (1 - ratio ** (source - 1)) / (1 - ratio) > target - 1:
            high = ratio
        else:
            low = ratio
    positive = np.cumsum(ratio ** np.arange(source - 1))
    return np.concatenate([-positive[::-1], [0.0], positive])


def _spline(source: np.ndarray, target: int) -> np.ndarray:
    """The cubic spline through values at `source`, read at whole offsets, as a matrix.

    The spline is the not-a-knot one, which FITPACK (SciPy's `RectBivariateSpline`) makes; beyond
    its ends the value at the end counts.

    Returns:
        (2 target - 1, len(source)) float64.
    """
    knots = np.concatenate([[source[0]] * 4, source[2:-2], [source[-1]] * 4])
    offsets = np.arange(1 - target, target, dtype=np.float64).clip(source[0], source[-1])
    at_source, at_offsets = _cubic_basis(knots, source), _cubic_basis(knots, offsets)
    return np.linalg.solve(at_source.T, at_offsets.T).T


def _cubic_basis(knots: np.ndarray, points: np.ndarray) -> np.ndarray:
    """All cubic B-splines at all points, by the recursion of Cox and de Boor.

    Returns:
        (points, len(knots) - 4) float64.
    """
    # The interval that holds a point; the last one is closed on the right, too.
    interval = np.searchsorted(knots, points, side="right") - 1
    interval = interval.clip(3, len(knots) - 5)
    basis = np.eye(len(knots) - 1)[interval]
    for degree in (1, 2, 3):
        width = knots[degree:] - knots[:-degree]
        inverse = np.divide(1.0, width, out=np.zeros_like(width), where=width > 0)
        rising = (points[:, None] - knots[: -degree - 1]) * inverse[:-1]
        falling = (knots[degree + 1 :] - points[:, None]) * inverse[1:]
        basis = rising * basis[:, :-1] + falling * basis[:, 1:]
    return basis
