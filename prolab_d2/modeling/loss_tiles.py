"""One pass over the pixels of a batch for a loss, tile by tile: see `losses`.

Shapes: B batch, K properties, h x w feature size, H x W image size; inside a tile: P pixels in
blocks of c columns that read s source columns each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from prolab_d2.modeling.comparisons import Comparison, Room
from prolab_d2.modeling.resize import (
    BlockWindows,
    ColumnBlocks,
    WindowCopy,
    resize_matrix,
    source_range,
)
from prolab_d2.modeling.resized_length import SquaredLengths
from prolab_d2.modeling.threads import image_parts, slices

__all__ = ["Buffers", "Part", "PartRun", "Plan", "Result"]

_TILE_ROWS = 8


@dataclass(frozen=True)
class Part:
    """Target rows of one image, the source rows that they read, and the first of those that no
    part before reads: where two parts meet, they share some."""

    image: int
    target: slice
    source: slice
    own: int


@dataclass(frozen=True)
class Result:
    """Sum of the losses of a part; what it adds to the gradient of its first source rows, those
    that it shares with others, (rows, w, K) or None; and for some target rows how the loss answers
    to a change of their squared lengths, (rows, W)."""

    part: Part
    total: Tensor
    shared: Tensor | None
    answers: list[tuple[slice, Tensor]]


class Plan:
    """What all parts of a batch share: logits, tables and the matrices of the resize."""

    def __init__(
        self,
        logits: Tensor,
        size: tuple[int, int],
        compare: Comparison,
        lengths: SquaredLengths | None,
        share: Tensor,
        tile_entries: int | None,
    ) -> None:
        """
        Args:
            logits: (B, K, h, w).
            size: (H, W).
            lengths: what to divide resized logits by, if anything.
            share: scalar, what the gradient is multiplied with.
            tile_entries: most P x K of a tile (never less than one block of a row).
        """
        dtype, device, properties = logits.dtype, logits.device, logits.shape[1]
        self.logits = logits.permute(0, 2, 3, 1)  # (B, h, w, K)
        if self.logits.stride(3) != 1:
            self.logits = self.logits.contiguous()
        self.height, self.width = size
        self.compare, self.lengths, self.share = compare, lengths, share
        self.need_gradient = compare.need_gradient
        self.scale = 1 / (compare.temperature or 1.0)

        self.vertical = resize_matrix(logits.shape[2], self.height, dtype, device)  # (H, h)
        self.blocks = ColumnBlocks(logits.shape[3], self.width, dtype, device)
        count = len(self.blocks.starts)
        entries = tile_entries or _tile_entries(device)
        block_rows = max(1, entries // (self.blocks.width * properties))
        # Neighbouring rows share their source rows.
        self.tile_rows = min(self.height, max(_TILE_ROWS, block_rows // count), block_rows)
        tile_blocks = min(count, max(1, block_rows // self.tile_rows))
        # Columns last, since factors of pixels are multiplied with these.
        across = self.blocks.matrix.mT * self.scale
        self.columns = []
        for blocks in slices(count, tile_blocks):
            windows = BlockWindows(self.blocks, blocks, device)
            # The windows count from the column that was added on the left.
            first, last = windows.source.start - 1, windows.source.stop - 1
            source = slice(max(0, first), min(last, logits.shape[3]))
            tile = across[blocks].repeat(self.tile_rows, 1, 1)
            self.columns.append(_Columns(blocks, windows, tile, source, source.start - first))

    def parts(self, batch: int) -> list[Part]:
        """The batch in parts of whole tiles."""
        parts: list[Part] = []
        device, step = self.logits.device, self.tile_rows
        for image, target in image_parts(batch, self.height, device, step=step):
            source = self.source(target)
            own = parts[-1].source.stop if target.start else 0
            parts.append(Part(image, target, source, own))
        return parts

    def source(self, target: slice) -> slice:
        """Source rows that target rows read."""
        sources = self.logits.shape[1]
        return slice(*source_range(sources, self.height, target.start, target.stop))


@dataclass(frozen=True)
class _Columns:
    """Neighbouring blocks of columns.

    across: (rows x blocks, s, c), the matrices of all blocks of a tile; source: the columns of the
    logits that they read; left: how many columns beyond the edge come before these.
    """

    blocks: slice
    windows: BlockWindows
    across: Tensor
    source: slice
    left: int


@dataclass(frozen=True)
class _Band:
    """Target rows of a part, and what they read.

    inside: the target rows, counted from the first of the part; source: in the image; down:
    (rows, r), the resize of the r source rows; up: (r, rows), its adjoint times the share; inverse:
    (rows, blocks c), one over the lengths, or None; gradient: (r, w, K) of the source rows, or
    None; lowest: a bound below what the sigmoid sees, or None.
    """

    inside: slice
    source: slice
    down: Tensor
    up: Tensor | None
    inverse: Tensor | None
    gradient: Tensor | None
    lowest: float | None


class Buffers:
    """Memory that all tiles of a thread share, so that it stays in the cache."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        rows, self.properties, like = plan.tile_rows, plan.logits.shape[3], plan.logits
        blocks = max(c.windows.number for c in plan.columns)
        columns = max(c.windows.source.stop - c.windows.source.start for c in plan.columns)
        pixels = rows * blocks * plan.blocks.width
        self.low = like.new_empty(rows * columns * self.properties)
        self.windows = like.new_empty(rows * blocks * plan.blocks.span * self.properties)
        self.room = plan.compare.room(pixels)
        self.across = like.new_empty(2, rows * blocks, plan.blocks.span, plan.blocks.width)
        self.views: dict[tuple[int, int], _Views] = {}

    def of(self, rows: int, columns: _Columns) -> _Views:
        """Views for tiles of some rows and columns: to make them anew each time takes longer than
        some of the arithmetic."""
        key = rows, columns.blocks.start
        if key not in self.views:
            self.views[key] = self._views(rows, columns)
        return self.views[key]

    def _views(self, rows: int, columns: _Columns) -> _Views:
        blocks, properties, windows = self.plan.blocks, self.properties, columns.windows
        count = windows.source.stop - windows.source.start
        low = self.low[: rows * count * properties].view(rows, count, properties)
        first = columns.left
        last = first + columns.source.stop - columns.source.start
        shape = (rows, windows.number, blocks.span, properties)
        cells = self.windows[: math.prod(shape)].view(shape)
        pixels = rows * windows.number * blocks.width
        room = self.room.of(pixels)
        return _Views(
            low,
            low.flatten(1)[:, first * properties : last * properties],
            [edge for edge in (low[:, :first], low[:, last:]) if edge.shape[1]],
            WindowCopy(windows, low, cells),
            cells.flatten(0, 1),
            room,
            columns.across[: rows * windows.number],
            *self.across[:, : rows * windows.number],
        )


@dataclass(frozen=True)
class _Views:
    """low: (rows, columns, K), logits at target rows and source columns; inner: the same without
    the columns beyond the edge, (rows, w' K); edges: those columns; windows: between `low` and
    `cells`; cells: (rows x blocks, s, K), what each block reads; room: of the comparison; across:
    as in `_Columns`; forward, backward: of the same shape, for products with factors of pixels."""

    low: Tensor
    inner: Tensor
    edges: list[Tensor]
    windows: WindowCopy
    cells: Tensor
    room: Room
    across: Tensor
    forward: Tensor
    backward: Tensor


class PartRun:
    """Computes one part tile by tile."""

    def __init__(self, plan: Plan, part: Part, rows: Tensor, gradient: Tensor | None) -> None:
        """
        Args:
            rows: (rows, W) int64, of the table of targets.
            gradient: (h, w, K) of the image, not set yet. Parts run side by side, so each sets its
                own rows: those from its own first one to that of the next part.
        """
        self.plan, self.part = plan, part
        blocks = plan.blocks
        if blocks.padded > plan.width:
            rows = F.pad(rows, (0, blocks.padded - plan.width), value=plan.compare.beyond)
        self.rows = rows.view(len(rows), -1, blocks.width)  # (rows, blocks, c)
        self.logits = plan.logits[part.image]  # (h, w, K)
        self.total = self.logits.new_zeros(())
        self.answers: list[tuple[slice, Tensor]] = []
        # No mixture is below the least of what it mixes. A GPU would have to be waited for.
        self.lowest = None if rows.is_cuda else float(self.logits[part.source].min())
        self.gradient, self.shared, self.set_up_to = gradient, None, part.own
        meeting = [source.stop for _, source in self.bands() if source.start < part.own]
        if gradient is not None and meeting:
            size = meeting[-1] - part.source.start
            self.shared = self.logits.new_zeros(size, *self.logits.shape[1:])

    def bands(self) -> Iterator[tuple[slice, slice]]:
        """Target rows of every tile, and the source rows that they read."""
        target = self.part.target
        for rows in slices(target.stop, self.plan.tile_rows, start=target.start):
            yield rows, self.plan.source(rows)

    def run(self, buffers: Buffers) -> Result:
        for target, source in self.bands():
            self._band(target, source, buffers)
        last = self.part.target.stop == self.plan.height
        self._set_rows(self.plan.logits.shape[1] if last else self.part.source.stop)
        return Result(self.part, self.total, self.shared, self.answers)

    def _band(self, target: slice, source: slice, buffers: Buffers) -> None:
        plan, part = self.plan, self.part
        inverse = moves = padded = gradient = lowest = None
        if self.gradient is not None and source.start < part.own:
            gradient = self.shared[_shifted(source, part.source.start)]
        elif self.gradient is not None:
            self._set_rows(source.stop)
            gradient = self.gradient[source]
        if plan.lengths is not None:
            inverse, moves = plan.lengths.inverse(part.image, target, source)
            padded = F.pad(inverse, (0, plan.blocks.padded - plan.width))
        if self.lowest is not None:
            scale = plan.scale if inverse is None else plan.scale * float(inverse.max())
            lowest = min(0.0, self.lowest) * scale
        down = plan.vertical[target, source]
        band = _Band(
            _shifted(target, part.target.start),
            source,
            down,
            down.T * plan.share if plan.need_gradient else None,
            padded,
            gradient,
            lowest,
        )
        answers = [self._tile(band, columns, buffers) for columns in plan.columns]
        if plan.need_gradient and plan.lengths is not None:
            # A relative change of the logits is -1/2 of that of the squared length.
            answer = torch.cat(answers, 1)[:, : plan.width] * inverse.square() * moves
            self.answers.append((target, answer * (-0.5 * plan.share)))

    def _set_rows(self, stop: int) -> None:
        """Sets the gradient to zero up to a row: here it is in the cache right away, and the kernel
        finds pages for all parts side by side."""
        if self.gradient is not None and stop > self.set_up_to:
            self.gradient[self.set_up_to : stop] = 0
            self.set_up_to = stop

    def _tile(self, band: _Band, columns: _Columns, buffers: Buffers) -> Tensor | None:
        """Adds the loss of some target rows and blocks, and their gradient.

        Returns:
            How the loss answers to a relative change of the logits of a pixel, (rows, blocks c),
            if there are lengths and a gradient is needed.
        """
        plan, width = self.plan, self.plan.blocks.width
        views = buffers.of(len(band.down), columns)
        rows = self.rows[band.inside, columns.blocks].flatten()  # (P,)

        for edge in views.edges:
            edge.zero_()
        source = self.logits[band.source, columns.source].flatten(1)
        torch.mm(band.down, source, out=views.inner)
        views.windows.read()
        across = views.across
        if band.inverse is not None:
            part = slice(columns.blocks.start * width, columns.blocks.stop * width)
            inverse = band.inverse[:, part].reshape(-1, 1, width)
            across = torch.mul(across, inverse, out=views.forward)
        torch.bmm(across.mT, views.cells, out=views.room.maps[0].view(len(across), width, -1))
        loss, slope, factor = plan.compare(rows, views.room, band.lowest)
        self.total += loss
        if band.gradient is None:
            return None

        slope = slope.view(len(across), width, -1)
        across = torch.mul(across, factor.view(-1, 1, width), out=views.backward)
        answer = None
        if plan.lengths is not None:
            # Products of logits and slope, without the logits: they are mixtures of the cells.
            answer = torch.bmm(views.cells, slope.mT).mul_(across).sum(1).view(len(band.down), -1)
        torch.bmm(across, slope, out=views.cells)
        views.windows.add()
        band.gradient[:, columns.source].flatten(1).addmm_(band.up, views.inner)
        return answer


def _shifted(part: slice, start: int) -> slice:
    return slice(part.start - start, part.stop - start)


def _tile_entries(device: torch.device) -> int:
    """P x K of a tile: what stays in the caches of a CPU, or enough to fill a GPU.

    Smaller ones would fit the innermost cache, but threads then wait for each other's calls.
    """
    return 2**19 if device.type == "cpu" else 2**25
