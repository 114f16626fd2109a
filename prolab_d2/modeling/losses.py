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

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from prolab_d2.modeling.resize import ColumnBlocks, resize_matrix, source_range
from prolab_d2.modeling.resized_length import SquaredLengths

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
            height, width = rows.shape[1:]
            lengths = None if squared_lengths is None else SquaredLengths(squared_lengths, height)
            bands = _Bands(logits, (height, width), targets, options, lengths, need_gradient)
            total = sum(bands.run(image, rows[image]) for image in range(len(rows)))
            if need_gradient:
                ctx.save_for_backward(
                    bands.gradient, None if lengths is None else lengths.gradient, denominator
                )
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
class _Image:
    """One image on its way through the bands.

    rows (H, blocks c) int64, weights and losses (H, blocks c): of every pixel and those beyond the
    edge; cells (h, blocks s, K): the source columns as the blocks read them; and their gradient.
    """

    index: int
    rows: Tensor
    weights: Tensor
    losses: Tensor
    cells: Tensor
    gradient: Tensor | None


class _Bands:
    """Value and gradient of a batch, image by image, band by band.

    Attributes:
        gradient: (B, h, w, K), the sum over the images that ran; None if none is needed.
    """

    def __init__(
        self,
        logits: Tensor,
        size: tuple[int, int],
        targets: Tensor,
        options: LossOptions,
        lengths: SquaredLengths | None,
        need_gradient: bool,
    ) -> None:
        (height, width), properties = size, logits.shape[1]
        self.logits = logits.permute(0, 2, 3, 1)  # (B, h, w, K)
        self.width = width
        self.temperature = options.temperature
        self.kind = options.kind
        self.lengths = lengths
        self.gradient = None
        if need_gradient:
            self.gradient = torch.zeros_like(self.logits, memory_format=torch.contiguous_format)
        self.vertical = resize_matrix(logits.shape[2], height, logits.dtype, logits.device)
        self.blocks = ColumnBlocks(logits.shape[3], width, logits.dtype, logits.device)

        # Two more rows of zeros: unlabelled pixels, and columns of a block beyond the edge.
        self.beyond = len(targets) + 1
        self.targets = F.pad(targets, (0, 0, 0, 2))
        self.weights = targets.new_ones(len(self.targets))
        self.weights[-2:] = targets.new_tensor([options.count_unlabelled, 0])

        entries = options.band_entries or _band_entries(logits.device)
        self.band_rows = min(height, max(1, entries // (self.blocks.padded * properties)))
        # The matrices of all blocks of a band, (rows x blocks, c, s).
        across = self.blocks.matrix / (options.temperature or 1.0)
        self.across = across.repeat(self.band_rows, 1, 1)
        # Memory that all bands share, so that it stays in the cache.
        self.buffers = logits.new_empty(3, self.band_rows * self.blocks.padded, properties)
        self.ones = logits.new_ones(properties)

    def run(self, index: int, rows: Tensor) -> Tensor:
        """Sum of the losses of one image with target rows (H, W); adds its gradient."""
        rows = F.pad(rows, (0, self.blocks.padded - self.width), value=self.beyond)
        cells = self.logits[index].contiguous().index_select(1, self.blocks.columns)
        weights = self.weights[rows]
        image = _Image(
            index=index,
            rows=rows,
            weights=weights,
            losses=torch.empty_like(weights),
            cells=cells,
            gradient=None if self.gradient is None else torch.zeros_like(cells),
        )
        for start in range(0, len(rows), self.band_rows):
            self._band(image, slice(start, min(start + self.band_rows, len(rows))))
        if image.gradient is not None:
            self.gradient[index].index_add_(1, self.blocks.columns, image.gradient)
        return image.losses.mul_(weights).sum()

    def _band(self, image: _Image, target: slice) -> None:
        """Target rows of one image: writes their losses, adds to the gradient of the cells."""
        rows, weights, losses = image.rows[target], image.weights[target], image.losses[target]
        source = slice(*source_range(len(image.cells), len(image.rows), target.start, target.stop))
        width, properties = self.blocks.width, image.cells.shape[2]  # c, K
        down = self.vertical[target, source]
        low = (down @ image.cells[source].flatten(1)).view(-1, self.blocks.span, properties)
        across = self.across[: len(low)]
        if self.lengths is not None:
            inverse, moves = self.lengths.inverse(image.index, target, source)
            inverse = F.pad(inverse, (0, self.blocks.padded - self.width))
            across = across * inverse.view(-1, width, 1)

        activations, targets, spare = self.buffers[:, : rows.numel()]  # (P, K) each
        torch.bmm(across, low, out=activations.view(-1, width, properties))
        if self.temperature is not None:
            activations.sigmoid_()
            if self.kind != "bce":  # whose logarithm sees the difference
                activations.clamp_(min=_SMALLEST_ACTIVATION)
        torch.index_select(self.targets, 0, rows.flatten(), out=targets)
        values, slope, factor = _COMPARE[self.kind](activations, targets, spare, self.ones)
        losses.copy_(values.view_as(losses))
        if image.gradient is None:
            return

        if self.temperature is not None:
            torch.ops.aten.sigmoid_backward.grad_input(slope, activations, grad_input=slope)
        slope = slope.view(-1, width, properties)
        across = across * (factor * weights.flatten()).view(-1, width, 1)
        if self.lengths is not None:
            # How the loss answers to a relative change of the logits of a pixel, which is -1/2 of
            # the relative change of the squared length.
            answer = (torch.bmm(slope, low.mT) * across).sum(2).view_as(inverse)
            answer = (answer * inverse.square())[:, : self.width] * moves * -0.5
            self.lengths.accumulate(image.index, target, source, answer)
        low = torch.bmm(across.mT, slope)  # (rows x blocks, s, K)
        image.gradient[source].flatten(1).addmm_(down.T, low.view(len(rows), -1))


def _band_entries(device: torch.device) -> int:
    """P x K of a band: what fits the caches of the CPU cores, or enough to fill a GPU."""
    if device.type == "cpu":
        return 2**17 * max(2, torch.get_num_threads())
    return 2**26


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
