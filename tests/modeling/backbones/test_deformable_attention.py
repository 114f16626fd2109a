from __future__ import annotations

import pytest
import torch
from torch import Tensor

from prolab_d2 import ProLabError
from prolab_d2.modeling.backbones.deformable_attention import (
    DeformableAttention,
    cell_centres,
    sample_points,
)

SIZES = [(4, 6), (2, 3)]


def attention(**options: int | float) -> DeformableAttention:
    """Random everywhere; fresh modules look at fixed points."""
    torch.manual_seed(0)
    module = DeformableAttention(
        8, **{"num_levels": len(SIZES), "num_heads": 2, "num_points": 3, **options}
    )
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module


def inputs(batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Query (B, 6, 8), points (1, 6, 1, 2) and feature (B, 30, 8)."""
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(batch, 6, 8, generator=generator)
    feature = torch.randn(batch, 30, 8, generator=generator)
    return query, cell_centres([(2, 3)], query), feature


def plain_sample(channel: Tensor, x: float, y: float) -> float:
    """Of a map (h, w) at x, y in [0, 1], zero outside; one corner after the other."""
    height, width = channel.shape
    x, y = x * width - 0.5, y * height - 0.5
    total = 0.0
    for row in (int(y // 1), int(y // 1) + 1):
        for column in (int(x // 1), int(x // 1) + 1):
            if 0 <= row < height and 0 <= column < width:
                share = (1 - abs(y - row)) * (1 - abs(x - column))
                total += share * float(channel[row, column])
    return total


def test_samples_are_bilinear_and_zero_outside() -> None:
    generator = torch.Generator().manual_seed(2)
    value = torch.randn(2, 30, 2, 3, generator=generator, dtype=torch.float64)
    points = torch.rand(1, 5, 2, 2, generator=generator, dtype=torch.float64)
    offsets = 3 * torch.randn(2, 5, 2, 2, 4, 2, generator=generator, dtype=torch.float64)
    weights = torch.rand(2, 5, 2, 2, 4, generator=generator, dtype=torch.float64)
    out = sample_points(value, SIZES, points, offsets, weights)
    assert out.shape == (2, 5, 6)
    levels = zip(value.split([24, 6], dim=1), SIZES, strict=True)
    maps = [x.reshape(2, *size, 2, 3) for x, size in levels]
    outside = 0
    for image, query, head, channel in [(0, 0, 0, 0), (1, 4, 1, 2), (0, 3, 1, 1), (1, 2, 0, 2)]:
        expected = 0.0
        for level, (height, width) in enumerate(SIZES):
            for point in range(4):
                place = (image, query, head, level, point)
                x = float(points[0, query, level, 0] + offsets[place][0] / width)
                y = float(points[0, query, level, 1] + offsets[place][1] / height)
                outside += not (0 <= x <= 1 and 0 <= y <= 1)
                sample = plain_sample(maps[level][image, :, :, head, channel], x, y)
                expected += float(weights[place]) * sample
        assert out[image, query, head * 3 + channel].item() == pytest.approx(expected)
    assert outside > 5


def test_a_fresh_module_looks_around_with_equal_weights() -> None:
    module = DeformableAttention(8, num_levels=1, num_heads=4, num_points=2)
    ring = module.sampling_offsets.bias.view(4, 2, 2)
    directions = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    assert torch.allclose(ring, torch.stack([directions, 2 * directions], dim=1), atol=1e-6)
    assert not module.attention_weights.weight.any()


def test_gradients_are_those_of_finite_differences() -> None:
    module = attention().double()
    query, points, feature = (x.double() for x in inputs(batch=1))
    query.requires_grad_(), feature.requires_grad_()
    assert torch.autograd.gradcheck(lambda q, f: module(q, points, f, SIZES), (query, feature))


def test_full_precision_under_autocast() -> None:
    module, (query, points, feature) = attention(), inputs()
    expected = module(query, points, feature, SIZES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = module(query, points, feature, SIZES)
    assert out.dtype == torch.float32
    assert torch.equal(out, expected)


def test_half_parameters_sample_in_full_precision() -> None:
    module, (query, points, feature) = attention(), inputs()
    expected = module(query, points, feature, SIZES)
    half = module.bfloat16()
    out = half(query.bfloat16(), points, feature.bfloat16(), SIZES)
    assert out.dtype == torch.bfloat16
    assert torch.allclose(out.float(), expected, atol=0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_gives_the_same() -> None:
    module = attention()
    results = []
    for device in ("cpu", "cuda"):
        query, points, feature = (x.to(device) for x in inputs())
        feature.requires_grad_()
        out = module.to(device)(query, points, feature, SIZES)
        (gradient,) = torch.autograd.grad(out.square().sum(), feature)
        results.append((out.detach().cpu(), gradient.cpu()))
    for on_cpu, on_gpu in zip(*results, strict=True):
        assert torch.allclose(on_cpu, on_gpu, atol=1e-4)


def test_heads_that_cannot_share_the_width() -> None:
    with pytest.raises(ProLabError, match=r"reads 4 channels \(0.5 of 8\), which 3 heads cannot"):
        DeformableAttention(8, num_levels=1, num_heads=3, num_points=1, value_ratio=0.5)
