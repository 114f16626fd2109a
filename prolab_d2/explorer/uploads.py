"""Reading what a visitor has dropped: bounded in bytes and pixels, and nothing in it is run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from prolab_d2.data import read_image
from prolab_d2.errors import ProLabError

__all__ = ["Limits", "read_upload"]

# Formats of photographs and screenshots whose decoders only decode: Pillow's EPS, for one, starts
# another program.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")


@dataclass(frozen=True)
class Limits:
    """What an explorer takes; everything beyond is refused in a sentence."""

    megabytes: float = 20
    megapixels: float = 50  # of the file; checked before a pixel is decoded
    long_side: int = 1600  # larger images are reduced to it
    vocabulary: int = 2000  # characters
    new_categories: int = 20


def read_upload(path: str | os.PathLike[str], limits: Limits) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright, at most `limits.long_side` long.

    Raises:
        ProLabError: too large, no image, or a damaged one.
    """
    name = Path(path).name
    megabytes = _megabytes(path, name)
    if megabytes > limits.megabytes:
        raise ProLabError(
            f"{name} has {megabytes:.0f} MB and {limits.megabytes:g} MB are allowed: save it "
            "smaller"
        )
    try:
        with Image.open(path, formats=FORMATS) as image:
            pixels = image.width * image.height / 1e6
    except Image.DecompressionBombError:
        pixels = np.inf
    except Exception as error:  # every decoder has errors of its own
        raise ProLabError(
            f"{name} is no image that can be read: drop a JPEG, PNG or WebP file"
        ) from error
    if pixels > limits.megapixels:
        raise ProLabError(
            f"{name} has more than {limits.megapixels:g} million pixels: make it smaller"
        )
    try:
        rgb = read_image(path)
    except ProLabError as error:
        raise ProLabError(f"{name} is damaged: save it again, or drop another image") from error
    return _reduced(rgb, limits.long_side)


def _megabytes(path: str | os.PathLike[str], name: str) -> float:
    try:
        return os.path.getsize(path) / 1e6
    except OSError as error:
        raise ProLabError(f"{name} is not there any more: drop it again") from error


def _reduced(rgb: np.ndarray, long_side: int) -> np.ndarray:
    factor = long_side / max(rgb.shape[:2])
    if factor >= 1:
        return rgb
    height, width = (max(1, round(side * factor)) for side in rgb.shape[:2])
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
