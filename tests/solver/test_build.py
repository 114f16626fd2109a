from __future__ import annotations

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage
from torch import nn

from prolab_d2 import ProLabError
from prolab_d2.engine.train_step import TrainStep
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


def test_embeddings_are_decayed_or_not_as_the_config_says(tiny_cfg: CfgNode) -> None:
    model = nn.ModuleDict({"backbone": nn.Module()})
    model["backbone"].pos_embed = nn.Parameter(torch.zeros(1, 5, 8))
    for decayed in (True, False):
        tiny_cfg.SOLVER.DECAY_EMBEDDINGS = decayed
        (group,) = build_optimizer(tiny_cfg, model).param_groups
        assert group["weight_decay"] == (tiny_cfg.SOLVER.WEIGHT_DECAY if decayed else 0)


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_gradients_are_clipped_at_their_true_size(tiny_cfg: CfgNode, precision: str) -> None:
    """Not at the size that the scaling of half precision gives them."""
    clip = tiny_cfg.SOLVER.CLIP_GRADIENTS
    clip.ENABLED, clip.CLIP_TYPE, clip.CLIP_VALUE, clip.NORM_TYPE = True, "full_model", 0.01, 2.0
    tiny_cfg.SOLVER.OPTIMIZER, tiny_cfg.SOLVER.BASE_LR = "SGD", 1.0
    tiny_cfg.SOLVER.WEIGHT_DECAY = 0.0

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": (self.layer(batch).float() - 1).square().mean()}

    torch.manual_seed(0)
    model = Model()
    before = torch.cat([x.detach().flatten().clone() for x in model.parameters()])
    step = TrainStep(
        model, [torch.randn(6, 4)], build_optimizer(tiny_cfg, model), precision=precision
    )
    with EventStorage():
        step.iter = 0
        step.run_step()
    after = torch.cat([x.detach().flatten() for x in model.parameters()])
    assert (after - before).norm().item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("kind", ["norm", "value"])
def test_gradients_are_clipped_parameter_by_parameter(tiny_cfg: CfgNode, kind: str) -> None:
    clip = tiny_cfg.SOLVER.CLIP_GRADIENTS
    clip.ENABLED, clip.CLIP_TYPE, clip.CLIP_VALUE = True, kind, 0.5
    tiny_cfg.SOLVER.OPTIMIZER = "SGD"
    layer = nn.Linear(4, 1)
    layer.weight.grad, layer.bias.grad = torch.full((1, 4), 3.0), torch.full((1,), 0.25)
    build_optimizer(tiny_cfg, layer).step()
    size = layer.weight.grad.norm() if kind == "norm" else layer.weight.grad.max()
    assert size.item() == pytest.approx(0.5)
    assert layer.bias.grad.item() == 0.25


def test_an_unknown_kind_of_clipping_is_named(tiny_cfg: CfgNode) -> None:
    clip = tiny_cfg.SOLVER.CLIP_GRADIENTS
    clip.ENABLED, clip.CLIP_TYPE = True, "all"
    with pytest.raises(ProLabError, match="CLIP_TYPE is 'all': use 'full_model'"):
        build_optimizer(tiny_cfg, nn.Linear(2, 2))


def test_an_unknown_optimiser_is_named(tiny_cfg: CfgNode) -> None:
    tiny_cfg.SOLVER.OPTIMIZER = "LION"
    with pytest.raises(ProLabError, match="SOLVER.OPTIMIZER is 'LION'"):
        build_optimizer(tiny_cfg, nn.Linear(2, 2))
