"""Reading images and label masks, with one sentence about every file that cannot be used.

Shapes: H x W image size, N categories.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from detectron2.data.detection_utils import convert_PIL_to_numpy
from detectron2.utils.file_io import PathManager
from PIL import Image, ImageOps, UnidentifiedImageError

from prolab_d2.data.png import read_plain_png
from prolab_d2.errors import ProLabError

__all__ = [
    "LabelIds",
    "check_mask_size",
    "default_ignore_label",
    "eight_bits",
    "read_image",
    "read_mask",
    "read_sem_seg",
    "stuff_classes",
]

# What Pillow raises for damaged files, depending on the format and on where the damage lies.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)
_INVALID = -1
_ORIENTATION = 0x0112  # EXIF tag


def default_ignore_label(num_categories: int) -> int:
    """255, or 65535 where 255 is the id of a category (then masks are 16-bit PNG files)."""
    return 255 if num_categories <= 255 else 65535


def read_image(file_name: str | Path, image_format: str = "RGB") -> np.ndarray:
    """Reads an image, turned upright by its EXIF orientation.

    Args:
        image_format: "RGB" or "BGR" (or another mode of Pillow).
    Returns:
        (H, W, 3) uint8.
    Raises:
        ProLabError: missing or damaged file.
    """
    try:
        with PathManager.open(str(file_name), "rb") as file:
            pixels = read_plain_png(file)
            if pixels is None or pixels.ndim != 3 or image_format not in ("RGB", "BGR"):
                with Image.open(file) as image:
                    return _to_array(eight_bits(_upright(image)), image_format)
            return pixels if image_format == "RGB" else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    except FileNotFoundError:
        raise _missing("image", file_name) from None
    except _UNREADABLE as error:
        raise _damaged("image", file_name, error) from None


def _upright(image: Image.Image) -> Image.Image:
    """Turned by its EXIF orientation; the image itself, without a copy, where it has none."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # whatever is wrong there, the pixels may be good
        return image
    return image if orientation == 1 else ImageOps.exif_transpose(image)


def _to_array(image: Image.Image, image_format: str) -> np.ndarray:
    """As Detectron2's `convert_PIL_to_numpy`, without copies that change nothing."""
    if image_format not in ("RGB", "BGR"):
        return convert_PIL_to_numpy(image, image_format)
    array = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    return array if image_format == "RGB" else cv2.cvtColor(array, cv2.COLOR_RGB2BGR)


def eight_bits(image: Image.Image) -> Image.Image:
    """Scales a grey image of 16 bits to 8; others stay as they are.

    Pillow's own conversion cuts values off at 255, which leaves a white picture.
    """
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))


def read_mask(file_name: str | Path) -> np.ndarray:
    """Reads a mask of label ids as it is stored: (H, W) uint8, uint16 or int32.

    Raises:
        ProLabError: missing or damaged file, or a file with colours instead of ids.
    """
    try:
        with PathManager.open(str(file_name), "rb") as file:
            mask, mode = read_plain_png(file), "RGB"
            if mask is None:
                with Image.open(file) as image:
                    # A palette image holds ids, its palette only says how to show them.
                    mask = np.asarray(image)
                    mode = image.mode
    except FileNotFoundError:
        raise _missing("mask", file_name) from None
    except _UNREADABLE as error:
        raise _damaged("mask", file_name, error) from None
    if mask.ndim != 2 or mask.dtype.kind not in "bui":
        raise ProLabError(
            f"mask with colours (mode {mode}) instead of ids, {file_name}: save one channel of "
            "category ids (8-bit PNG, 16-bit above 255 categories)"
        )
    if mask.dtype == np.bool_:
        return mask.astype(np.uint8)
    return mask


def stuff_classes(metadata: Any) -> list[str]:
    """The names of a data set's categories, in the order of the ids.

    Raises:
        ProLabError: its metadata has none.
    """
    names = metadata.get("stuff_classes", None)
    if not names:
        raise ProLabError(
            f"data set {metadata.get('name', '')} has no stuff_classes in its metadata: take one "
            "with semantic segmentation masks, or set them"
        )
    return list(names)


class LabelIds:
    """Turns the ids of mask files into the ids of the data set and refuses unknown ones.

    Ids stand for themselves unless `label_map` says otherwise. In a 16-bit file 65535 always means
    unlabelled when it has no other meaning.
    """

    def __init__(
        self, num_categories: int, ignore_label: int, label_map: Mapping[int, int] | None = None
    ) -> None:
        """
        Args:
            num_categories: N.
            ignore_label: id of pixels without a label, outside [0, N) and within 0..65535.
            label_map: file id -> data-set id, where they differ; -1 makes a file id unknown.
        Raises:
            ProLabError: `ignore_label` is the id of a category or no 16-bit value.
        """
        if 0 <= ignore_label < num_categories or not 0 <= ignore_label <= 65535:
            raise ProLabError(
                f"ignore_label {ignore_label} with {num_categories} categories, data set: choose a "
                f"value from {num_categories} to 65535 ({default_ignore_label(num_categories)} is "
                "usual)"
            )
        self.num_categories = num_categories
        self.ignore_label = ignore_label
        table = np.full(65536, _INVALID, dtype=np.int32)
        table[:num_categories] = np.arange(num_categories)
        table[65535] = ignore_label
        table[ignore_label] = ignore_label
        for file_id, label in (label_map or {}).items():
            table[int(file_id)] = int(label)
        self._table = table
        # Ids of 8-bit files go through OpenCV's table look-up, by far the fastest way.
        self._table8 = np.where(table[:256] < 256, table[:256], 0).astype(np.uint8)
        self._unknown8 = (table[:256] == _INVALID).astype(np.uint8)
        self._fits8 = bool((table[:256] < 256).all())
        self._identity8 = bool(((table[:256] == np.arange(256)) | (table[:256] == _INVALID)).all())

    @classmethod
    def from_metadata(cls, metadata: Any) -> LabelIds:
        """From a data set's metadata: stuff_classes, ignore_label and, where set, label_map.

        Raises:
            ProLabError: no stuff_classes, or an `ignore_label` that cannot be.
        """
        categories = len(stuff_classes(metadata))
        ignore_label = metadata.get("ignore_label", default_ignore_label(categories))
        return cls(categories, ignore_label, metadata.get("label_map", None))

    def same_as(self, other: LabelIds) -> bool:
        """Whether every id of a file means the same here and there."""
        mine = (self.num_categories, self.ignore_label)
        theirs = (other.num_categories, other.ignore_label)
        return mine == theirs and np.array_equal(self._table, other._table)

    def label_map_to(
        self, new_ids: Sequence[int | None], num_categories: int, ignore_label: int
    ) -> dict[int, int]:
        """The `label_map` with which the same files have the ids of another list of categories.

        Args:
            new_ids: the new id of every category; None where it has none and is unlabelled.
            num_categories, ignore_label: of the new list.
        Returns:
            File id -> new id, or -1 for file ids that stay unknown.
        """
        # These would stand for themselves if nothing were said about them.
        named = {*range(num_categories), ignore_label, 65535}
        named.update(np.flatnonzero(self._table != _INVALID).tolist())
        result = {}
        for file_id in sorted(named):
            label = int(self._table[file_id])
            new = label
            if label == self.ignore_label:
                new = ignore_label
            elif label != _INVALID:
                new = ignore_label if new_ids[label] is None else new_ids[label]
            result[file_id] = new
        return result

    def unknown_ids(self, mask: np.ndarray) -> np.ndarray:
        """The ids of a mask that the data set does not have, sorted."""
        if mask.dtype == np.uint8 and not cv2.countNonZero(cv2.LUT(mask, self._unknown8)):
            return np.empty(0, dtype=np.int64)
        ids = np.unique(mask).astype(np.int64)
        known = (ids >= 0) & (ids <= 65535)
        known[known] = self._table[ids[known]] != _INVALID
        return ids[~known]

    def decode(self, mask: np.ndarray, file_name: str | Path) -> np.ndarray:
        """(H, W) ids of a file -> (H, W) data-set ids, uint8 where they fit, else int32.

        Raises:
            ProLabError: an id that the data set does not have; the sentence names the file.
        """
        unknown = self.unknown_ids(mask)
        if unknown.size:
            shown = ", ".join(map(str, unknown[:5])) + (", ..." if unknown.size > 5 else "")
            raise ProLabError(
                f"label id {shown} outside the {self.num_categories} categories, {file_name}: ids "
                f"are 0..{self.num_categories - 1} and {self.ignore_label} for unlabelled; correct "
                "the mask, the list of categories or the label_map of the data set"
            )
        if mask.dtype == np.uint8 and self._fits8:
            return mask if self._identity8 else cv2.LUT(mask, self._table8)
        return self._table[mask]


def read_sem_seg(
    file_name: str | Path, label_ids: LabelIds, image_size: tuple[int, int] | None = None
) -> np.ndarray:
    """Reads a mask, checks it against its image and gives (H, W) data-set ids (uint8 or int32).

    Args:
        image_size: (H, W) that the mask must have.
    Raises:
        ProLabError: unusable file, another size than the image, or an unknown label id.
    """
    mask = read_mask(file_name)
    if image_size is not None:
        check_mask_size(mask, image_size, file_name)
    return label_ids.decode(mask, file_name)


def check_mask_size(mask: np.ndarray, image_size: tuple[int, int], file_name: str | Path) -> None:
    """
    Raises:
        ProLabError: the mask has not the (H, W) of its image.
    """
    if mask.shape != image_size:
        height, width = image_size
        raise ProLabError(
            f"mask of {mask.shape[1]} x {mask.shape[0]} pixels for an image of {width} x {height}, "
            f"{file_name}: make both the same size (an image is turned by its EXIF orientation)"
        )


def _missing(kind: str, file_name: str | Path) -> ProLabError:
    return ProLabError(f"missing {kind}, {file_name}: put the file there or correct the data set")


def _damaged(kind: str, file_name: str | Path, error: BaseException) -> ProLabError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        reason = "no image format that is known"
    return ProLabError(f"unreadable {kind} ({reason}), {file_name}: replace the file")
