"""New maps have the shape and type that was asked for."""

from __future__ import annotations

import pytest
import torch

from prolab_d2.modeling import memory
from prolab_d2.modeling.memory import new_map


@pytest.fixture(params=["much", "little"], autouse=True)
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "much":
        monkeypatch.setattr(memory, "_FROM_KERNEL", 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
def test_a_new_map_is_a_tensor_like_any_other(dtype: torch.dtype) -> None:
    result = new_map((3, 4, 5), dtype, torch.device("cpu"))
    assert (result.shape, result.dtype) == ((3, 4, 5), dtype)
    assert result.is_contiguous()
    assert (result.fill_(1) + result).sum() == 120
