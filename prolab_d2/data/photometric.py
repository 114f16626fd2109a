"""Photometric distortion: random brightness, contrast, saturation and hue.

Shapes: H x W image size.

The published pipeline computes each step in float and truncates to uint8. Every step maps single
channels (of BGR or HSV) value by value, so a table of 256 entries gives the same numbers at a
fraction of the work, and steps on the same channels merge into one table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from detectron2.data import transforms as T
from fvcore.transforms.transform import Transform

from prolab_d2.data.packing import packed
from prolab_d2.errors import ProLabError

__all__ = [
    "PhotometricDistortion",
    "PhotometricDraws",
    "PhotometricTransform",
    "apply_photometric",
    "draw_photometric",
]

_BRIGHTNESS = 32
_CONTRAST = _SATURATION = (0.5, 1.5)
_HUE = 18
# OpenCV's 8-bit hue covers the circle in 180 steps.
_HUE_STEPS = 180
_TO_HSV = {"BGR": cv2.COLOR_BGR2HSV, "RGB": cv2.COLOR_RGB2HSV}
_FROM_HSV = {"BGR": cv2.COLOR_HSV2BGR, "RGB": cv2.COLOR_HSV2RGB}
_IDENTITY = np.arange(256, dtype=np.uint8)


class RandomNumbers(Protocol):
    """The two functions of `numpy.random` that are used; the module itself serves."""

    def randint(self, low: int, high: int | None = None) -> int: ...

    def uniform(self, low: float, high: float) -> float: ...


@dataclass(frozen=True)
class PhotometricDraws:
    """What was drawn for one image; None leaves a step out."""

    brightness: float | None = None
    contrast: float | None = None
    contrast_first: bool = True
    saturation: float | None = None
    hue: int | None = None


def draw_photometric(random: RandomNumbers) -> PhotometricDraws:
    """Draws each step with probability 1/2, in the order of the published pipeline."""

    def contrast() -> float | None:
        return random.uniform(*_CONTRAST) if random.randint(2) else None

    brightness = random.uniform(-_BRIGHTNESS, _BRIGHTNESS) if random.randint(2) else None
    contrast_first = bool(random.randint(2))
    factor = contrast() if contrast_first else None
    saturation = random.uniform(*_SATURATION) if random.randint(2) else None
    hue = int(random.randint(-_HUE, _HUE)) if random.randint(2) else None
    if not contrast_first:
        factor = contrast()
    return PhotometricDraws(brightness, factor, contrast_first, saturation, hue)


def apply_photometric(
    image: np.ndarray, draws: PhotometricDraws, image_format: str = "RGB"
) -> np.ndarray:
    """Applies what was drawn, in the order brightness, [contrast], saturation, hue, [contrast].

    Args:
        image: (H, W, 3) uint8, left as it is.
        image_format: "RGB" or "BGR".
    Returns:
        (H, W, 3) uint8; `image` itself when nothing was drawn.
    """
    table = _IDENTITY
    if draws.brightness is not None:
        table = _linear(offset=draws.brightness)
    if draws.contrast is not None and draws.contrast_first:
        table = _linear(factor=draws.contrast)[table]
    if table is not _IDENTITY:
        image = cv2.LUT(image, table)
    if draws.saturation is not None:
        image = _map_hsv(image, 1, _linear(factor=draws.saturation), image_format)
    if draws.hue is not None:
        shifted = (_IDENTITY.astype(np.int64) + draws.hue) % _HUE_STEPS
        image = _map_hsv(image, 0, shifted.astype(np.uint8), image_format)
    if draws.contrast is not None and not draws.contrast_first:
        image = cv2.LUT(image, _linear(factor=draws.contrast))
    return image


def _linear(factor: float = 1.0, offset: float = 0.0) -> np.ndarray:
    """Table of value x factor + offset in float32, clipped and truncated to uint8."""
    values = _IDENTITY.astype(np.float32) * np.float32(factor) + np.float32(offset)
    return np.clip(values, 0, 255).astype(np.uint8)


def _map_hsv(image: np.ndarray, channel: int, table: np.ndarray, image_format: str) -> np.ndarray:
    hsv = cv2.cvtColor(image, _TO_HSV[image_format])
    # One plane by itself takes less than half the time of a table with three channels.
    plane = cv2.LUT(cv2.extractChannel(hsv, channel), table)
    return cv2.cvtColor(cv2.insertChannel(plane, hsv, channel), _FROM_HSV[image_format])


class PhotometricTransform(Transform):
    """Changes the colours of an image; masks and coordinates stay as they are."""

    def __init__(self, draws: PhotometricDraws, image_format: str) -> None:
        super().__init__()
        self.draws = draws
        self.image_format = image_format

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        return apply_photometric(packed(img), self.draws, self.image_format)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return segmentation

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords


class PhotometricDistortion(T.Augmentation):
    """Random brightness (+-32), contrast and saturation (x 0.5..1.5) and hue (-18..17 of 180)."""

    def __init__(self, image_format: str) -> None:
        super().__init__()
        if image_format not in _TO_HSV:
            raise ProLabError(
                f"INPUT.FORMAT is {image_format!r}: photometric distortion needs 'RGB' or 'BGR'; "
                "choose one or set INPUT.PHOTOMETRIC_DISTORTION False"
            )
        self.image_format = image_format

    def get_transform(self, image: np.ndarray) -> Transform:
        return PhotometricTransform(draw_photometric(np.random), self.image_format)
