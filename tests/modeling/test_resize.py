"""Banded bilinear resizing is `F.interpolate`, whatever the bands."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from prolab_d2.modeling.resize import (
    BlockWindows,
    ColumnBlocks,
    WindowCopy,
    resize_band,
    resize_matrix,
    resize_rows,
    source_range,
    source_rows,
)

# Up, by a whole factor and not; one row or column; down; the same size; wider than one block.
SIZES = [
    ((5, 7), (20, 28)),
    ((5, 7), (13, 22)),
    ((1, 1), (4, 3)),
    ((6, 9), (6, 9)),
    ((12, 11), (5, 4)),
    ((4, 30), (9, 101)),
]


def _map(size: tuple[int, int], channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, channels, *size, generator=generator, dtype=torch.float64)


def _interpolate(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize(("source", "target"), SIZES)
@pytest.mark.parametrize("height", [1, 2, 5, 100])
def test_bands_put_together_are_the_whole_map(
    source: tuple[int, int], target: tuple[int, int], height: int
) -> None:
    x = _map(source)
    bands = [
        resize_band(x, target, start, min(start + height, target[0]))
        for start in range(0, target[0], height)
    ]
    torch.testing.assert_close(torch.cat(bands, 2), _interpolate(x, target), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_rows_from_a_part_of_the_source(source: tuple[int, int], target: tuple[int, int]) -> None:
    x = _map(source)
    middle = target[0] // 2
    first, last = source_range(source[0], target[0], middle, target[0])
    part = x[:, :, first:last]
    rows = resize_rows(part, target[0], middle, target[0], part=(first, source[0]))
    expected = _interpolate(x, (target[0], source[1]))[:, :, middle:]
    torch.testing.assert_close(rows, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_a_resize_is_a_product_with_two_matrices(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    x = _map(source)
    down, across = (resize_matrix(s, t, x.dtype) for s, t in zip(source, target, strict=True))
    torch.testing.assert_close(down @ x @ across.T, _interpolate(x, target), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_column_blocks_cover_every_column_once(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    x = _map(source, channels=1)[0, 0]  # (h, w)
    blocks = ColumnBlocks(source[1], target[1], x.dtype, x.device)
    x_padded = F.pad(x, (1, blocks.source - source[1] - 1))[..., None]
    windows = BlockWindows(blocks, slice(0, len(blocks.starts)), x.device)
    assert windows.source == slice(blocks.starts[0], blocks.starts[-1] + blocks.span)
    cells = x.new_empty(len(x), windows.number, blocks.span, 1)  # (h, blocks, s, 1)
    WindowCopy(windows, x_padded[:, windows.source], cells).read()
    wide = (blocks.matrix @ cells).view(len(x), blocks.padded)
    expected = resize_matrix(source[1], target[1], x.dtype) @ x.T
    torch.testing.assert_close(wide[:, : target[1]], expected.T, rtol=0, atol=1e-12)
    assert (wide[:, target[1] :] == 0).all()


@pytest.mark.parametrize(
    ("source", "target"), [(5, 13), (16, 64), (7, 7), (6, 12), (3, 48), (9, 5)]
)
def test_adding_block_windows_is_the_adjoint_of_reading_them(source: int, target: int) -> None:
    blocks = ColumnBlocks(source, target, torch.float64, torch.device("cpu"))
    for part in (slice(0, len(blocks.starts)), slice(0, 1), slice(len(blocks.starts) - 1, None)):
        windows = BlockWindows(blocks, part, torch.device("cpu"))
        generator = torch.Generator().manual_seed(0)
        width = windows.source.stop - windows.source.start
        x = torch.randn(2, width, 3, generator=generator, dtype=torch.float64)
        y = torch.randn(2, windows.number, blocks.span, 3, generator=generator, dtype=x.dtype)
        read, added = torch.empty_like(y), torch.full_like(x, torch.nan)
        WindowCopy(windows, x, read).read()
        WindowCopy(windows, added, y).add()
        assert (read * y).sum().item() == pytest.approx((x * added).sum().item())


@pytest.mark.parametrize(("source", "target"), [(5, 13), (16, 64), (12, 5), (3, 3), (1, 9)])
@pytest.mark.parametrize("height", [1, 3])
def test_the_range_holds_exactly_the_rows_that_are_read(
    source: int, target: int, height: int
) -> None:
    for start in range(target - height + 1):
        lower, upper, weight = source_rows(source, target, start, start + height)
        first, last = source_range(source, target, start, start + height)
        assert first == lower.min()
        assert last == upper.max() + 1
        assert weight.min() >= 0
