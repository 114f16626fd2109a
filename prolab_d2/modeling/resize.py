"""Bilinear resizing in bands of rows, so that a full-size map never has to exist at once.

Everywhere `align_corners=False`: output row y reads the source at max(0, (y + 0.5) h / H - 0.5).

Shapes: B batch, C channels, h x w source size, H x W target size.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "ColumnBlocks",
    "resize_band",
    "resize_columns",
    "resize_matrix",
    "resize_rows",
    "source_range",
    "source_rows",
]

_BLOCK_COLUMNS = 32


def source_rows(source: int, target: int, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
    """Source rows that target rows [start, stop) read.

    Returns:
        lower (stop - start,) int64, upper (stop - start,) int64 and the weight of upper, float64
        in [0, 1); on the CPU, so that reading bounds never waits for a GPU.
    """
    rows = torch.arange(start, stop, dtype=torch.float64)
    position = ((rows + 0.5) * (source / target) - 0.5).clamp_(min=0)
    lower = position.floor().long().clamp_(max=source - 1)
    upper = (lower + 1).clamp_(max=source - 1)
    return lower, upper, position - lower


def source_range(source: int, target: int, start: int, stop: int) -> tuple[int, int]:
    """First source row that target rows [start, stop) read, and the one after the last."""
    first, last = (max(0.0, (row + 0.5) * (source / target) - 0.5) for row in (start, stop - 1))
    return min(int(first), source - 1), min(int(last) + 2, source)


def resize_matrix(
    source: int, target: int, dtype: torch.dtype, device: torch.device | None = None
) -> Tensor:
    """The resize along one axis as a matrix (target, source): two weights per row, sum 1."""
    lower, upper, weight = (part[:, None] for part in source_rows(source, target, 0, target))
    matrix = torch.zeros(target, source, dtype=weight.dtype)
    matrix.scatter_add_(1, lower, 1 - weight).scatter_add_(1, upper, weight)
    return matrix.to(device, dtype)


def resize_rows(
    x: Tensor, height: int, start: int, stop: int, part: tuple[int, int] | None = None
) -> Tensor:
    """Rows [start, stop) of `x` bilinearly resized to `height` rows (`align_corners=False`).

    Args:
        x: (B, C, h, w), floating point.
        part: (first, total) if `x` holds only the source rows from `first` on, of `total` rows;
            all rows that the band reads must be there.
    Returns:
        (B, C, stop - start, w) in channels-last memory: several times as fast on a CPU. The result
        does not depend on how the rows are cut into bands.
    """
    first, total = (0, x.shape[2]) if part is None else part
    x = x.permute(0, 2, 3, 1)
    if total == height:
        rows = x[:, start - first : stop - first].contiguous()
    else:
        # On the CPU first: reading the bounds there does not wait for a GPU.
        lower, upper, weight = source_rows(total, height, start, stop)
        bottom, top = int(lower[0]), int(upper[-1]) + 1
        x = x[:, bottom - first : top - first].contiguous()
        lower, upper = lower - bottom, upper - bottom
        if x.device.type == "cpu" and not x.requires_grad:
            # Row by row, nothing is copied first.
            rows = x.new_empty(len(x), len(weight), *x.shape[2:])
            sources = zip(lower.tolist(), upper.tolist(), weight.tolist(), strict=True)
            for row, (one, other, share) in enumerate(sources):
                torch.lerp(x[:, one], x[:, other], share, out=rows[:, row])
        else:
            lower, upper = lower.to(x.device), upper.to(x.device)
            rows = torch.lerp(x[:, lower], x[:, upper], weight.to(x)[:, None, None])
    return rows.permute(0, 3, 1, 2)


def resize_columns(x: Tensor, width: int) -> Tensor:
    """(B, C, h, w) to (B, C, h, width), bilinear with `align_corners=False`."""
    if width == x.shape[3]:
        return x
    ratio, rest = divmod(width, x.shape[3])
    if x.device.type == "cpu" and not rest and not x.requires_grad:
        return _multiply_columns(x, ratio)
    return F.interpolate(x, size=(x.shape[2], width), mode="bilinear", align_corners=False)


def _multiply_columns(x: Tensor, ratio: int) -> Tensor:
    """`resize_columns` to a multiple of the width, in channels-last memory.

    Every ratio-th column has the same two weights, so a few long operations do it: many times as
    fast as `F.interpolate` on a CPU.
    """
    x = x.permute(0, 2, 3, 1)
    batch, height, width, channels = x.shape
    edged = torch.cat([x[:, :, :1], x, x[:, :, -1:]], dim=2)
    result = x.new_empty(batch, height, width * ratio, channels)
    for phase in range(ratio):
        weight = (phase + 0.5) / ratio - 0.5
        first = int(weight >= 0)
        lower, upper = (edged[:, :, i : i + width] for i in (first, first + 1))
        weight = weight if first else weight + 1
        torch.lerp(lower, upper, weight, out=result[:, :, phase::ratio])
    return result.permute(0, 3, 1, 2)


def resize_band(x: Tensor, size: tuple[int, int], start: int, stop: int) -> Tensor:
    """Rows [start, stop) of `F.interpolate(x, size, mode="bilinear", align_corners=False)`.

    Args:
        x: (B, C, h, w), floating point.
        size: target size (H, W) of the whole map.
    Returns:
        (B, C, stop - start, W), see `resize_rows`.
    """
    return resize_columns(resize_rows(x, size[0], start, stop), size[1])


class ColumnBlocks:
    """The resize of columns as small matrices: blocks of c target columns read s source columns.

    Attributes:
        width: c. The last block may reach beyond the edge, where its matrix is zero.
        padded: number of target columns with those beyond the edge, a multiple of c.
        span: s.
        columns: (blocks s,) int64, the source columns of all blocks.
        matrix: (blocks, c, s).
    """

    def __init__(self, source: int, target: int, dtype: torch.dtype, device: torch.device) -> None:
        self.width = math.ceil(target / math.ceil(target / _BLOCK_COLUMNS))
        starts = range(0, target, self.width)
        self.padded = len(starts) * self.width
        ranges = [
            source_range(source, target, start, min(start + self.width, target)) for start in starts
        ]
        self.span = max(last - first for first, last in ranges)
        first = torch.tensor([min(first, source - self.span) for first, _ in ranges], device=device)
        columns = first[:, None] + torch.arange(self.span, device=device)  # (blocks, s)
        matrix = F.pad(
            resize_matrix(source, target, dtype, device), (0, 0, 0, self.padded - target)
        ).view(len(starts), self.width, source)
        self.columns = columns.flatten()
        self.matrix = matrix.gather(2, columns[:, None].expand(-1, self.width, -1))
