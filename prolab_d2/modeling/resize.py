"""Bilinear resizing in bands of rows, so that a full-size map never has to exist at once.

Everywhere `align_corners=False`: output row y reads the source at max(0, (y + 0.5) h / H - 0.5).

Shapes: B batch, C channels, h x w source size, H x W target size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "BlockWindows",
    "ColumnBlocks",
    "WindowCopy",
    "column_phases",
    "resize_band",
    "resize_columns",
    "resize_matrix",
    "resize_rows",
    "source_range",
    "source_rows",
]

# Target columns of a block. Adding up overlapping blocks is slow where they are not alike: then
# they are larger.
_REGULAR_COLUMNS = 16
_IRREGULAR_COLUMNS = 32


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
    return _source_row(source, target, start)[0], _source_row(source, target, stop - 1)[1] + 1


def _source_row(source: int, target: int, row: int) -> tuple[int, int, float]:
    """`source_rows` of one row."""
    position = max(0.0, (row + 0.5) * (source / target) - 0.5)
    lower = min(int(position), source - 1)
    return lower, min(lower + 1, source - 1), position - lower


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
        bottom, top = source_range(total, height, start, stop)
        x = x[:, bottom - first : top - first].contiguous()
        if x.device.type == "cpu" and not x.requires_grad:
            # Row by row, nothing is copied first.
            rows = x.new_empty(len(x), stop - start, *x.shape[2:])
            for row in range(start, stop):
                lower, upper, weight = _source_row(total, height, row)
                ends = x[:, lower - bottom], x[:, upper - bottom]
                torch.lerp(*ends, weight, out=rows[:, row - start])
        else:
            lower, upper, weight = source_rows(total, height, start, stop)
            lower, upper = (lower - bottom).to(x.device), (upper - bottom).to(x.device)
            rows = torch.lerp(x[:, lower], x[:, upper], weight.to(x)[:, None, None])
    return rows.permute(0, 3, 1, 2)


def resize_columns(x: Tensor, width: int) -> Tensor:
    """(B, C, h, w) to (B, C, h, width), bilinear with `align_corners=False`."""
    if width == x.shape[3]:
        return x
    if x.device.type != "cpu" or width % x.shape[3] or x.requires_grad:
        return F.interpolate(x, size=(x.shape[2], width), mode="bilinear", align_corners=False)
    result = x.new_empty(len(x), x.shape[2], width, x.shape[1]).permute(0, 3, 1, 2)
    for columns, part in column_phases(x, width):
        result[..., columns] = part
    return result


def column_phases(x: Tensor, width: int) -> Iterator[tuple[slice, Tensor]]:
    """`resize_columns` in parts, to a multiple of the width and without gradient.

    Every ratio-th column has the same two weights, so a few long operations do it: many times as
    fast as `F.interpolate` on a CPU.

    Yields:
        The target columns [phase::ratio], and their (B, C, h, w) in channels-last memory, which the
        next part overwrites.
    """
    ratio = width // x.shape[3]
    x = x.permute(0, 2, 3, 1)
    lower, upper = x[:, :, :-1], x[:, :, 1:]
    # The same memory for all: new memory costs more time than the arithmetic.
    part = x.new_empty(x.shape)
    for phase in range(ratio):
        weight = (phase + 0.5) / ratio - 0.5
        # Beyond the edge the last column goes on.
        edge, inner = (0, part[:, :, 1:]) if weight < 0 else (-1, part[:, :, :-1])
        torch.lerp(lower, upper, weight % 1, out=inner)
        part[:, :, edge] = x[:, :, edge]
        yield slice(phase, None, ratio), part.permute(0, 3, 1, 2)


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

    The source has one more column of zeros on its left, and some on its right, so that with a
    whole ratio all blocks are alike: each reads `step` columns further right than the one before.
    The fewer columns a block has, the fewer zeros its matrix holds.

    Attributes:
        width: c. The last block may reach beyond the edge, where its matrix is zero.
        padded: number of target columns with those beyond the edge, a multiple of c.
        span: s.
        step: None where the ratio is no whole number.
        starts: the first source column of every block.
        source: number of source columns with those added.
        matrix: (blocks, c, s).
    """

    def __init__(self, source: int, target: int, dtype: torch.dtype, device: torch.device) -> None:
        ratio, rest = divmod(target, source)
        if ratio and not rest:
            self.step = max(1, _REGULAR_COLUMNS // ratio)
            self.width, self.span = self.step * ratio, self.step + 2
            self.starts = [self.step * block for block in range(math.ceil(source / self.step))]
        else:
            self.step = None
            self.width = math.ceil(target / math.ceil(target / _IRREGULAR_COLUMNS))
            ranges = [
                source_range(source, target, start, min(start + self.width, target))
                for start in range(0, target, self.width)
            ]
            self.span = max(last - first for first, last in ranges)
            self.starts = [first + 1 for first, _ in ranges]
        self.padded = len(self.starts) * self.width
        self.source = max(source + 1, self.starts[-1] + self.span)
        matrix = F.pad(
            resize_matrix(source, target, dtype, device),
            (1, self.source - source - 1, 0, self.padded - target),
        ).view(-1, self.width, self.source)
        columns = torch.tensor(self.starts, device=device)[:, None, None]
        columns = columns + torch.arange(self.span, device=device)  # (blocks, 1, s)
        self.matrix = matrix.gather(2, columns.expand(-1, self.width, -1))


class BlockWindows:
    """Which source columns some neighbouring blocks read.

    Attributes:
        source: the source columns [first, last) that these blocks read.
    """

    def __init__(self, blocks: ColumnBlocks, part: slice, device: torch.device) -> None:
        starts = blocks.starts[part]
        self.source = slice(starts[0], starts[-1] + blocks.span)
        self.number, self.span, self.step = len(starts), blocks.span, blocks.step
        if self.step is None:
            columns = torch.tensor(starts, device=device)[:, None] - starts[0]
            self.columns = (columns + torch.arange(self.span, device=device)).flatten()


class WindowCopy:
    """Copies source columns to the windows of blocks, and adds windows up to source columns.

    Between two maps that stay where they are: all views are made once.
    """

    def __init__(self, form: BlockWindows, x: Tensor, windows: Tensor) -> None:
        """
        Args:
            x: (rows, columns, K), the source columns of `form`.
            windows: (rows, blocks, s, K), what each block reads.
        """
        self.x, self.windows, step = x, windows, form.step
        self.columns = None
        if step is None:
            self.columns, self.flat = form.columns, windows.flatten(1, 2)
            return
        self.overlapping = x.unfold(1, form.span, step).transpose(2, 3)
        # As many columns as a step at most: these places do not overlap.
        pieces = [windows[:, :, first : first + step] for first in range(0, form.span, step)]
        places = [
            x[:, step * i :].unfold(1, piece.shape[2], step)[:, : form.number].transpose(2, 3)
            for i, piece in enumerate(pieces)
        ]
        self.first, *self.others = zip(places, pieces, strict=True)
        self.rest = x[:, step * form.number :]  # the columns that the first pieces do not cover

    def read(self) -> None:
        """Sets the windows to the source columns that they read."""
        if self.columns is not None:
            torch.index_select(self.x, 1, self.columns, out=self.flat)
        else:
            self.windows.copy_(self.overlapping)

    def add(self) -> None:
        """Sets the source columns to what the windows sum up to."""
        if self.columns is not None:
            self.x.zero_().index_add_(1, self.columns, self.flat)
            return
        place, piece = self.first
        place.copy_(piece)
        self.rest.zero_()
        for place, piece in self.others:
            place.add_(piece)
