"""Deformable attention's sampling in plain PyTorch, other than ours: the same sums of samples.

All take what `prolab_d2.modeling.backbones.deformable_attention.sample_points` takes.

Shapes: B batch, Q queries, S tokens of all levels, M heads, D channels of a head, L levels,
P points of a head in a level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from prolab_d2.modeling.backbones.deformable_attention import Size

__all__ = ["embedding_bag", "gather", "usual_order"]


def usual_order(
    value: Tensor, sizes: Sequence[Size], points: Tensor, offsets: Tensor, weights: Tensor
) -> Tensor:
    """`grid_sample` of every level with points last, one weighted sum of all: (B, Q, M * D).

    The order in which PyTorch code beside compiled kernels usually does it.
    """
    batch, _, heads, channels = value.shape
    queries = weights.shape[1]
    extents = torch.tensor([[w, h] for h, w in sizes], dtype=value.dtype, device=value.device)
    grid = 2 * (points[:, :, None, :, None] + offsets / extents[:, None]) - 1
    samples = []
    for level, (size, tokens) in enumerate(
        zip(sizes, value.split([h * w for h, w in sizes], dim=1), strict=True)
    ):
        maps = tokens.flatten(2).transpose(1, 2).reshape(batch * heads, channels, *size)
        places = grid[:, :, :, level].transpose(1, 2).flatten(0, 1)  # (B * M, Q, P, 2)
        samples.append(F.grid_sample(maps, places, align_corners=False))
    shares = weights.transpose(1, 2).reshape(batch * heads, 1, queries, -1)
    total = (torch.stack(samples, dim=-2).flatten(-2) * shares).sum(-1)
    return total.view(batch, heads * channels, queries).transpose(1, 2).contiguous()


def gather(
    value: Tensor, sizes: Sequence[Size], points: Tensor, offsets: Tensor, weights: Tensor
) -> Tensor:
    """The four corners of all samples gathered, then one matrix product a query and head."""
    rows, shares = _corners(value, sizes, points, offsets, weights)
    corners = value.flatten(0, 2).index_select(0, rows.flatten()).unflatten(0, rows.shape)
    return (shares[:, None] @ corners).view(*weights.shape[:2], -1)


def embedding_bag(
    value: Tensor, sizes: Sequence[Size], points: Tensor, offsets: Tensor, weights: Tensor
) -> Tensor:
    """The same sums by `F.embedding_bag`, which keeps no gathered corners."""
    rows, shares = _corners(value, sizes, points, offsets, weights)
    total = F.embedding_bag(rows, value.flatten(0, 2), mode="sum", per_sample_weights=shares)
    return total.view(*weights.shape[:2], -1)


def _corners(
    value: Tensor, sizes: Sequence[Size], points: Tensor, offsets: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """The pixels that every query and head reads, and how much each counts.

    Returns:
        (B * Q * M, L * P * 4) int64 rows of the values (B * S * M, D), and their shares.
    """
    batch, tokens, heads, _ = value.shape
    device = value.device
    height, width = (
        torch.tensor(sides, device=device).view(-1, 1) for sides in zip(*sizes, strict=True)
    )
    start = F.pad((height * width).cumsum(0)[:-1], (0, 0, 1, 0))
    points = points[:, :, None, :, None]

    def along(side: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """(B, Q, M, L, P, 2): the two cells beside a sample, and their shares, 0 outside."""
        place = points[..., axis] * side + offsets[..., axis] - 0.5
        low = place.floor()
        part = place - low
        cells = torch.stack([low, low + 1], dim=-1).long()
        inside = (cells >= 0) & (cells < side[..., None])
        shares = torch.stack([1 - part, part], dim=-1) * inside
        return cells.clamp(min=0).minimum(side[..., None] - 1), shares

    x, share_x = along(width, 0)
    y, share_y = along(height, 1)
    rows = (start[..., None] + y * width[..., None])[..., :, None] + x[..., None, :]
    image = torch.arange(batch, device=device).view(-1, 1, 1, 1, 1, 1, 1) * tokens
    head = torch.arange(heads, device=device).view(-1, 1, 1, 1, 1)
    rows = (image + rows) * heads + head
    shares = (weights[..., None] * share_y)[..., :, None] * share_x[..., None, :]
    return rows.flatten(3).flatten(0, 2), shares.flatten(3).flatten(0, 2)
