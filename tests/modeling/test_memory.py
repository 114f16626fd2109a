"""New maps have the shape, type and order that was asked for."""

from __future__ import annotations

import pytest
import torch

from prolab_d2.modeling import memory
from prolab_d2.modeling.memory import new_map, new_map_like


@pytest.fixture(params=["much", "little"], autouse=True)
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "much":
        monkeypatch.setattr(memory, "_FROM_KERNEL", 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
def test_a_new_map_is_a_tensor_like_any_other(dtype: torch.dtype) -> None:
    result = new_map(torch.zeros(1, dtype=dtype), (3, 4, 5))
    assert (result.shape, result.dtype) == ((3, 4, 5), dtype)
    assert result.is_contiguous()
    assert (result.fill_(1) + result).sum() == 120


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_map_like_another_has_its_order_in_memory(memory_format: torch.memory_format) -> None:
    x = torch.zeros(2, 3, 4, 5).contiguous(memory_format=memory_format)
    result = new_map_like(x)
    assert (result.shape, result.stride()) == (x.shape, x.stride())
