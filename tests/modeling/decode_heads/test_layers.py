from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from prolab_d2.modeling.decode_heads.layers import ConvModule, build_norm, resize


def test_layers_have_the_published_names() -> None:
    names = set(ConvModule(4, 6, 3, norm="BN").state_dict())
    assert names == {"conv.weight"} | {
        f"bn.{name}"
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert set(ConvModule(4, 32, 3, norm="GN").state_dict()) == {
        "conv.weight",
        "norm.weight",
        "norm.bias",
    }


def test_only_a_convolution_without_norm_has_a_bias() -> None:
    assert set(ConvModule(4, 6, 1, norm="").state_dict()) == {"conv.weight", "conv.bias"}


def test_weights_start_as_in_the_published_training() -> None:
    """Kaiming's normal distribution over the outputs: std sqrt(2 / (k * k * out_channels))."""
    torch.manual_seed(0)
    module = ConvModule(64, 96, 3, norm="BN")
    assert module.conv.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 96)), rel=0.02)
    assert module.conv.weight.mean().abs() < 1e-3
    assert (module.bn.eps, module.bn.momentum) == (1e-5, 0.1)


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 4), (5, 2)])
def test_convolution_keeps_the_size(kernel: int, dilation: int) -> None:
    module = ConvModule(2, 4, kernel, norm="BN", dilation=dilation)
    assert module(torch.zeros(2, 2, 9, 14)).shape == (2, 4, 9, 14)


@pytest.mark.parametrize(
    ("cuda", "processes", "expected"),
    [
        (True, 4, nn.SyncBatchNorm),
        (True, 1, nn.BatchNorm2d),
        (True, 0, nn.BatchNorm2d),
        (False, 4, nn.BatchNorm2d),
    ],
)
def test_batch_norm_synchronises_only_where_it_can(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, processes: int, expected: type[nn.Module]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: processes > 0)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: processes)
    norm = build_norm("SyncBN", 8)
    assert type(norm) is expected
    norm.load_state_dict(build_norm("BN", 8).state_dict())


def test_resize_is_bilinear_between_pixel_centres() -> None:
    x = torch.randn(2, 3, 5, 7)
    expected = F.interpolate(x, (11, 9), mode="bilinear", align_corners=False)
    assert torch.equal(resize(x, (11, 9)), expected)
    assert resize(x, x.shape[2:]) is x
