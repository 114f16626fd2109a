"""Augmentation of images and masks: the published training pipeline as Detectron2 augmentations.

Shapes: H x W image size. All random numbers come from NumPy's global generator, as in Detectron2,
which seeds it in every loader worker.

The order is resize, crop, flip, photometric distortion (paper, section 4.1; hyper-parameters of all
published configs). Two things differ from Detectron2's own classes and therefore have their own
class here: images are scaled into a box without antialiasing, and a crop that fails the check of
`CategoryAreaCrop` is redrawn 10 times, after which the eleventh is used unchecked (Detectron2 draws
10 altogether).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import Transform

from prolab_d2.data.packing import channels_first
from prolab_d2.data.photometric import PhotometricDistortion
from prolab_d2.errors import ProLabError

__all__ = [
    "CategoryAreaCrop",
    "ResizeImage",
    "ScaleIntoBox",
    "build_augmentations",
    "build_views",
    "choose_crop",
    "make_views",
    "round_up",
    "scaled_size",
]

_MAX_REDRAWS = 10


def scaled_size(
    size: tuple[int, int], short_edge: int, long_edge: int, factor: float = 1.0
) -> tuple[int, int]:
    """The size of an image scaled to fit a box, keeping its ratio.

    Args:
        size: (H, W).
        short_edge, long_edge: the box; 0 as `short_edge` takes the image's own size as the box.
        factor: scales the box (whose sides are rounded down) before the image is fitted.
    Returns:
        (H, W), at least 1 x 1.
    """
    short, long = min(size), max(size)
    if short_edge == 0:
        ratio = factor
    else:
        ratio = min(int(long_edge * factor) / long, int(short_edge * factor) / short)
    height, width = (max(int(side * ratio + 0.5), 1) for side in size)
    return height, width


def round_up(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """(H, W) with both sides raised to a multiple; the published test pipeline resizes to that."""
    height, width = (-(-side // multiple) * multiple for side in size)
    return height, width


class ResizeImage(Transform):
    """Resizes with OpenCV: bilinear for images (not antialiased), nearest for masks.

    Masks take the source pixel under the centre of the target pixel, so that they stay aligned
    with the image at every factor.
    """

    def __init__(self, size: tuple[int, int], new_size: tuple[int, int]) -> None:
        """
        Args:
            size: (H, W) of what comes in.
            new_size: (H, W) of what goes out.
        """
        super().__init__()
        self.size = size
        self.new_size = new_size

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        if img.shape[:2] == self.new_size:
            return img
        resized = cv2.resize(img, self.new_size[::-1], interpolation=cv2.INTER_LINEAR)
        return resized.reshape(*self.new_size, *img.shape[2:])

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        if segmentation.shape == self.new_size:
            return segmentation
        return cv2.resize(segmentation, self.new_size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        scale = np.divide(self.new_size[::-1], self.size[::-1])
        return coords * scale

    def inverse(self) -> Transform:
        return ResizeImage(self.new_size, self.size)


class ScaleIntoBox(T.Augmentation):
    """Scales an image into a box of random size, keeping its ratio."""

    def __init__(
        self,
        short_edges: Sequence[int],
        long_edge: int,
        scale_range: tuple[float, float] = (1.0, 1.0),
        sample_style: str = "choice",
        multiple: int = 1,
    ) -> None:
        """
        Args:
            short_edges: one is chosen ("choice"), or the bounds of a range ("range"); 0 takes the
                image's own size as the box.
            long_edge: long side of the box.
            scale_range: a factor drawn uniformly from here scales the box.
            multiple: in a second step both sides are raised to a multiple of this.
        """
        super().__init__()
        if sample_style not in ("choice", "range"):
            raise ProLabError(
                f"INPUT.MIN_SIZE_TRAIN_SAMPLING is {sample_style!r}: use 'choice' or 'range'"
            )
        if not 0 < scale_range[0] <= scale_range[1]:
            raise ProLabError(
                f"INPUT.SCALE_RANGE is {list(scale_range)}: give a smallest and a largest factor"
            )
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        short_edge = self._draw_short_edge()
        low, high = self.scale_range
        factor = low if low == high else np.random.uniform(low, high)
        size = image.shape[:2]
        new_size = scaled_size(size, short_edge, self.long_edge, factor)
        resize = ResizeImage(size, new_size)
        rounded = round_up(new_size, self.multiple)
        if rounded == new_size:
            return resize if new_size != size else T.NoOpTransform()
        # Two interpolations one after the other, as published, not one to the final size.
        return T.TransformList([resize, ResizeImage(new_size, rounded)])

    def _draw_short_edge(self) -> int:
        if self.sample_style == "range":
            return int(np.random.randint(min(self.short_edges), max(self.short_edges) + 1))
        if len(self.short_edges) == 1:
            return int(self.short_edges[0])
        return int(np.random.choice(self.short_edges))


def choose_crop(
    sem_seg: np.ndarray,
    draw: Callable[[], tuple[int, int, int, int]],
    max_area: float,
    ignore_label: int,
) -> tuple[int, int, int, int]:
    """Draws boxes until one has several categories, none of them larger than a share.

    Args:
        sem_seg: (H, W) non-negative label ids.
        draw: gives the next box (y0, y1, x0, x1).
        max_area: share of the labelled pixels that the largest category must stay below; 1 or more
            accepts the first box unseen.
        ignore_label: label that does not count.
    Returns:
        The first good box; after 10 redraws the last one, unchecked.
    """
    box = draw()
    if max_area >= 1:
        return box
    for _ in range(_MAX_REDRAWS):
        y0, y1, x0, x1 = box
        counts = _count_ids(sem_seg[y0:y1, x0:x1])
        if ignore_label < counts.size:
            counts[ignore_label] = 0
        if np.count_nonzero(counts) > 1 and counts.max() / counts.sum() < max_area:
            return box
        box = draw()
    return box


def _count_ids(sem_seg: np.ndarray) -> np.ndarray:
    """How often each id occurs in an array of non-negative ids."""
    # OpenCV's histogram is three times as fast as NumPy's; it counts in float32.
    if sem_seg.dtype == np.uint8 and sem_seg.size < 1 << 24:
        return cv2.calcHist([sem_seg], [0], None, [256], [0, 256]).ravel()
    return np.bincount(sem_seg.ravel())


class CategoryAreaCrop(T.Augmentation):
    """Random crop that avoids boxes which one category fills (see `choose_crop`)."""

    def __init__(
        self, crop_type: str, crop_size: Sequence[float], max_area: float, ignore_label: int
    ) -> None:
        """
        Args:
            crop_type, crop_size: as in Detectron2's `RandomCrop`; "absolute" with (H, W) crops that
                many pixels, or the whole side where the image is smaller.
            max_area, ignore_label: as in `choose_crop`.
        Raises:
            ProLabError: no such type, or a size that it cannot have.
        """
        super().__init__()
        absolute = crop_type in ("absolute", "absolute_range")
        if not absolute and crop_type not in ("relative", "relative_range"):
            raise ProLabError(
                f"INPUT.CROP.TYPE is {crop_type!r}: use 'absolute' (pixels), 'absolute_range', "
                "'relative' (shares of the image) or 'relative_range'"
            )
        if not all(side == int(side) >= 1 if absolute else 0 < side <= 1 for side in crop_size):
            raise ProLabError(
                f"INPUT.CROP.SIZE is {list(crop_size)} with INPUT.CROP.TYPE {crop_type!r}: give "
                + ("whole pixels" if absolute else "shares of the image up to 1")
            )
        self._init(locals())
        if absolute:
            crop_size = [int(side) for side in crop_size]
        self._sizes = T.RandomCrop(crop_type, crop_size)

    def get_transform(self, image: np.ndarray, sem_seg: np.ndarray) -> Transform:
        size = image.shape[:2]
        y0, y1, x0, x1 = choose_crop(
            sem_seg, lambda: self._draw(size), self.max_area, self.ignore_label
        )
        if (y1 - y0, x1 - x0) == size:
            return T.NoOpTransform()
        return T.CropTransform(x0, y0, x1 - x0, y1 - y0)

    def _draw(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        height, width = self._sizes.get_crop_size(size)
        y0 = int(np.random.randint(size[0] - height + 1))
        x0 = int(np.random.randint(size[1] - width + 1))
        return y0, y0 + height, x0, x0 + width


def build_augmentations(cfg: CfgNode, is_train: bool, ignore_label: int) -> list[T.Augmentation]:
    """The augmentations that a config asks for.

    In training: scale, crop, flip, photometric distortion. In testing: scale only.

    Raises:
        ProLabError: an option of INPUT is none of its values.
    """
    inputs = cfg.INPUT
    if not is_train:
        return [
            ScaleIntoBox(
                (inputs.MIN_SIZE_TEST,), inputs.MAX_SIZE_TEST, multiple=inputs.TEST_SIZE_MULTIPLE
            )
        ]
    augmentations: list[T.Augmentation] = [
        ScaleIntoBox(
            tuple(inputs.MIN_SIZE_TRAIN),
            inputs.MAX_SIZE_TRAIN,
            tuple(inputs.SCALE_RANGE),
            inputs.MIN_SIZE_TRAIN_SAMPLING,
        )
    ]
    crop = inputs.CROP
    if crop.ENABLED:
        augmentations.append(
            CategoryAreaCrop(crop.TYPE, crop.SIZE, crop.SINGLE_CATEGORY_MAX_AREA, ignore_label)
        )
    if inputs.RANDOM_FLIP in ("horizontal", "vertical"):
        horizontal = inputs.RANDOM_FLIP == "horizontal"
        augmentations.append(T.RandomFlip(horizontal=horizontal, vertical=not horizontal))
    elif inputs.RANDOM_FLIP != "none":
        raise ProLabError(
            f"INPUT.RANDOM_FLIP is {inputs.RANDOM_FLIP!r}: use 'horizontal', 'vertical' or 'none'"
        )
    if inputs.PHOTOMETRIC_DISTORTION:
        augmentations.append(PhotometricDistortion(inputs.FORMAT))
    return augmentations


def build_views(cfg: CfgNode) -> list[tuple[T.Augmentation, bool]]:
    """The views of test-time augmentation, TEST.AUG: how to scale, and whether to mirror.

    Each of MIN_SIZES scales the box of MIN_SIZE_TEST and MAX_SIZE_TEST, whose long side stays at
    or below TEST.AUG.MAX_SIZE; with FLIP there is a mirror image of each. Empty when switched off.

    Raises:
        ProLabError: MIN_SIZES is empty.
    """
    inputs, views = cfg.INPUT, cfg.TEST.AUG
    if not views.ENABLED:
        return []
    if not views.MIN_SIZES:
        raise ProLabError("TEST.AUG.MIN_SIZES is empty: give short sides such as '(256, 512)'")
    result = []
    for size in views.MIN_SIZES:
        factor = size / inputs.MIN_SIZE_TEST if inputs.MIN_SIZE_TEST else 1.0
        long_edge = min(int(inputs.MAX_SIZE_TEST * factor), views.MAX_SIZE)
        scale = ScaleIntoBox((size,), long_edge, multiple=inputs.TEST_SIZE_MULTIPLE)
        result += [(scale, flip) for flip in ((False, True) if views.FLIP else (False,))]
    return result


def make_views(
    image: np.ndarray, views: Sequence[tuple[T.Augmentation, bool]]
) -> list[dict[str, Any]]:
    """The views of an image (H, W, 3) as `PropertySegmentor` reads them."""
    made = []
    for scale, flip in views:
        augmented = T.AugInput(image)
        scale(augmented)
        pixels = augmented.image[:, ::-1] if flip else augmented.image
        made.append({"image": channels_first(pixels), "flip": flip})
    return made
