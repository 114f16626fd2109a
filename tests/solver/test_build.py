from __future__ import annotations

import pytest
import torch
from detectron2.config import CfgNode
from torch import nn

from prolab_d2 import ProLabError
from prolab_d2.solver import build_optimizer


def test_sgd_takes_momentum_and_nesterov_from_the_config(tiny_cfg: CfgNode) -> None:
    tiny_cfg.merge_from_list(["SOLVER.OPTIMIZER", "SGD", "SOLVER.NESTEROV", True])
    optimizer = build_optimizer(tiny_cfg, nn.Linear(2, 2))
    assert isinstance(optimizer, torch.optim.SGD)
    assert all(group["nesterov"] for group in optimizer.param_groups)
    assert optimizer.param_groups[0]["momentum"] == tiny_cfg.SOLVER.MOMENTUM


def test_the_backbone_has_a_learning_rate_of_its_own(tiny_cfg: CfgNode) -> None:
    tiny_cfg.merge_from_list(["SOLVER.BACKBONE_MULTIPLIER", 0.5])
    model = nn.ModuleDict({"backbone": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    optimizer = build_optimizer(tiny_cfg, model)
    rates = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    base, decay = tiny_cfg.SOLVER.BASE_LR, tiny_cfg.SOLVER.WEIGHT_DECAY
    assert rates[id(model["backbone"].weight)] == (base * 0.5, decay)
    assert rates[id(model["head"].weight)] == (base, decay)
    assert rates[id(model["head"].bias)] == (base, 0.0)


def test_an_unknown_optimiser_is_named(tiny_cfg: CfgNode) -> None:
    tiny_cfg.SOLVER.OPTIMIZER = "LION"
    with pytest.raises(ProLabError, match="SOLVER.OPTIMIZER is 'LION'"):
        build_optimizer(tiny_cfg, nn.Linear(2, 2))
