"""The fused property losses: value and gradient from low-resolution logits, in bands of rows.

Written out, a loss resizes the logits to the size of the labels, divides them by the temperature,
takes the sigmoid and compares every pixel with the signature of its label: several (B, K, H, W)
maps, kept for backward. Here a band of output rows is made, compared, differentiated and carried
back to the low-resolution gradient while it is in the cache; only that gradient is kept.

Resizing is a pair of small matrix products (rows, then columns in blocks), so that its adjoint is
the transposed pair, and factors that belong to a pixel (one over the temperature, one over the
length of the embedding, the slope of the loss) go into the column matrix instead of costing a pass
over all K properties.

Shapes: B batch, K properties, N categories, D embedding, h x w feature size, H x W image size;
inside a band: P pixels in blocks of c columns that read s source columns each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from prolab_d2.modeling.resize import BlockWindows, ColumnBlocks, resize_matrix, source_range
from prolab_d2.modeling.resized_length import SquaredLengths
from prolab_d2.modeling.threads import in_threads, slices

__all__ = ["LOSS_KINDS", "LossOptions", "banded_loss", "target_members"]

LOSS_KINDS = ("cosine", "bce", "mse")
_COSINE_EPS = 1e-8
# Smaller activations change no result, but their squares are denormal numbers, with which a CPU
# takes a hundred times as long.
_SMALLEST_ACTIVATION = 1e-18
_SMALLEST_PULL = 1e-30
_TILE_ROWS = 8
# How many (P, K) maps a comparison works in.
_MAPS = {"cosine": 1, "bce": 3, "mse": 2}

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input


@dataclass(frozen=True)
class LossOptions:
    """What one call of `banded_loss` computes.

    Attributes:
        kind: "cosine", "bce" or "mse".
        temperature: divides the logits before the sigmoid; None: the logits are the activations.
        count_unlabelled: unlabelled pixels take part, with an all-zero target.
        band_entries: most pixels x K of a tile (never less than one block of a row).
    """

    kind: str
    temperature: float | None
    count_unlabelled: bool
    band_entries: int | None = None


def banded_loss(
    logits: Tensor,
    rows: Tensor,
    targets: Tensor,
    options: LossOptions,
    denominator: Tensor,
    squared_lengths: Tensor | None = None,
    members: Tensor | None = None,
) -> Tensor:
    """Sum of a loss over all pixels, divided by `denominator`.

    Args:
        logits: (B, K, h, w) float32 or float64.
        rows: (B, H, W) int64 in [0, N]: the row of `targets` of every pixel, N where unlabelled.
        targets: (N, K) of the type of the logits: the signatures, for "cosine" over their length.
        denominator: scalar.
        squared_lengths: (B, 3, h, W) from `squared_length_rows`: divide the resized logits of
            every pixel by the length of its resized embedding.
        members: `target_members(targets)`, where it is at hand.
    Returns:
        Scalar. For "cosine" the sum of minus the cosine, 0 where unlabelled; for "bce" and "mse"
        the sum over pixels and properties.
    """
    inputs = (logits,) if squared_lengths is None else (logits, squared_lengths)
    need_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    members = target_members(targets) if members is None else members
    return _BandedLoss.apply(
        logits, squared_lengths, rows, targets, members, options, denominator, need_gradient
    )


def target_members(targets: Tensor) -> Tensor:
    """(N, m) int64: the columns that are not zero in every row of (N, K).

    m is the number of those in the fullest row; emptier ones are filled up with other columns.
    """
    hits = (targets != 0).to(torch.float32)
    most = max(1, int(hits.sum(1).max()))
    return hits.topk(most, dim=1).indices.sort(dim=1).values


class _BandedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        squared_lengths: Tensor | None,
        rows: Tensor,
        targets: Tensor,
        members: Tensor,
        options: LossOptions,
        denominator: Tensor,
        need_gradient: bool,
    ) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            batch, height, width = rows.shape
            lengths = None if squared_lengths is None else SquaredLengths(squared_lengths, height)
            plan = _Plan(logits, (height, width), targets, members, options, lengths, need_gradient)
            total = logits.new_zeros(())
            gradient = lengths_gradient = None
            if need_gradient:
                gradient = torch.zeros_like(plan.logits, memory_format=torch.contiguous_format)
                if lengths is not None:
                    lengths_gradient = torch.zeros_like(squared_lengths)

            def run(part: _Part) -> _Result:
                return _PartRun(plan, part, rows[part.image, part.target]).run()

            for done in in_threads(run, plan.parts(batch), logits.device):
                total += done.total
                image, source = done.part.image, done.part.source
                if gradient is not None:
                    gradient[image, source] += done.gradient
                if lengths_gradient is not None:
                    lengths_gradient[image, :, source] += done.lengths_gradient
            ctx.save_for_backward(gradient, lengths_gradient, denominator)
            return total / denominator

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        gradient, lengths_gradient, denominator = ctx.saved_tensors
        scale = grad_output / denominator
        if lengths_gradient is not None:
            lengths_gradient = lengths_gradient * scale
        gradient = (gradient * scale).permute(0, 3, 1, 2)
        return gradient, lengths_gradient, *[None] * 6


@dataclass(frozen=True)
class _Part:
    """Target rows of one image, and the source rows that they read."""

    image: int
    target: slice
    source: slice


@dataclass(frozen=True)
class _Result:
    """Sum of the losses of a part, the gradient (h', w, K) of its h' source rows, and the gradient
    (3, h', W) of their squared lengths; None where not needed."""

    part: _Part
    total: Tensor
    gradient: Tensor | None
    lengths_gradient: Tensor | None


class _Plan:
    """What all parts of a batch share: logits, tables and the matrices of the resize."""

    def __init__(
        self,
        logits: Tensor,
        size: tuple[int, int],
        targets: Tensor,
        members: Tensor,
        options: LossOptions,
        lengths: SquaredLengths | None,
        need_gradient: bool,
    ) -> None:
        dtype, device, properties = logits.dtype, logits.device, logits.shape[1]
        self.logits = logits.permute(0, 2, 3, 1)  # (B, h, w, K)
        self.height, self.width = size
        self.kind, self.temperature = options.kind, options.temperature
        self.lengths = lengths
        self.need_gradient = need_gradient

        # Two more rows of zeros: unlabelled pixels, and columns of a block beyond the edge.
        self.beyond = len(targets) + 1
        self.targets = F.pad(targets, (0, 0, 0, 2))
        self.members = F.pad(members, (0, 0, 0, 2))  # (N + 2, m)
        self.member_targets = self.targets.gather(1, self.members)
        self.weights = targets.new_ones(len(self.targets))
        self.weights[-2:] = targets.new_tensor([options.count_unlabelled, 0])
        self.ones = logits.new_ones(properties)

        self.vertical = resize_matrix(logits.shape[2], self.height, dtype, device)  # (H, h)
        self.blocks = ColumnBlocks(logits.shape[3], self.width, dtype, device)
        count = len(self.blocks.starts)
        entries = options.band_entries or _tile_entries(device) // _MAPS[options.kind]
        block_rows = max(1, entries // (self.blocks.width * properties))
        # Neighbouring rows share their source rows.
        self.tile_rows = min(self.height, max(_TILE_ROWS, block_rows // count), block_rows)
        tile_blocks = min(count, max(1, block_rows // self.tile_rows))
        across = self.blocks.matrix / (options.temperature or 1.0)
        self.columns = [
            _Columns(
                blocks,
                BlockWindows(self.blocks, blocks, device),
                across[blocks].repeat(self.tile_rows, 1, 1),
            )
            for blocks in (
                slice(cut.start, min(cut.stop, count)) for cut in slices(count, tile_blocks)
            )
        ]

    def parts(self, batch: int) -> list[_Part]:
        """The batch in parts of whole tiles, at least two for every thread if possible."""
        bands = math.ceil(self.height / self.tile_rows)
        threads = torch.get_num_threads() if self.logits.device.type == "cpu" else 1
        per_image = math.ceil(2 * threads / batch) if threads > 1 else 1
        step = math.ceil(bands / per_image) * self.tile_rows
        return [
            _Part(image, target, self.source(target))
            for image in range(batch)
            for target in slices(self.height, step)
        ]

    def source(self, target: slice) -> slice:
        """Source rows that target rows read."""
        sources = self.logits.shape[1]
        return slice(*source_range(sources, self.height, target.start, target.stop))


@dataclass(frozen=True)
class _Columns:
    """Neighbouring blocks of columns.

    across: (rows x blocks, c, s), the matrices of all blocks of a tile.
    """

    blocks: slice
    windows: BlockWindows
    across: Tensor


@dataclass(frozen=True)
class _Band:
    """Target rows of a part, and what they read.

    target: in the image; inside: the same rows, counted from the first of the part; source:
    in the image; local: the same, counted from the first of the part; down: (rows, r), the resize
    of the r source rows; inverse: (rows, blocks c), one over the lengths, or None.
    """

    target: slice
    inside: slice
    source: slice
    local: slice
    down: Tensor
    inverse: Tensor | None


class _Buffers:
    """Memory that all tiles of a part share, so that it stays in the cache."""

    def __init__(self, plan: _Plan, like: Tensor) -> None:
        rows, properties = plan.tile_rows, plan.logits.shape[3]
        blocks = max(c.windows.number for c in plan.columns)
        columns = max(c.windows.source.stop - c.windows.source.start for c in plan.columns)
        pixels = rows * blocks * plan.blocks.width
        self.low = like.new_empty(rows * columns * properties)
        self.windows = like.new_empty(rows * blocks * plan.blocks.span * properties)
        self.maps = like.new_empty(_MAPS[plan.kind], pixels, properties)
        # Resized logits, where their products with the slope are asked for.
        lengths = plan.need_gradient and plan.lengths is not None
        self.logits = like.new_empty(pixels, properties) if lengths else None


class _PartRun:
    """Computes one part, which reads h' source rows, tile by tile."""

    def __init__(self, plan: _Plan, part: _Part, rows: Tensor) -> None:
        self.plan, self.part = plan, part
        blocks, source = plan.blocks, plan.logits[part.image, part.source]  # (h', w, K)
        rows = F.pad(rows, (0, blocks.padded - plan.width), value=plan.beyond)
        self.rows = rows.view(len(rows), -1, blocks.width)  # (rows, blocks, c)
        self.edges = (1, blocks.source - source.shape[1] - 1)
        self.logits = F.pad(source, (0, 0, *self.edges))  # (h', w', K)
        self.total = self.logits.new_zeros(())
        self.gradient = torch.zeros_like(self.logits) if plan.need_gradient else None
        self.lengths_gradient = None
        if plan.need_gradient and plan.lengths is not None:
            self.lengths_gradient = self.logits.new_zeros(3, len(self.logits), plan.width)

    def run(self) -> _Result:
        plan, part = self.plan, self.part
        buffers = _Buffers(plan, self.logits)
        for target in slices(part.target.stop, plan.tile_rows, start=part.target.start):
            self._band(target, buffers)
        gradient = self.gradient
        if gradient is not None:
            gradient = gradient[:, self.edges[0] : gradient.shape[1] - self.edges[1]]
        return _Result(part, self.total, gradient, self.lengths_gradient)

    def _band(self, target: slice, buffers: _Buffers) -> None:
        plan, part = self.plan, self.part
        source = plan.source(target)
        inverse = moves = padded = None
        if plan.lengths is not None:
            inverse, moves = plan.lengths.inverse(part.image, target, source)
            padded = F.pad(inverse, (0, plan.blocks.padded - plan.width))
        band = _Band(
            target,
            _shifted(target, part.target.start),
            source,
            _shifted(source, part.source.start),
            plan.vertical[target, source],
            padded,
        )
        answers = [self._tile(band, columns, buffers) for columns in plan.columns]
        if self.lengths_gradient is not None:
            # A relative change of the logits is -1/2 of that of the squared length.
            answer = torch.cat(answers, 1)[:, : plan.width] * inverse.square() * moves * -0.5
            out = self.lengths_gradient[:, band.local]
            plan.lengths.adjoint(target, source, answer, out)

    def _tile(self, band: _Band, columns: _Columns, buffers: _Buffers) -> Tensor | None:
        """Adds the loss of some target rows and blocks, and their gradient.

        Returns:
            How the loss answers to a relative change of the logits of a pixel, (rows, blocks c),
            if there are lengths and a gradient is needed.
        """
        plan, windows, down = self.plan, columns.windows, band.down
        width, span, properties = plan.blocks.width, plan.blocks.span, self.logits.shape[2]
        rows = self.rows[band.inside, columns.blocks].flatten()  # (P,)
        count, number = len(down), windows.number
        place = (band.local, windows.source)

        across = columns.across[: count * number]
        if band.inverse is not None:
            part = slice(columns.blocks.start * width, columns.blocks.stop * width)
            across = across * band.inverse[:, part].reshape(-1, width, 1)
        source = self.logits[place].flatten(1)
        low = buffers.low[: count * source.shape[1]].view(count, -1)
        torch.mm(down, source, out=low)
        cells = buffers.windows[: count * number * span * properties].view(-1, span, properties)
        windows.read(low.view(count, -1, properties), cells.view(count, number, span, properties))
        activations = logits = buffers.maps[0, : len(rows)]  # (P, K)
        if buffers.logits is not None:
            logits = buffers.logits[: len(rows)]
        torch.bmm(across, cells, out=logits.view(-1, width, properties))

        if plan.temperature is None:
            if logits is not activations:
                activations.copy_(logits)
        else:
            torch.sigmoid(logits, out=activations)
            if plan.kind != "bce":  # whose logarithm sees the difference
                activations.clamp_(min=_SMALLEST_ACTIVATION)
        loss, slope, factor = _COMPARE[plan.kind](activations, rows, buffers.maps, plan)
        self.total += loss
        if self.gradient is None:
            return None

        answer = None
        if buffers.logits is not None:
            answer = logits.mul_(slope).mv(plan.ones).mul_(factor).view(count, -1)
        across = across * factor.view(-1, width, 1)
        torch.bmm(across.mT, slope.view(-1, width, properties), out=cells)
        windows.add(cells.view(count, number, span, properties), low.view(count, -1, properties))
        self.gradient[place].flatten(1).addmm_(down.T, low)
        return answer


def _shifted(part: slice, start: int) -> slice:
    return slice(part.start - start, part.stop - start)


def _tile_entries(device: torch.device) -> int:
    """P x K of all maps of a tile: what stays in the caches of a CPU, or enough to fill a GPU.

    Smaller ones would fit the innermost cache, but threads then wait for each other's calls.
    """
    return 2**19 if device.type == "cpu" else 2**25


def _compare_cosine(
    activations: Tensor, rows: Tensor, buffers: Tensor, plan: _Plan
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Minus the cosine, with the length at least 1e-8. The targets are unit vectors or zero.

    Like its siblings it takes activations (P, K), the first of the buffers (.., P, K), all of which
    it may overwrite, and the rows (P,) of the tables of the plan. It returns the sum of the losses
    and two parts, (P, K) and (P,), whose product is the gradient with respect to the logits over
    the temperature; the second also weighs the pixels. Both are None if nobody needs them.
    """
    # Few properties belong to a category: those are picked, the zeros of a target cost nothing.
    # No weights: the targets of pixels that do not count are zero.
    members = plan.members.index_select(0, rows)  # (P, m)
    targets = plan.member_targets.index_select(0, rows)
    length = torch.linalg.vector_norm(activations, dim=1)
    long = length > _COSINE_EPS
    inverse = length.clamp_(min=_COSINE_EPS).reciprocal_()
    picked = activations.gather(1, members)
    cosine = (picked * targets).sum(1).mul_(inverse)
    loss = -cosine.sum()
    if not plan.need_gradient:
        return loss, None, None
    # The gradient with respect to the activations is (pull x activation - target) / length, where
    # a clamped length is a constant.
    pull = cosine.mul_(inverse)
    if plan.temperature is None:
        slope = activations.mul_(torch.where(long, pull, 0)[:, None])
        return loss, slope.scatter_add_(1, members, targets.neg_()), inverse
    # Times the slope of the sigmoid, and with `pull` before the bracket, so that its first term
    # needs no factor. Activations are above zero, hence `pull`, too, where there is a target.
    # Where the length is clamped, activations are so small that any number will do.
    pull = torch.where(long, pull, 1e-3 * targets[:, 0])
    slope = _sigmoid_backward(activations, activations, grad_input=activations)
    targets.mul_(picked).mul_(picked.sub_(1)).div_(pull.clamp(min=_SMALLEST_PULL)[:, None])
    return loss, slope.scatter_add_(1, members, targets), pull.mul_(inverse)


def _compare_mse(
    activations: Tensor, rows: Tensor, buffers: Tensor, plan: _Plan
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Squared difference, summed over the properties."""
    targets = torch.index_select(plan.targets, 0, rows, out=buffers[1, : len(rows)])
    difference = torch.sub(activations, targets, out=targets)
    weights = plan.weights.index_select(0, rows)
    loss = torch.linalg.vector_norm(difference, dim=1).square_().dot(weights)
    if not plan.need_gradient:
        return loss, None, None
    if plan.temperature is not None:
        _sigmoid_backward(difference, activations, grad_input=difference)
    return loss, difference, weights.mul_(2)


def _compare_bce(
    activations: Tensor, rows: Tensor, buffers: Tensor, plan: _Plan
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Binary cross-entropy, logarithms clamped at -100, summed over the properties."""
    targets = torch.index_select(plan.targets, 0, rows, out=buffers[1, : len(rows)])
    # The chance of the target is the activation where it is 1, else one minus it: the first is
    # exact in this form, the second off by one rounding.
    chance = torch.sub(1, targets, out=buffers[2, : len(rows)]).sub_(activations).abs_()
    # A product with ones is the fastest sum over rows.
    weights = plan.weights.index_select(0, rows)
    loss = -chance.log_().clamp_(min=-100).mv(plan.ones).dot(weights)
    if not plan.need_gradient:
        return loss, None, None
    one = torch.ones_like(weights[:1])
    activations.clamp_(min=_SMALLEST_ACTIVATION)
    # (activation - target) / (activation (1 - activation)), the divisor at least 1e-12.
    slope = torch.ops.aten.binary_cross_entropy_backward.grad_input(
        one, activations, targets, None, 0, grad_input=chance
    )
    _sigmoid_backward(slope, activations, grad_input=slope)
    return loss, slope, weights


_COMPARE = {"cosine": _compare_cosine, "bce": _compare_bce, "mse": _compare_mse}
