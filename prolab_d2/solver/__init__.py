"""Optimiser and learning-rate schedule."""

from prolab_d2.solver.build import build_lr_scheduler, build_optimizer
from prolab_d2.solver.schedule import WarmupPoly

__all__ = ["WarmupPoly", "build_lr_scheduler", "build_optimizer"]
