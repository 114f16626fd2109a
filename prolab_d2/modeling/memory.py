"""Large maps in memory: where they come from, and their other order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

__all__ = ["copy_transposed", "new_map"]

# Bytes; the C library keeps smaller pieces for the next who asks.
_FROM_KERNEL = 2**25
_NUMPY_TYPES = {torch.float32: np.float32, torch.float64: np.float64}


def new_map(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """`torch.empty`; on a CPU NumPy asks for the memory where there is much of it.

    What is larger than 32 MB comes from the kernel and goes back to it, page by page: to find the
    pages of a map can take longer than to compute it. Unlike PyTorch, NumPy asks for pages of 2 MB,
    a few instead of thousands, where Linux gives them to those who ask.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < _FROM_KERNEL or device.type != "cpu" or dtype not in _NUMPY_TYPES:
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.empty(tuple(shape), _NUMPY_TYPES[dtype]))


def copy_transposed(source: Tensor, out: Tensor) -> None:
    """Sets `out` (columns, rows) to `source` (rows, columns), without gradient.

    On a CPU by OpenCV, which takes a fraction of the time of PyTorch's `copy_`.
    """
    if source.device.type == "cpu" and source.dtype in _NUMPY_TYPES and source.numel() > 0:
        cv2.transpose(source.numpy(), dst=out.numpy())
    else:
        out.copy_(source.T)
