"""Builds optimiser and schedule from a config."""

from __future__ import annotations

from collections.abc import Callable

import torch
from detectron2.config import CfgNode
from detectron2.solver import build_lr_scheduler as build_detectron2_scheduler
from detectron2.solver.build import maybe_add_gradient_clipping
from detectron2.solver.lr_scheduler import LRMultiplier
from torch import nn

from prolab_d2.errors import ProLabError
from prolab_d2.solver.parameters import parameter_groups
from prolab_d2.solver.schedule import WarmupPoly

__all__ = ["build_lr_scheduler", "build_optimizer"]


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """SOLVER.OPTIMIZER over `parameter_groups`, with gradient clipping if the config asks for it.

    Raises:
        ProLabError: the optimiser or the kind of clipping has another name, or the backbone cannot
            have SOLVER.LAYER_DECAY.
    """
    solver = cfg.SOLVER
    multipliers = {"backbone": solver.BACKBONE_MULTIPLIER}
    groups = parameter_groups(
        model,
        solver.BASE_LR,
        solver.WEIGHT_DECAY,
        multipliers,
        layer_decay=solver.LAYER_DECAY,
        decay_embeddings=solver.DECAY_EMBEDDINGS,
    )
    if solver.OPTIMIZER == "ADAMW":
        optimizer = _with_clipping(cfg, torch.optim.AdamW)
        return optimizer(groups, lr=solver.BASE_LR, weight_decay=solver.WEIGHT_DECAY)
    if solver.OPTIMIZER == "SGD":
        optimizer = _with_clipping(cfg, torch.optim.SGD)
        return optimizer(
            groups, lr=solver.BASE_LR, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV
        )
    raise ProLabError(f"SOLVER.OPTIMIZER is {solver.OPTIMIZER!r}: use 'ADAMW' or 'SGD'")


def _with_clipping(
    cfg: CfgNode, optimizer: type[torch.optim.Optimizer]
) -> type[torch.optim.Optimizer]:
    """A class whose steps clip gradients first, as SOLVER.CLIP_GRADIENTS says."""
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if not clip.ENABLED or clip.CLIP_TYPE in ("value", "norm"):
        return maybe_add_gradient_clipping(cfg, optimizer)
    if clip.CLIP_TYPE != "full_model":
        raise ProLabError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE is {clip.CLIP_TYPE!r}: use 'full_model', 'norm' or "
            "'value'"
        )

    class ClippedOptimizer(optimizer):
        def step(self, closure: Callable[[], float] | None = None) -> float | None:
            parameters = [p for group in self.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, clip.CLIP_VALUE, clip.NORM_TYPE)
            return super().step(closure)

    return ClippedOptimizer


def build_lr_scheduler(
    cfg: CfgNode, optimizer: torch.optim.Optimizer
) -> torch.optim.lr_scheduler.LRScheduler:
    """The schedule SOLVER.LR_SCHEDULER_NAME: "WarmupPolyLR" here, else one of Detectron2's own."""
    solver = cfg.SOLVER
    if solver.LR_SCHEDULER_NAME != "WarmupPolyLR":
        return build_detectron2_scheduler(cfg, optimizer)
    schedule = WarmupPoly(
        power=solver.POLY_LR_POWER,
        end=solver.END_LR_FACTOR,
        warmup=solver.WARMUP_ITERS / solver.MAX_ITER,
        warmup_factor=solver.WARMUP_FACTOR,
    )
    return LRMultiplier(optimizer, multiplier=schedule, max_iter=solver.MAX_ITER)
