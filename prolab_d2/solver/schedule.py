"""Polynomial decay with linear warm-up."""

from __future__ import annotations

from fvcore.common.param_scheduler import ParamScheduler

__all__ = ["WarmupPoly"]


class WarmupPoly(ParamScheduler):
    """Factor of the base learning rate at a point of the training.

    decay(t) = (1 - end) (1 - t)^power + end, multiplied during the warm-up by
    1 - (1 - t / warmup)(1 - warmup_factor): the warm-up scales the already decaying value, as the
    published training does.
    """

    def __init__(
        self, power: float = 1.0, end: float = 0.0, warmup: float = 0.0, warmup_factor: float = 1e-6
    ) -> None:
        """
        Args:
            power: exponent of the decay.
            end: factor that the decay ends at, in [0, 1].
            warmup: length of the warm-up as a fraction of the training, in [0, 1].
            warmup_factor: factor at the first iteration, in [0, 1].
        """
        self.power = power
        self.end = end
        self.warmup = warmup
        self.warmup_factor = warmup_factor

    def __call__(self, where: float) -> float:
        """
        Args:
            where: iteration / last iteration, in [0, 1].
        """
        factor = (1 - self.end) * (1 - where) ** self.power + self.end
        if where < self.warmup:
            factor *= 1 - (1 - where / self.warmup) * (1 - self.warmup_factor)
        return factor
