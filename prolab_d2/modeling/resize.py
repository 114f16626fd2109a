"""Bilinear resizing in bands of rows, so that a full-size map never has to exist at once.

Shapes: C channels, h x w source size, H x W target size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["resize_band", "source_rows"]


def source_rows(
    source: int, target: int, start: int, stop: int, device: torch.device | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Source rows that target rows [start, stop) read (`align_corners=False`).

    Returns:
        lower (stop - start,) int64, upper (stop - start,) int64 and the weight of upper, float32
        in [0, 1).
    """
    rows = torch.arange(start, stop, device=device, dtype=torch.float64)
    position = ((rows + 0.5) * (source / target) - 0.5).clamp_(min=0)
    lower = position.floor().long().clamp_(max=source - 1)
    upper = (lower + 1).clamp_(max=source - 1)
    return lower, upper, (position - lower).float()


def resize_band(x: Tensor, size: tuple[int, int], start: int, stop: int) -> Tensor:
    """Rows [start, stop) of `F.interpolate(x, size, mode="bilinear", align_corners=False)`.

    Args:
        x: (B, C, h, w), floating point.
        size: target size (H, W) of the whole map.
    Returns:
        (B, C, stop - start, W). The result does not depend on how the rows are cut into bands.
    """
    height, width = size
    lower, upper, weight = source_rows(x.shape[2], height, start, stop, x.device)
    rows = torch.lerp(x[:, :, lower], x[:, :, upper], weight.to(x.dtype)[:, None])
    if width == x.shape[3]:
        return rows
    return F.interpolate(rows, size=(stop - start, width), mode="bilinear", align_corners=False)
