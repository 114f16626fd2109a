"""The layers that take the place of others in an exported graph, and its answer before export."""

from __future__ import annotations

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from prolab_d2.export.graph import _simplified


@pytest.mark.parametrize("size", [(2, 3), (7, 5), (12, 18), (1, 1)])
@pytest.mark.parametrize("cells", [1, 2, 3, 6, (2, 4)])
def test_pooling_by_matrices(size: tuple[int, int], cells: int | tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    original = nn.Sequential(nn.AdaptiveAvgPool2d(cells))
    expected = original(x)
    replaced = _simplified(original)
    assert not isinstance(replaced[0], nn.AdaptiveAvgPool2d)
    torch.testing.assert_close(replaced(x), expected)


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"),
    [(3, 1, 1), (3, 2, 1), (5, 2, 1), (1, 2, 1), (3, 1, 2), ((5, 3), (2, 1), 1), ((3, 1), 1, 1)],
)
def test_padding_of_timms_convolutions(
    kernel: int | tuple[int, int], stride: int | tuple[int, int], dilation: int
) -> None:
    conv = Conv2dSame(4, 6, kernel, stride, dilation=dilation, groups=2).double()
    x = torch.randn(2, 4, 8, 12, dtype=torch.float64)
    expected = conv(x)
    replaced = _simplified(nn.Sequential(conv))
    assert not isinstance(replaced[0], Conv2dSame)
    torch.testing.assert_close(replaced(x), expected)
