"""New maps are as they were asked for, and transposed copies land where they should."""

from __future__ import annotations

import pytest
import torch

from prolab_d2.modeling import memory
from prolab_d2.modeling.memory import copy_transposed, new_map

every_type = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64]
)


@every_type
@pytest.mark.parametrize("from_kernel", [0, memory._FROM_KERNEL])
def test_a_new_map_is_a_tensor_like_any_other(
    from_kernel: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_FROM_KERNEL", from_kernel)
    result = new_map((3, 4, 5), dtype, torch.device("cpu"))
    assert (result.shape, result.dtype) == ((3, 4, 5), dtype)
    assert result.is_contiguous()
    assert (result.fill_(1) + result).sum() == 120


@every_type
@pytest.mark.parametrize("shape", [(3, 5), (1, 4), (4, 1), (0, 2), (150, 97)])
def test_rows_of_a_map_receive_a_transposed_copy(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    source = torch.randn(shape, generator=torch.Generator().manual_seed(0)).mul(9).to(dtype)
    rows, columns = shape
    result = torch.full((columns + 2, rows), 7, dtype=dtype)
    copy_transposed(source, result[1:-1])
    assert torch.equal(result[1:-1], source.T)
    assert (result[[0, -1]] == 7).all()
