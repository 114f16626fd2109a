#!/usr/bin/env python
"""Prepares ADE20K with its full vocabulary, 847 categories (ade20k_847_sem_seg_*).

Example:
    python tools/prepare_datasets/ade20k_847.py --splits val

Of the full release (https://groups.csail.mit.edu/vision/datasets/ADE20K/, after registration; the
link in the mail leads to a zip file named after the user, to be renamed ADE20K_2021_17_01.zip):

    ADE20K_2021_17_01/
      images/ADE/training/<kind>/<scene>/ADE_train_00000001.jpg ...      25,574 images
      images/ADE/validation/<kind>/<scene>/ADE_val_00000001.jpg ...       2,000 images
      .../ADE_train_00000001_seg.png        RGB; _parts_1.png, .json and folders are not needed
      objects.txt, index_ade20k.pkl

The index of an object is R // 10 * 256 + G in the _seg file, 0 is unlabelled, blue tells instances
apart. 847 of the about 3,000 objects are categories, in the order of MaskFormer (Cheng et al.
2021); pixels of the others are unlabelled. As there, pictures whose shorter side is above 512
pixels are made smaller. Written are

    ADE20K_2021_17_01/
      images_847/{training,validation}/ADE_train_00000001.jpg ...
      annotations_847/{training,validation}/ADE_train_00000001.png ...     16-bit, unlabelled 65535
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from prolab_d2.data.datasets.ade20k_847 import SPLITS
from prolab_d2.data.datasets.prepared import PreparedSplit
from prolab_d2.data.preparation import (
    Download,
    Part,
    Plan,
    Sources,
    decode_image,
    decode_mask,
    encode_mask,
    run_preparation,
)
from prolab_d2.data.reading import LabelIds
from prolab_d2.errors import exit_cleanly

RELEASE = Download(
    "ADE20K_2021_17_01.zip",
    "https://groups.csail.mit.edu/vision/datasets/ADE20K/ (needs an account)",
    "images and masks, renamed from <user>_<hash>.zip",
)
FOLDERS = {"train": "training", "val": "validation"}
SHORTER_SIDE = 512
JPEG_QUALITY = 95
# Index of the object that each category is.
_LINES = Path(__file__).with_name("ade20k_847_objects.txt").read_text().splitlines()
OBJECTS = tuple(int(i) for line in _LINES if not line.startswith("#") for i in line.split())
_HIGHEST = 255 // 10 * 256 + 255
LABEL_IDS = LabelIds(
    847,
    65535,
    {index: 65535 for index in range(_HIGHEST + 1)}
    | {index: category for category, index in enumerate(OBJECTS)},
)


def plan(split: PreparedSplit, sources: Sources) -> Plan:
    """How a split is made of the release."""
    place = f"ADE20K_2021_17_01/images/ADE/{FOLDERS[split.split]}"
    tree = sources.require(Part(RELEASE, f"{place}/", (place,)))
    paths = {path.rpartition("/")[2]: path for path in tree.names("_seg.png")}

    def image(name: str) -> bytes:
        path = f"{paths[name]}.jpg"
        content = tree.read(path)
        pixels = decode_image(content, f"{tree.place}/{path}")
        size = reduced_size(pixels.shape[:2])
        if size == pixels.shape[:2]:
            return content
        pixels = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_LINEAR)
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        return cv2.imencode(".jpg", pixels[..., ::-1], options)[1].tobytes()

    def mask(name: str) -> bytes:
        path = f"{paths[name]}_seg.png"
        where = f"{tree.place}/{path}"
        colors = decode_mask(tree.read(path), where, channels=3)
        objects = colors[..., 0].astype(np.uint16) // 10 * 256 + colors[..., 1]
        size = reduced_size(objects.shape)
        if size != objects.shape:
            objects = cv2.resize(objects, size[::-1], interpolation=cv2.INTER_NEAREST)
        return encode_mask(LABEL_IDS.decode(objects, where), LABEL_IDS.ignore_label)

    return Plan(split, list(paths), image, mask)


def reduced_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a picture whose shorter side is at most 512 pixels."""
    height, width = size
    shorter = min(height, width)
    if shorter <= SHORTER_SIDE:
        return height, width
    if height <= width:
        return SHORTER_SIDE, round(width / height * SHORTER_SIDE)
    return round(height / width * SHORTER_SIDE), SHORTER_SIDE


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> None:
    splits = {name: [split] for name, split in SPLITS.items()}
    run_preparation(__doc__, [RELEASE], splits, plan, argv)


if __name__ == "__main__":
    sys.exit(main())
