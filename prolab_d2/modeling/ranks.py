"""Losses of a batch that several processes share."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mean_over_ranks"]


def mean_over_ranks(count: Tensor, training: bool) -> Tensor:
    """Mean of `count` over all processes, so that averaged gradients weigh every pixel alike."""
    distributed = torch.distributed
    if not (training and distributed.is_available() and distributed.is_initialized()):
        return count
    total = count.clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()
