"""Memory layouts of images, changed by OpenCV where NumPy's general loops are slow.

Shapes: H x W image size, C channels.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

__all__ = ["channels_first", "packed"]


def packed(image: np.ndarray) -> np.ndarray:
    """(H, W, C) with its values side by side, as OpenCV wants them; a copy only where needed.

    A crop is a view with gaps, a mirrored image one with steps backwards. NumPy copies the latter
    value by value.
    """
    if image.strides[1] < 0 < image.strides[2]:
        return cv2.flip(image[:, ::-1], 1).reshape(image.shape)
    return np.ascontiguousarray(image)


def channels_first(image: np.ndarray) -> Tensor:
    """(H, W, C) array, in any layout, to a new (C, H, W) tensor."""
    planes = np.empty((image.shape[2], *image.shape[:2]), image.dtype)
    cv2.split(packed(image), list(planes))
    return torch.from_numpy(planes)
