"""How a loss compares activations with targets: its value, and its slope at every property.

Shapes: P pixels, K properties, N categories, m properties of the fullest signature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["LOSS_KINDS", "Comparison", "Room"]

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


@dataclass(frozen=True)
class Room:
    """Memory that a comparison of P pixels works in: to get it anew each time can take longer than
    the work.

    maps: (P, K) each; places: (m, P) int64; picked: three of (m, P), all empty if no members are
    picked; starts: (P,) int64, where each pixel begins in a map.
    """

    maps: tuple[Tensor, ...]
    places: Tensor
    picked: tuple[Tensor, Tensor, Tensor]
    starts: Tensor

    def of(self, pixels: int) -> Room:
        """Part of this memory, for fewer pixels."""
        picks = self.places.numel() // len(self.starts) * pixels
        return Room(
            tuple(x[:pixels] for x in self.maps),
            self.places[:picks].view(-1, pixels),
            tuple(x[:picks].view(-1, pixels) for x in self.picked),
            self.starts[:pixels],
        )


class Comparison:
    """One of the losses, with tables of all targets.

    Attributes:
        maps: how many (P, K) maps it works in, see `Room`.
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
        picks = kind == "cosine" and members.shape[1] * _PICKED_SHARE <= targets.shape[1]
        self._picks = members.shape[1] if picks else 0
        self.maps, self._compare = {
            "cosine": (1, self._cosine_of_members) if picks else (3, self._cosine),
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

    def room(self, pixels: int) -> Room:
        """Memory for so many pixels."""
        like, properties = self.ones, len(self.ones)
        starts = torch.arange(0, pixels * properties, properties, device=like.device)
        return Room(
            tuple(like.new_empty(pixels, properties) for _ in range(self.maps)),
            starts.new_empty(self._picks * pixels),
            tuple(like.new_empty(self._picks * pixels) for _ in range(3)),
            starts,
        )

    def __call__(
        self, rows: Tensor, room: Room, lowest: float | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """
        Args:
            rows: (P,) int64, the row of the tables of every pixel.
            room: for P pixels; the first map holds the logits, (P, K), over the temperature. The
                first part of the answer lies there, too.
            lowest: no logit is below it; None where nobody knows.
        Returns:
            The sum of the losses, and two parts, (P, K) and (P,), whose product is its gradient
            with respect to the logits; the second also weighs the pixels. Both are None if nobody
            needs them.
        """
        activations = room.maps[0]
        if self.temperature is not None:
            activations.sigmoid_()
            if self.clamps and (lowest is None or lowest < _SMALLEST_LOGIT):
                activations.clamp_(min=_SMALLEST_ACTIVATION)
        return self._compare(activations, rows, room)

    def _cosine(
        self, activations: Tensor, rows: Tensor, room: Room
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Minus the cosine, with the length at least 1e-8."""
        # No weights: the targets of pixels that do not count are zero.
        length = torch.linalg.vector_norm(activations, dim=1)
        inverse = length.clamp(min=_COSINE_EPS).reciprocal_()
        _, targets, other = room.maps
        torch.index_select(self.targets, 0, rows, out=targets)
        cosine = torch.mul(targets, activations, out=other).mv(self.ones).mul_(inverse)
        loss = -cosine.sum()
        if not self.need_gradient:
            return loss, None, None
        # Minus the gradient with respect to the activations is (target - pull x activation) over
        # the length, where a clamped length is a constant.
        pull = cosine.mul_(inverse).masked_fill_(length <= _COSINE_EPS, 0)
        slope = targets.addcmul_(activations, pull[:, None], value=-1)
        if self.temperature is not None:
            _sigmoid_backward(slope, activations, grad_input=slope)
        return loss, slope, inverse.neg_()

    def _cosine_of_members(
        self, activations: Tensor, rows: Tensor, room: Room
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The same where few properties belong to a category: those are picked, the zeros of a
        target cost nothing."""
        targets, picked, other = room.picked
        # Several times as fast as `index_select` for these.
        places = torch.gather(self.members, 1, rows.expand_as(targets), out=room.places)
        places = places.add_(room.starts).flatten()
        torch.index_select(self.member_targets, 1, rows, out=targets)
        torch.index_select(activations.flatten(), 0, places, out=picked.flatten())
        length = torch.linalg.vector_norm(activations, dim=1)
        # To look costs less than to prepare for it, but not on a GPU, which would be waited for.
        short = length <= _COSINE_EPS if length.is_cuda or length.min() <= _COSINE_EPS else None
        if short is not None:
            length.clamp_(min=_COSINE_EPS)
        inverse = length.reciprocal_()
        cosine = torch.mul(picked, targets, out=other).sum(0).mul_(inverse)
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
        of_picked = _sigmoid_backward(
            torch.sub(picked, targets, out=other), picked, grad_input=targets
        )
        slope = _sigmoid_backward(activations, activations, grad_input=activations)
        slope.flatten().scatter_(0, places, of_picked.flatten())
        return loss, slope, factor

    def _mse(
        self, activations: Tensor, rows: Tensor, room: Room
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Squared difference, summed over the properties."""
        targets = torch.index_select(self.targets, 0, rows, out=room.maps[1])
        difference = torch.sub(activations, targets, out=targets)
        weights = self.weights.index_select(0, rows)
        loss = torch.linalg.vector_norm(difference, dim=1).square_().dot(weights)
        if not self.need_gradient:
            return loss, None, None
        if self.temperature is not None:
            _sigmoid_backward(difference, activations, grad_input=difference)
        return loss, difference, weights.mul_(2)

    def _bce(
        self, activations: Tensor, rows: Tensor, room: Room
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Binary cross-entropy, logarithms clamped at -100, summed over the properties."""
        targets = torch.index_select(self.targets, 0, rows, out=room.maps[1])
        # The chance of the target is the activation where it is 1, else one minus it: the first is
        # exact in this form, the second off by one rounding.
        chance = torch.sub(1, targets, out=room.maps[2]).sub_(activations).abs_()
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
