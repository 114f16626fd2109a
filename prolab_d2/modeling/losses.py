"""The fused property losses: value and gradient from low-resolution logits, in bands of rows.

Written out, a loss resizes the logits to the size of the labels, divides them by the temperature,
takes the sigmoid and compares every pixel with the signature of its label: several (B, K, H, W)
maps, kept for backward. Here a band of output rows is made, compared, differentiated and carried
back to the low-resolution gradient while it is in the cache; only that gradient is kept.

Resizing is a pair of small matrix products (rows, then columns in blocks), so that its adjoint is
the transposed pair, and factors that belong to a pixel (one over the temperature, one over the
length of the embedding, the slope of the loss) go into the column matrix instead of costing a pass
over all K properties.

Shapes: B batch, K properties, N categories, h x w feature size, H x W image size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from prolab_d2.modeling.comparisons import LOSS_KINDS, Comparison
from prolab_d2.modeling.loss_tiles import Buffers, Part, PartRun, Plan, Result
from prolab_d2.modeling.resized_length import SquaredLengths
from prolab_d2.modeling.threads import Shared, in_threads

__all__ = ["LOSS_KINDS", "LossOptions", "banded_loss", "target_members"]


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
            share = 1 / denominator.to(logits.dtype)
            compare = Comparison(
                options.kind,
                options.temperature,
                targets,
                members,
                options.count_unlabelled,
                need_gradient,
            )
            plan = Plan(logits, (height, width), compare, lengths, share, options.band_entries)
            total = logits.new_zeros(())
            gradient = lengths_gradient = None
            if need_gradient:
                gradient = logits.new_empty(plan.logits.shape)
                if lengths is not None:
                    lengths_gradient = torch.zeros_like(squared_lengths)

            buffers = Shared(lambda: Buffers(plan))

            def run(part: Part) -> Result:
                own = gradient[part.image] if need_gradient else None
                with buffers.one() as memory:
                    return PartRun(plan, part, rows[part.image, part.target], own).run(memory)

            for done in in_threads(run, plan.parts(batch), logits.device):
                total += done.total
                image = done.part.image
                if done.shared is not None:
                    first = done.part.source.start
                    gradient[image, first : first + len(done.shared)] += done.shared
                for target, answer in done.answers:
                    source = plan.source(target)
                    lengths.adjoint(target, source, answer, lengths_gradient[image, :, source])
            ctx.save_for_backward(gradient, lengths_gradient)
            return total * share

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        gradient, lengths_gradient = ctx.saved_tensors
        # On a GPU, to look would cost more than the pass that it may save.
        if grad_output.device.type != "cpu" or grad_output.item() != 1:
            gradient = gradient * grad_output
            if lengths_gradient is not None:
                lengths_gradient = lengths_gradient * grad_output
        return gradient.permute(0, 3, 1, 2), lengths_gradient, *[None] * 6
