from __future__ import annotations

import pytest
import torch
from detectron2.config import CfgNode
from torch import nn

from prolab_d2.analysis import analyze_parts, saved_for_backward, time_inference
from prolab_d2.modeling import PropertySegmentor


@pytest.fixture
def model(tiny_cfg: CfgNode) -> PropertySegmentor:
    return PropertySegmentor(tiny_cfg)


def plain_flops(module: nn.Module, *inputs: object) -> int:
    """2 x multiply-adds of convolutions, counted from the shapes that hooks see."""
    total = 0

    def count(layer: nn.Conv2d, _: object, out: torch.Tensor) -> None:
        nonlocal total
        total += 2 * out.numel() * layer.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        module(*inputs)
    for hook in hooks:
        hook.remove()
    return total


def test_parts_hold_all_parameters_and_the_operations_of_inference(
    model: PropertySegmentor,
) -> None:
    parts = {part.name: part for part in analyze_parts(model, (64, 96))}
    assert sum(p.parameters for p in parts.values()) == sum(p.numel() for p in model.parameters())
    model.eval()
    images = torch.zeros(1, 3, 64, 96)
    assert parts["backbone"].flops == plain_flops(model.backbone, images) > 0
    features = model.backbone(images)
    assert parts["decode_head"].flops == plain_flops(model.decode_head, features) > 0
    assert parts["aux_head"].flops == 0 and parts["aux_head"].parameters > 0
    # Weights into the bank, features to 12 logits, activations to 5 scores.
    pixels = 16 * 24
    expected = 2 * (12 * 16 * 16 + pixels * (16 * 12 + 12 * 5))
    assert parts["pixel embedding, properties and scores"].flops == expected


def test_sizes_are_padded_as_in_inference(model: PropertySegmentor) -> None:
    assert analyze_parts(model, (50, 90)) == analyze_parts(model, (64, 96))


def test_kept_memory_grows_with_the_pixels_and_weights_stay(model: PropertySegmentor) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small, large = (saved_for_backward(model, (64, side)) for side in (64, 128))
    # What does not grow with the image: pooled features.
    assert 1.9 * small < large < 2.1 * small
    # The output of the last convolution of the head alone, and its normalised form.
    assert small > 2 * 16 * 16 * 16 * 4
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training


def test_predictions_are_timed(model: PropertySegmentor) -> None:
    timing = time_inference(model, (64, 64), runs=3)
    assert 0 < timing.best <= timing.median < 60 and timing.runs == 3
