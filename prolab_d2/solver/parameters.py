"""Which learning rate and weight decay every parameter has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from prolab_d2.errors import ProLabError

__all__ = ["layer_multipliers", "parameter_groups"]

# What a transformer adds or puts before its first block.
_INPUT = re.compile(
    r"^backbone\.(?:\w+\.)*?(?:cls_token|mask_token|pos_embed|visual_embed|patch_embed)\b"
)
_BLOCK = re.compile(r"^backbone\.(?:\w+\.)*?blocks\.(\d+)\.")
_EMBEDDING = re.compile(
    r"\.(?:cls_token|mask_token|pos_embed|visual_embed|level_embed|relative_position_bias_table)$"
)


def layer_multipliers(names: Iterable[str], rate: float) -> dict[str, float]:
    """Factors of the learning rate that fall from the last block of the backbone to its input.

    With n blocks, the input has the layer id 0, block i the id i + 1, all else (adapter, heads) the
    id n + 1; the factor is rate ^ (n + 1 - id), as in BEiT and the published training.

    Args:
        names: of all parameters of the model, the backbone's begin with "backbone.".
        rate: SOLVER.LAYER_DECAY in (0, 1].
    Raises:
        ProLabError: the backbone has no numbered blocks, or `rate` is out of range.
    """
    if not 0 < rate <= 1:
        raise ProLabError(f"SOLVER.LAYER_DECAY is {rate}: give a number above 0 and up to 1")
    names = list(names)
    if rate == 1:
        return dict.fromkeys(names, 1.0)
    blocks = {name: int(match[1]) for name in names if (match := _BLOCK.match(name))}
    if not blocks:
        raise ProLabError(
            f"SOLVER.LAYER_DECAY is {rate}, but this backbone has no numbered blocks: set it to 1, "
            "or choose a transformer"
        )
    last = max(blocks.values()) + 2
    ids = {name: 0 if _INPUT.match(name) else blocks.get(name, last - 1) + 1 for name in names}
    return {name: rate ** (last - layer) for name, layer in ids.items()}


def parameter_groups(
    model: nn.Module,
    base_lr: float,
    weight_decay: float,
    multipliers: Mapping[str, float] | None = None,
    *,
    layer_decay: float = 1.0,
    decay_embeddings: bool = True,
) -> list[dict[str, Any]]:
    """Parameters by learning rate and weight decay.

    Vectors and scalars (biases, norms, layer scales) have no weight decay.

    Args:
        multipliers: name of a child module of `model` -> factor of `base_lr`; 1 for all others.
        layer_decay: see `layer_multipliers`.
        decay_embeddings: weight decay for position, level and token embeddings and tables of
            relative positions, too. The published training has it; it meant to leave them out.
    Raises:
        ProLabError: see `layer_multipliers`.
    """
    multipliers = multipliers or {}
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    layers = layer_multipliers(trained, layer_decay)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        lr = base_lr * multipliers.get(name.split(".")[0], 1.0) * layers[name]
        exempt = parameter.ndim <= 1 or name.endswith(".bias")
        exempt |= not decay_embeddings and _EMBEDDING.search(name) is not None
        groups.setdefault((lr, 0.0 if exempt else weight_decay), []).append(parameter)
    return [
        {"params": parameters, "lr": lr, "weight_decay": decay}
        for (lr, decay), parameters in groups.items()
    ]
