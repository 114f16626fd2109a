from __future__ import annotations

import numpy as np
import pytest
import torch

from prolab_d2 import ProLabError
from prolab_d2.modeling.backbones.relative_position import (
    relative_position_index,
    resize_table,
    table_rows,
)


def test_a_row_for_every_offset_of_two_tokens() -> None:
    index = relative_position_index((2, 3))
    assert index.shape == (7, 7)
    assert table_rows((2, 3)) == 3 * 5 + 3
    assert index.unique().tolist() == list(range(18))
    # The same offset in two places: token 2 to 1 and token 6 to 5, one column to the right.
    assert index[2, 1] == index[6, 5]
    assert index[1, 1] == 7  # the middle of 3 x 5
    # The class token is first: to itself, to the grid, from the grid.
    assert index[0, 0] == 17
    assert set(index[0, 1:].tolist()) == {15}
    assert set(index[1:, 0].tolist()) == {16}


def test_the_same_grid_changes_nothing() -> None:
    table = torch.randn(table_rows((4, 4)), 2)
    assert resize_table(table, (4, 4)) is table


@pytest.mark.parametrize("size", [(7, 7), (5, 8), (3, 3)])
def test_a_smooth_table_stays_smooth(size: tuple[int, int]) -> None:
    """Constant along x and y: the spline gives back constants, and class rows are copied."""
    table = torch.full((table_rows((4, 4)), 2), 1.5)
    table[-3:] = torch.tensor([[1.0, 2], [3, 4], [5, 6]])
    resized = resize_table(table, size)
    assert resized.shape == (table_rows(size), 2)
    assert torch.allclose(resized[:-3], torch.tensor(1.5))
    assert torch.equal(resized[-3:], table[-3:])


def test_equals_scipy() -> None:
    """FITPACK's interpolating spline on the same coordinates, which is what BEiT runs."""
    interpolate = pytest.importorskip("scipy.interpolate", reason="needs SciPy to compare with")
    from prolab_d2.modeling.backbones.relative_position import _spread_offsets

    table = torch.randn(table_rows((5, 5)), 1, generator=torch.Generator().manual_seed(0))
    grid = _spread_offsets(5, 8)
    assert grid[-1] == pytest.approx(7, abs=1e-3)
    spline = interpolate.RectBivariateSpline(grid, grid, table[:-3, 0].view(9, 9).double().numpy())
    offsets = np.arange(-7, 8)
    expected = torch.from_numpy(spline(offsets, offsets)).float().flatten()
    assert torch.allclose(resize_table(table, (8, 8))[:-3, 0], expected, atol=1e-6)


@pytest.mark.parametrize("rows", [2, 3 + 4 * 4, 3 + 3 * 3, 3 + 5 * 7])
def test_a_table_of_no_square_grid_is_refused(rows: int) -> None:
    with pytest.raises(ProLabError, match=f"table of {rows} rows belongs to no square grid"):
        resize_table(torch.zeros(rows, 1), (4, 4))
