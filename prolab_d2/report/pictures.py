"""Pictures inside a page, within a given number of bytes."""

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
from PIL import Image

__all__ = ["data_uri", "jpeg_within"]

QUALITIES = (88, 76, 62, 48)


def jpeg_within(picture: np.ndarray, most_bytes: int) -> bytes:
    """An RGB picture as JPEG: the best quality that fits, then smaller sizes.

    Args:
        most_bytes: at least some 700, the size of the smallest JPEG files.
    """
    while True:
        for quality in QUALITIES:
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "JPEG", quality=quality, optimize=True)
            if buffer.tell() <= most_bytes or max(picture.shape[:2]) == 1:
                return buffer.getvalue()
        height, width = (max(1, round(0.7 * side)) for side in picture.shape[:2])
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
