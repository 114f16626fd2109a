"""The fused property losses: value and gradient from low-resolution logits, in bands of rows.

Written out, a loss resizes the logits to the size of the labels, divides them by the temperature,
takes the sigmoid and compares every pixel with the signature of its label. That needs several
(B, K, H, W) maps. Here a band of output rows is made, compared, differentiated and carried back to
the low-resolution gradient while it is still in the cache; nothing of it is kept for backward.

Resizing is a pair of small matrix products (first rows, then columns in blocks), so that its
adjoint is the transposed pair, and factors that belong to a pixel (one over the temperature, one
over the length of the embedding, the weight of the pixel) go into the column matrix instead of
costing a pass over all K properties.

Shapes: B batch, K properties, N categories, D embedding, h x w feature size, H x W image size;
inside a band: P pixels in blocks of c columns that read s source columns each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from prolab_d2.modeling.resize import resize_matrix, source_range, source_rows

__all__ = ["LOSS_KINDS", "LossOptions", "banded_loss", "squared_norm_rows"]

LOSS_KINDS = ("cosine", "bce", "mse")
_BLOCK_COLUMNS = 32
# Entries (pixels x K) of a band: few enough for the cache of a CPU core, enough to fill a GPU.
_BAND_ENTRIES = {"cpu": 2**19, "other": 2**26}
_COSINE_EPS = 1e-8
_SQUARED_NORM_EPS = 1e-24


@dataclass(frozen=True)
class LossOptions:
    """What one call of `banded_loss` computes.

    Attributes:
        kind: "cosine", "bce" or "mse".
        temperature: divides the logits before the sigmoid; None: the logits are the activations.
        count_unlabelled: unlabelled pixels take part, with an all-zero target.
        band_entries: upper limit for pixels x K of a band (one row at least).
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
    squared_norms: Tensor | None = None,
) -> Tensor:
    """Sum of a loss over all pixels, divided by `denominator`.

    Args:
        logits: (B, K, h, w) float32 or float64.
        rows: (B, H, W) int64 in [0, N]: the row of `targets` of every pixel, N where unlabelled.
        targets: (N, K) of the type of the logits: the signatures, for "cosine" over their length.
        denominator: scalar. The cosine loss of a labelled pixel counts once, the others K times.
        squared_norms: (B, 2, h, W) from `squared_norm_rows`: divide the resized logits by the
            length of the resized embedding.
    Returns:
        Scalar. For "cosine" the sum of minus the cosine (add one per pixel to get the loss).
    """
    need_gradient = torch.is_grad_enabled() and (
        logits.requires_grad or (squared_norms is not None and squared_norms.requires_grad)
    )
    return _BandedLoss.apply(
        logits, squared_norms, rows, targets, options, denominator, need_gradient
    )


def squared_norm_rows(embedding: Tensor, width: int) -> Tensor:
    """What is needed to know the length of every resized embedding without resizing it.

    The squared length of a bilinear mixture of four neighbours is a sum over their inner products:
    with themselves, with the right, the lower and both diagonal neighbours. These maps have the low
    resolution; the edge is replicated, as the resize does. The two diagonals share their weights.

    Args:
        embedding: (B, D, h, w) float32 or float64.
        width: W of the target.
    Returns:
        (B, 2, h, W): for one row of the source and all columns of the target the squared length,
        and the inner product with the next row.
    """
    e = embedding
    own = e.square().sum(1)
    right = (e[..., :-1] * e[..., 1:]).sum(1)
    down = (e[:, :, :-1] * e[:, :, 1:]).sum(1)
    diagonal = (e[:, :, :-1, :-1] * e[:, :, 1:, 1:]).sum(1)
    diagonal = diagonal + (e[:, :, :-1, 1:] * e[:, :, 1:, :-1]).sum(1)
    right = torch.cat([right, own[:, :, -1:]], 2)  # (B, h, w)
    diagonal = torch.cat([diagonal, 2 * down[:, :, -1:]], 2)
    down = torch.cat([down, own[:, -1:]], 1)
    diagonal = torch.cat([diagonal, 2 * right[:, -1:]], 1)

    same, cross = _squared_weights(e.shape[3], width, e.dtype, e.device)  # (W, w) each
    first = own @ same.T + right @ cross.T
    second = down @ same.T + diagonal @ (0.5 * cross).T
    return torch.stack([first, second], 1)


def _squared_weights(
    source: int, target: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Weights of the squared mixture u x_i + v x_(i+1): u^2 at i and v^2 at i + 1; 2 u v at i.

    Returns:
        Two matrices (target, source).
    """
    lower, upper, weight = (
        part[:, None] for part in source_rows(source, target, 0, target, device)
    )
    same = torch.zeros(target, source, dtype=torch.float64, device=device)
    cross = torch.zeros_like(same)
    same.scatter_add_(1, lower, (1 - weight).square()).scatter_add_(1, upper, weight.square())
    cross.scatter_add_(1, lower, 2 * weight * (1 - weight))
    return same.to(dtype), cross.to(dtype)


class _ColumnBlocks:
    """The resize of columns: blocks of c target columns, each a matrix over s source columns."""

    def __init__(self, source: int, target: int, dtype: torch.dtype, device: torch.device) -> None:
        self.count = math.ceil(target / _BLOCK_COLUMNS)
        self.width = math.ceil(target / self.count)  # c; the last block may reach beyond the edge
        self.padded = self.count * self.width
        ranges = [
            source_range(source, target, start, min(start + self.width, target))
            for start in range(0, target, self.width)
        ]
        self.count = len(ranges)
        self.padded = self.count * self.width
        self.span = max(stop - start for start, stop in ranges)  # s
        first = torch.tensor([min(start, source - self.span) for start, _ in ranges], device=device)
        columns = first[:, None] + torch.arange(self.span, device=device)  # (blocks, s)
        self.columns = columns.flatten()
        matrix = resize_matrix(source, target, dtype, device)
        matrix = F.pad(matrix, (0, 0, 0, self.padded - target)).view(self.count, self.width, source)
        # (blocks, c, s)
        self.matrix = matrix.gather(2, columns[:, None].expand(-1, self.width, -1))


def _bands(
    batch: int, height: int, row_entries: int, limit: int
) -> Iterator[tuple[slice, int, int]]:
    """Images and output rows [start, stop) of bands of at most `limit` entries, or one row."""
    images = max(1, limit // (height * row_entries))
    rows = min(height, max(1, limit // (row_entries * min(images, batch))))
    for image in range(0, batch, images):
        for start in range(0, height, rows):
            yield slice(image, min(image + images, batch)), start, min(start + rows, height)


def _compare(
    activations: Tensor, target: Tensor, weight: Tensor, kind: str, need_gradient: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of a band and its gradient with respect to the activations.

    Args:
        activations: (P, K).
        target: (P, K); overwritten.
        weight: (P,) 0 or 1.
    Returns:
        Sum over pixels; (P, K) and (P,), whose product is the gradient (undefined without
        `need_gradient`).
    """
    if kind == "cosine":
        length = torch.linalg.vector_norm(activations, dim=1)
        clamped = length.clamp(min=_COSINE_EPS)
        cosine = torch.einsum("pk,pk->p", activations, target) / clamped
        if need_gradient:
            pull = torch.where(length >= _COSINE_EPS, -cosine / clamped, 0)
            target.addcmul_(activations, pull[:, None])
        return -cosine.sum(), target, -clamped.reciprocal()
    if kind == "mse":
        difference = torch.sub(activations, target, out=target)
        total = torch.linalg.vector_norm(difference, dim=1).square() @ weight
        return total, difference, 2 * weight
    total = F.binary_cross_entropy(activations, target, reduction="none").sum(1) @ weight
    if need_gradient:
        one = activations.new_ones(())
        target = torch.ops.aten.binary_cross_entropy_backward(one, activations, target, None, 0)
    return total, target, weight


class _BandedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, squared_norms, rows, targets, options, denominator, need_gradient):
        with torch.autocast(logits.device.type, enabled=False):
            total, grad_logits, grad_norms = _run(
                logits, squared_norms, rows, targets, options, need_gradient
            )
            if need_gradient:
                scale = denominator.reciprocal()
                grad_logits.mul_(scale)
                grad_norms = None if grad_norms is None else grad_norms.mul_(scale)
                ctx.save_for_backward(grad_logits, grad_norms)
            return total / denominator

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        grad_logits, grad_norms = ctx.saved_tensors
        grad_norms = None if grad_norms is None else grad_norms * grad_output
        return grad_logits * grad_output, grad_norms, None, None, None, None, None


def _run(
    logits: Tensor,
    squared_norms: Tensor | None,
    rows: Tensor,
    targets: Tensor,
    options: LossOptions,
    need_gradient: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Sum over all pixels, gradient (B, K, h, w) and gradient of the squared norms."""
    batch, properties, low_height, low_width = logits.shape
    height, width = rows.shape[1:]
    dtype, device = logits.dtype, logits.device
    z = logits.permute(0, 2, 3, 1).contiguous()  # (B, h, w, K)
    blocks = _ColumnBlocks(low_width, width, dtype, device)
    vertical = resize_matrix(low_height, height, dtype, device)  # (H, h)
    # Two more rows of zeros: unlabelled pixels (N) and columns beyond the edge (N + 1).
    categories = len(targets)
    targets = F.pad(targets, (0, 0, 0, 2))
    weights = targets.new_ones(categories + 2)
    weights[categories] = float(options.count_unlabelled)
    weights[categories + 1] = 0
    rows = F.pad(rows, (0, blocks.padded - width), value=categories + 1)
    if squared_norms is not None:
        same, cross = _squared_weights(low_height, height, dtype, device)
        norms = F.pad(squared_norms, (0, blocks.padded - width), value=1.0)
        grad_norms = torch.zeros_like(norms) if need_gradient else None
    grad_z = torch.zeros_like(z) if need_gradient else None
    columns = blocks.matrix / (options.temperature or 1.0)
    totals = []

    limit = options.band_entries or _BAND_ENTRIES.get(device.type, _BAND_ENTRIES["other"])
    for images, start, stop in _bands(batch, height, blocks.padded * properties, limit):
        count = images.stop - images.start
        first, last = source_range(low_height, height, start, stop)
        down = vertical[start:stop, first:last].expand(count, -1, -1)
        source = z[images, first:last].flatten(2)  # (images, r, w K)
        cells = torch.bmm(down, source).view(-1, low_width, properties)
        cells = cells.index_select(1, blocks.columns).view(-1, blocks.span, properties)
        across = columns.expand(count * (stop - start), -1, -1, -1).flatten(0, 1)
        if squared_norms is not None:
            part = norms[images, :, first:last]
            down_same, down_cross = same[start:stop, first:last], cross[start:stop, first:last]
            squared = down_same @ part[:, 0] + down_cross @ part[:, 1]  # (images, rows, columns)
            usable = squared >= _SQUARED_NORM_EPS
            inverse = squared.clamp(min=_SQUARED_NORM_EPS).rsqrt()
            across = across * inverse.view(-1, blocks.width, 1)

        activations = torch.bmm(across, cells).view(-1, properties)  # (P, K)
        if options.temperature is not None:
            activations.sigmoid_()
        index = rows[images, start:stop].flatten()
        total, gradient, factor = _compare(
            activations, targets[index], weights[index], options.kind, need_gradient
        )
        totals.append(total)
        if not need_gradient:
            continue
        if options.temperature is not None:
            gradient = torch.ops.aten.sigmoid_backward(gradient, activations)
        gradient = gradient.view(-1, blocks.width, properties)
        across = across * factor.view(-1, blocks.width, 1)
        if squared_norms is not None:
            # d loss / d inverse, times inverse: how the logits answer to their own scale.
            answer = (torch.bmm(gradient, cells.mT) * across).sum(2).view_as(squared)
            slope = torch.where(usable, -0.5 * answer * inverse.square(), 0)
            grad_part = grad_norms[images, :, first:last]
            grad_part[:, 0] += down_same.T @ slope
            grad_part[:, 1] += down_cross.T @ slope
        cells = torch.bmm(across.mT, gradient)  # (P / c, s, K)
        low = cells.new_zeros(count * (stop - start), low_width, properties)
        low.index_add_(1, blocks.columns, cells.view(len(low), -1, properties))
        grad_z[images, first:last] += torch.bmm(down.mT, low.view(count, stop - start, -1)).view(
            count, last - first, low_width, properties
        )
    if grad_z is not None:
        grad_z = grad_z.permute(0, 3, 1, 2)
    if squared_norms is None or not need_gradient:
        grad_norms = None
    else:
        grad_norms = grad_norms[..., :width]
    return torch.stack(totals).sum(), grad_z, grad_norms
