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

from prolab_d2.modeling.resize import ColumnBlocks, resize_matrix, source_range
from prolab_d2.modeling.resized_length import SquaredLengths
from prolab_d2.modeling.threads import in_threads, slices

__all__ = ["LOSS_KINDS", "LossOptions", "banded_loss"]

LOSS_KINDS = ("cosine", "bce", "mse")
_COSINE_EPS = 1e-8
# Smaller activations change no result, but their squares are denormal numbers, with which a CPU
# takes a hundred times as long.
_SMALLEST_ACTIVATION = 1e-18


@dataclass(frozen=True)
class LossOptions:
    """What one call of `banded_loss` computes.

    Attributes:
        kind: "cosine", "bce" or "mse".
        temperature: divides the logits before the sigmoid; None: the logits are the activations.
        count_unlabelled: unlabelled pixels take part, with an all-zero target.
        band_entries: most pixels x K of a band (never less than one row).
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
) -> Tensor:
    """Sum of a loss over all pixels, divided by `denominator`.

    Args:
        logits: (B, K, h, w) float32 or float64.
        rows: (B, H, W) int64 in [0, N]: the row of `targets` of every pixel, N where unlabelled.
        targets: (N, K) of the type of the logits: the signatures, for "cosine" over their length.
        denominator: scalar.
        squared_lengths: (B, 3, h, W) from `squared_length_rows`: divide the resized logits of
            every pixel by the length of its resized embedding.
    Returns:
        Scalar. For "cosine" the sum of minus the cosine, 0 where unlabelled; for "bce" and "mse"
        the sum over pixels and properties.
    """
    inputs = (logits,) if squared_lengths is None else (logits, squared_lengths)
    need_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    return _BandedLoss.apply(
        logits, squared_lengths, rows, targets, options, denominator, need_gradient
    )


class _BandedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        squared_lengths: Tensor | None,
        rows: Tensor,
        targets: Tensor,
        options: LossOptions,
        denominator: Tensor,
        need_gradient: bool,
    ) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            batch, height, width = rows.shape
            lengths = None if squared_lengths is None else SquaredLengths(squared_lengths, height)
            plan = _Plan(logits, (height, width), targets, options, lengths, need_gradient)
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
        return gradient, lengths_gradient, None, None, None, None, None


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
        self.weights = targets.new_ones(len(self.targets))
        self.weights[-2:] = targets.new_tensor([options.count_unlabelled, 0])
        self.ones = logits.new_ones(properties)

        self.vertical = resize_matrix(logits.shape[2], self.height, dtype, device)  # (H, h)
        self.blocks = ColumnBlocks(logits.shape[3], self.width, dtype, device)
        entries = options.band_entries or _band_entries(device)
        self.band_rows = min(self.height, max(1, entries // (self.blocks.padded * properties)))
        # The matrices of all blocks of a band, (rows x blocks, c, s).
        across = self.blocks.matrix / (options.temperature or 1.0)
        self.across = across.repeat(self.band_rows, 1, 1)

    def parts(self, batch: int) -> list[_Part]:
        """The batch in parts of whole bands, at least two for every thread if possible."""
        bands = math.ceil(self.height / self.band_rows)
        threads = torch.get_num_threads() if self.logits.device.type == "cpu" else 1
        per_image = math.ceil(2 * threads / batch) if threads > 1 else 1
        step = math.ceil(bands / per_image) * self.band_rows
        return [
            _Part(image, target, self.source(target))
            for image in range(batch)
            for target in slices(self.height, step)
        ]

    def source(self, target: slice) -> slice:
        """Source rows that target rows read."""
        sources = self.logits.shape[1]
        return slice(*source_range(sources, self.height, target.start, target.stop))


class _PartRun:
    """Computes one part, which reads h' source rows, band by band."""

    def __init__(self, plan: _Plan, part: _Part, rows: Tensor) -> None:
        self.plan, self.part = plan, part
        blocks = plan.blocks
        self.rows = F.pad(rows, (0, blocks.padded - plan.width), value=plan.beyond)
        self.weights = plan.weights[self.rows]  # (rows, blocks c)
        self.logits = plan.logits[part.image, part.source].contiguous()  # (h', w, K)
        # Source columns as the blocks read them, (h', blocks s, K).
        self.cells = self.logits.index_select(1, blocks.columns)
        self.total = self.logits.new_zeros(())
        self.cells_gradient = torch.zeros_like(self.cells) if plan.need_gradient else None
        self.lengths_gradient = None
        if plan.need_gradient and plan.lengths is not None:
            self.lengths_gradient = self.logits.new_zeros(3, len(self.logits), plan.width)

    def run(self) -> _Result:
        plan, part = self.plan, self.part
        # Memory that all bands share, so that it stays in the cache.
        pixels = plan.band_rows * plan.blocks.padded
        buffers = self.logits.new_empty(3, pixels, self.logits.shape[2])
        for target in slices(part.target.stop, plan.band_rows, start=part.target.start):
            self._band(target, buffers)
        gradient = None
        if self.cells_gradient is not None:
            gradient = torch.zeros_like(self.logits)
            gradient.index_add_(1, plan.blocks.columns, self.cells_gradient)
        return _Result(part, self.total, gradient, self.lengths_gradient)

    def _band(self, target: slice, buffers: Tensor) -> None:
        """Adds the loss of some target rows, and their gradient to that of the cells."""
        plan, part = self.plan, self.part
        width, properties = plan.blocks.width, self.cells.shape[2]  # c, K
        source = plan.source(target)
        inside = slice(target.start - part.target.start, target.stop - part.target.start)
        rows, weights = self.rows[inside], self.weights[inside]
        local = slice(source.start - part.source.start, source.stop - part.source.start)

        down = plan.vertical[target, source]
        low = (down @ self.cells[local].flatten(1)).view(-1, plan.blocks.span, properties)
        across = plan.across[: len(low)]
        if plan.lengths is not None:
            inverse, moves = plan.lengths.inverse(part.image, target, source)
            inverse = F.pad(inverse, (0, plan.blocks.padded - plan.width))
            across = across * inverse.view(-1, width, 1)

        activations, targets, spare = buffers[:, : rows.numel()]  # (P, K) each
        torch.bmm(across, low, out=activations.view(-1, width, properties))
        if plan.temperature is not None:
            activations.sigmoid_()
            if plan.kind != "bce":  # whose logarithm sees the difference
                activations.clamp_(min=_SMALLEST_ACTIVATION)
        torch.index_select(plan.targets, 0, rows.flatten(), out=targets)
        losses, slope, factor = _COMPARE[plan.kind](activations, targets, spare, plan.ones)
        weights = weights.flatten()
        self.total += losses.mul_(weights).sum()
        if self.cells_gradient is None:
            return

        if plan.temperature is not None:
            torch.ops.aten.sigmoid_backward.grad_input(slope, activations, grad_input=slope)
        slope = slope.view(-1, width, properties)
        across = across * (factor * weights).view(-1, width, 1)
        if plan.lengths is not None:
            # How the loss answers to a relative change of the logits of a pixel, which is -1/2 of
            # the relative change of the squared length.
            answer = (torch.bmm(slope, low.mT) * across).sum(2).view_as(inverse)
            answer = (answer * inverse.square())[:, : plan.width] * moves * -0.5
            plan.lengths.adjoint(target, source, answer, self.lengths_gradient[:, local])
        low = torch.bmm(across.mT, slope)  # (rows x blocks, s, K)
        self.cells_gradient[local].flatten(1).addmm_(down.T, low.view(len(rows), -1))


def _band_entries(device: torch.device) -> int:
    """P x K of a band: what stays in the cache of a CPU core, or enough to fill a GPU."""
    return 2**18 if device.type == "cpu" else 2**25


def _compare_cosine(
    activations: Tensor, targets: Tensor, spare: Tensor, ones: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Minus the cosine, with the length at least 1e-8. `targets` are unit vectors or zero.

    Like its siblings it takes (P, K) tensors and K ones, may overwrite all but the ones, and
    returns the losses (P,) and two parts, (P, K) and (P,), whose product is the gradient with
    respect to the activations.
    """
    length = torch.linalg.vector_norm(activations, dim=1)
    inverse = length.clamp(min=_COSINE_EPS).reciprocal_()
    # A product with ones is the fastest sum over rows.
    cosine = torch.mul(activations, targets, out=spare).mv(ones).mul_(inverse)
    # The gradient is minus (target - cosine x activation / length) / length; a clamped length is
    # a constant.
    pull = torch.where(length > _COSINE_EPS, cosine * inverse, 0)
    targets.addcmul_(activations, pull[:, None], value=-1)
    return cosine.neg_(), targets, inverse.neg_()


def _compare_mse(
    activations: Tensor, targets: Tensor, spare: Tensor, ones: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Squared difference, summed over the properties."""
    difference = torch.sub(activations, targets, out=targets)
    losses = torch.linalg.vector_norm(difference, dim=1).square_()
    return losses, difference, torch.full_like(losses, 2)


def _compare_bce(
    activations: Tensor, targets: Tensor, spare: Tensor, ones: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Binary cross-entropy, logarithms clamped at -100, summed over the properties."""
    # The chance of the target is the activation where it is 1, else one minus it: the first is
    # exact in this form, the second off by one rounding.
    chance = torch.sub(1, targets, out=spare).sub_(activations).abs_()
    losses = chance.log_().clamp_(min=-100).mv(ones).neg_()
    factor = torch.ones_like(losses)
    activations.clamp_(min=_SMALLEST_ACTIVATION)
    # (activation - target) / (activation (1 - activation)), the divisor at least 1e-12.
    slope = torch.ops.aten.binary_cross_entropy_backward.grad_input(
        factor[:1], activations, targets, None, 0, grad_input=spare
    )
    return losses, slope, factor


_COMPARE = {"cosine": _compare_cosine, "bce": _compare_bce, "mse": _compare_mse}
