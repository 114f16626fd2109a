"""How a loss compares activations with targets: its value, and its slope at every property.

Shapes: P pixels, K properties, N categories, m properties of the fullest signature.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["LOSS_KINDS", "Comparison"]

LOSS_KINDS = ("cosine", "bce", "mse")
_COSINE_EPS = 1e-8
# Smaller activations change no result, but their squares are denormal numbers, with which a CPU
# takes a hundred times as long.
_SMALLEST_ACTIVATION = 1e-18
_SMALLEST_LOGIT = math.log(_SMALLEST_ACTIVATION) + 1e-3
_SMALLEST_PULL = 1e-30
# Up to one property in so many is picked; a pass over all of them takes less time than more picks.
# Measured on a CPU with 256 properties.
_PICKED_SHARE = 8

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input


class Comparison:
    """One of the losses, with tables of all targets.

    Attributes:
        maps: how many (P, K) maps it works in.
        beyond: the row of the tables that stands for no pixel at all.
        need_gradient: whether slopes are asked for.
    """

    def __init__(
        self,
        kind: str,
        temperature: float | None,
        targets: Tensor,
        members: Tensor,
        count_unlabelled: bool,
        need_gradient: bool,
    ) -> None:
        """
        Args:
            temperature: divides the logits before the sigmoid; None: these are the activations.
            targets: (N, K); for "cosine" of length 1 or zero.
            members: (N, m) int64, the columns of every target that may be other than zero.
        """
        self.temperature, self.need_gradient = temperature, need_gradient
        picked = members.shape[1] * _PICKED_SHARE <= targets.shape[1]
        self.maps, self._compare = {
            "cosine": (1, self._cosine_of_members) if picked else (2, self._cosine),
            "bce": (3, self._bce),
            "mse": (2, self._mse),
        }[kind]
        # For "bce" the logarithm would see the difference.
        self.clamps = temperature is not None and kind != "bce"
        # Two more rows of zeros: unlabelled pixels, and those beyond the edge.
        self.beyond = len(targets) + 1
        self.targets = F.pad(targets, (0, 0, 0, 2))
        # (m, N + 2), since sums over m rows are many times as fast as over m columns.
        self.members = F.pad(members, (0, 0, 0, 2)).T.contiguous()
        self.member_targets = self.targets.T.gather(0, self.members)
        self.weights = targets.new_ones(len(self.targets))
        self.weights[-2:] = targets.new_tensor([count_unlabelled, 0])
        self.ones = targets.new_ones(targets.shape[1])

    def __call__(
        self, logits: Tensor, rows: Tensor, maps: Tensor, lowest: float | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """
        Args:
            logits: (P, K), over the temperature. Kept, unless they are the first of the maps.
            rows: (P,) int64, the row of the tables of every pixel.
            maps: (`maps`, P, K) to work in.
            lowest: no logit is below it; None where nobody knows.
        Returns:
            The sum of the losses, and two parts, (P, K) and (P,), whose product is its gradient
            with respect to the logits; the second also weighs the pixels. Both are None if nobody
            needs them.
        """
        activations = maps[0]
        if self.temperature is not None:
            torch.sigmoid(logits, out=activations)
            if self.clamps and (lowest is None or lowest < _SMALLEST_LOGIT):
                activations.clamp_(min=_SMALLEST_ACTIVATION)
        elif logits.data_ptr() != activations.data_ptr():
            activations.copy_(logits)
        return self._compare(activations, rows, maps)

    def _cosine(
        self, activations: Tensor, rows: Tensor, maps: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Minus the cosine, with the length at least 1e-8."""
        # No weights: the targets of pixels that do not count are zero.
        length = torch.linalg.vector_norm(activations, dim=1)
        inverse = length.clamp(min=_COSINE_EPS).reciprocal_()
        other = maps[1, : len(rows)]
        torch.index_select(self.targets, 0, rows, out=other)
        cosine = other.mul_(activations).mv(self.ones).mul_(inverse)
        loss = -cosine.sum()
        if not self.need_gradient:
            return loss, None, None
        # Minus the gradient with respect to the activations is (target - pull x activation) over
        # the length, where a clamped length is a constant.
        pull = cosine.mul_(inverse).masked_fill_(length <= _COSINE_EPS, 0)
        slope = torch.index_select(self.targets, 0, rows, out=other)
        slope.addcmul_(activations, pull[:, None], value=-1)
        if self.temperature is not None:
            _sigmoid_backward(slope, activations, grad_input=slope)
        return loss, slope, inverse.neg_()

    def _cosine_of_members(
        self, activations: Tensor, rows: Tensor, maps: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The same where few properties belong to a category: those are picked, the zeros of a
        target cost nothing."""
        starts = torch.arange(
            0, activations.numel(), activations.shape[1], device=activations.device
        )  # where the pixels begin
        places = self.members.index_select(1, rows).add_(starts).flatten()  # (m P,)
        targets = self.member_targets.index_select(1, rows)  # (m, P)
        picked = activations.flatten().index_select(0, places).view_as(targets)
        length = torch.linalg.vector_norm(activations, dim=1)
        # To look costs less than to prepare for it, but not on a GPU, which would be waited for.
        short = length <= _COSINE_EPS if length.is_cuda or length.min() <= _COSINE_EPS else None
        if short is not None:
            length.clamp_(min=_COSINE_EPS)
        inverse = length.reciprocal_()
        cosine = (picked * targets).sum(0).mul_(inverse)
        loss = -cosine.sum()
        if not self.need_gradient:
            return loss, None, None
        # The gradient with respect to the activations is (pull x activation - target) / length,
        # where a clamped length is a constant.
        pull = cosine.mul_(inverse)
        if self.temperature is None:
            if short is not None:
                pull.masked_fill_(short, 0)
            slope = activations.mul_(pull[:, None])
            slope.flatten().scatter_add_(0, places, targets.neg_().flatten())
            return loss, slope, inverse
        # Times the slope of the sigmoid, and with `pull` before the bracket, so that its first term
        # needs no factor. Activations are above zero, hence `pull`, too, where there is a target.
        # Where the length is clamped, activations are so small that any number will do.
        if short is not None:
            pull = torch.where(short, 1e-3 * targets[0], pull)
        factor = inverse.mul_(pull)
        targets.div_(pull.clamp_(min=_SMALLEST_PULL))
        of_picked = _sigmoid_backward(picked - targets, picked, grad_input=targets)
        slope = _sigmoid_backward(activations, activations, grad_input=activations)
        slope.flatten().scatter_(0, places, of_picked.flatten())
        return loss, slope, factor

    def _mse(
        self, activations: Tensor, rows: Tensor, maps: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Squared difference, summed over the properties."""
        targets = torch.index_select(self.targets, 0, rows, out=maps[1, : len(rows)])
        difference = torch.sub(activations, targets, out=targets)
        weights = self.weights.index_select(0, rows)
        loss = torch.linalg.vector_norm(difference, dim=1).square_().dot(weights)
        if not self.need_gradient:
            return loss, None, None
        if self.temperature is not None:
            _sigmoid_backward(difference, activations, grad_input=difference)
        return loss, difference, weights.mul_(2)

    def _bce(
        self, activations: Tensor, rows: Tensor, maps: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Binary cross-entropy, logarithms clamped at -100, summed over the properties."""
        targets = torch.index_select(self.targets, 0, rows, out=maps[1, : len(rows)])
        # The chance of the target is the activation where it is 1, else one minus it: the first is
        # exact in this form, the second off by one rounding.
        chance = torch.sub(1, targets, out=maps[2, : len(rows)]).sub_(activations).abs_()
        # A product with ones is the fastest sum over rows.
        weights = self.weights.index_select(0, rows)
        loss = -chance.log_().clamp_(min=-100).mv(self.ones).dot(weights)
        if not self.need_gradient:
            return loss, None, None
        one = torch.ones_like(weights[:1])
        activations.clamp_(min=_SMALLEST_ACTIVATION)
        # (activation - target) / (activation (1 - activation)), the divisor at least 1e-12.
        slope = torch.ops.aten.binary_cross_entropy_backward.grad_input(
            one, activations, targets, None, 0, grad_input=chance
        )
        _sigmoid_backward(slope, activations, grad_input=slope)
        return loss, slope, weights
