from __future__ import annotations

import pytest
import torch
from torch import nn

from prolab_d2 import ProLabError
from prolab_d2.modeling.key_map import segmentor_names
from prolab_d2.solver.parameters import layer_multipliers, parameter_groups
from tests.golden import golden_files, golden_json


def model_of(names: list[str], ndim: list[int]) -> nn.Module:
    """A module with parameters of these names; their values do not matter."""
    root = nn.Module()
    for name, axes in zip(names, ndim, strict=True):
        *parents, leaf = name.split(".")
        module = root
        for parent in parents:
            if parent not in module._modules:
                module.add_module(parent, nn.Module())
            module = module._modules[parent]
        module.register_parameter(leaf, nn.Parameter(torch.zeros([1] * axes)))
    return root


def settings(model: nn.Module, groups: list[dict]) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay by name."""
    found = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert sum(len(group["params"]) for group in groups) == len(found)
    return {name: found[id(parameter)] for name, parameter in model.named_parameters()}


def test_vectors_have_no_weight_decay_and_the_backbone_its_own_rate() -> None:
    model = torch.nn.ModuleDict(
        {
            "backbone": torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)),
            "head": torch.nn.Linear(4, 2),
        }
    )
    groups = parameter_groups(model, 0.1, 0.05, {"backbone": 0.5})
    found = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in groups
        for parameter in group["params"]
    }
    named = {name: found[id(parameter)] for name, parameter in model.named_parameters()}
    assert named == {
        "backbone.0.weight": (0.05, 0.05),
        "backbone.0.bias": (0.05, 0.0),
        "backbone.1.weight": (0.05, 0.0),
        "backbone.1.bias": (0.05, 0.0),
        "head.weight": (0.1, 0.05),
        "head.bias": (0.1, 0.0),
    }


@pytest.mark.golden
def test_every_parameter_is_trained_as_published(capsys: pytest.CaptureFixture[str]) -> None:
    """Multiplier and weight decay of each entry of the model zoo, name by name."""
    compared: dict[str, int] = {}
    for path in golden_files("f5_optim/*.json"):
        case = golden_json(f"f5_optim/{path.name}")
        expected = case.get("per_parameter_lr_scale_and_weight_decay")
        if expected is None:  # the small copy in tests/golden has schedules only
            continue
        shapes = golden_json(f"f4_keys/{path.name}")["state_dict"]
        ours = segmentor_names(expected)
        model = model_of(list(ours.values()), [len(shapes[name][0]) for name in ours])
        groups = parameter_groups(
            model,
            1.0,
            case["optimizer"]["defaults"]["weight_decay"],
            layer_decay=case["paramwise"]["layer_decay_rate"],
        )
        found = settings(model, groups)
        assert {name: found[ours[name]] for name in expected} == {
            name: (scale, decay) for name, (scale, decay) in expected.items()
        }
        compared[path.stem] = len(expected)
    if not compared:
        pytest.skip("needs names of parameters in f5_optim, and f4_keys: PROLAB_GOLDEN=folder")
    with capsys.disabled():
        print(
            f"\ngolden parameter settings: {len(compared)} models, {sum(compared.values())} names"
        )


NAMES = {
    "backbone.pos_embed": 3,
    "backbone.level_embed": 2,
    "backbone.blocks.0.attn.relative_position_bias_table": 2,
    "backbone.blocks.0.attn.qkv.weight": 2,
    "backbone.blocks.1.attn.qkv.bias": 1,
    "decode_head.conv.weight": 4,
}


def test_embeddings_can_be_left_without_decay() -> None:
    model = model_of(list(NAMES), list(NAMES.values()))
    decays = {
        flag: {
            name.removeprefix("backbone.")
            for name, (_, decay) in settings(
                model, parameter_groups(model, 1.0, 0.05, decay_embeddings=flag)
            ).items()
            if decay
        }
        for flag in (True, False)
    }
    assert decays[False] == {"blocks.0.attn.qkv.weight", "decode_head.conv.weight"}
    assert decays[True] - decays[False] == {
        "pos_embed", "level_embed", "blocks.0.attn.relative_position_bias_table"
    }  # fmt: skip


def test_layers_are_found_inside_a_wrapped_transformer() -> None:
    names = ["backbone.net.model.blocks.1.w", "backbone.net.model.patch_embed.w", "head.w"]
    assert list(layer_multipliers(names, 0.5).values()) == [0.5, 0.125, 1.0]


def test_without_blocks_or_out_of_range_there_is_one_sentence() -> None:
    with pytest.raises(ProLabError, match="no numbered blocks"):
        layer_multipliers(["backbone.layer1.w"], 0.9)
    with pytest.raises(ProLabError, match=r"LAYER_DECAY is 1.5"):
        layer_multipliers(["backbone.blocks.0.w"], 1.5)
    assert layer_multipliers(["backbone.layer1.w"], 1.0) == {"backbone.layer1.w": 1.0}
