#!/usr/bin/env python
"""Prepares COCO-Stuff 164k with the 171 categories that occur (coco_stuff_164k_sem_seg_*).

Example:
    python tools/prepare_datasets/coco_stuff_164k.py --splits val

Of COCO 2017 (https://cocodataset.org) and COCO-Stuff (https://github.com/nightrome/cocostuff):

    train2017.zip                     train2017/000000000009.jpg ...   118,287 images
    val2017.zip                       val2017/000000000139.jpg ...       5,000 images
    stuffthingmaps_trainval2017.zip   {train2017,val2017}/<same name>.png

Masks are 8-bit: the number of a label in labels.txt less 1 (0 to 90 things, 91 to 181 stuff), 255
unlabelled. Eleven numbers of things are in no mask: 12 street sign, 26 hat, 29 shoe, 30 eye
glasses, 45 plate, 66 mirror, 68 window, 69 desk, 71 door, 83 blender, 91 hair brush. Written are

    coco/
      train2017/, val2017/                                  where they are not unpacked yet
      stuffthingmaps_detectron2/{train2017,val2017}/        0 to 170 without gaps, unlabelled 255
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from prolab_d2.data.datasets.coco_stuff_164k import SPLITS
from prolab_d2.data.datasets.prepared import PreparedSplit
from prolab_d2.data.preparation import (
    Download,
    Part,
    Plan,
    Sources,
    copy_from,
    relabel,
    run_preparation,
)
from prolab_d2.data.reading import LabelIds
from prolab_d2.errors import exit_cleanly

IMAGES = {
    split: Download(
        f"{split}2017.zip", "https://cocodataset.org/#download (2017 images)", f"images, {size}"
    )
    for split, size in (("train", "18 GB"), ("val", "1 GB"))
}
MAPS = Download(
    "stuffthingmaps_trainval2017.zip",
    "https://github.com/nightrome/cocostuff#downloads",
    "masks of both splits, 0.7 GB",
)
NUMBERS_WITHOUT_PIXELS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
NUMBERS = [number for number in range(1, 183) if number not in NUMBERS_WITHOUT_PIXELS]
LABEL_IDS = LabelIds(
    171,
    255,
    {number - 1: -1 for number in NUMBERS_WITHOUT_PIXELS}
    | {number - 1: index for index, number in enumerate(NUMBERS)},
)


def plan(split: PreparedSplit, sources: Sources) -> Plan:
    """How a split is made of the downloads."""
    folder = f"{split.split}2017"
    masks = sources.require(
        Part(
            MAPS,
            f"{folder}/",
            tuple(f"{place}/{folder}" for place in ("coco/stuffthingmaps", "stuffthingmaps")),
        )
    )
    images = sources.require(Part(IMAGES[split.split], f"{folder}/", (f"coco/{folder}", folder)))
    return Plan(
        split,
        masks.names(".png"),
        image=copy_from(images, ".jpg"),
        mask=relabel(masks, ".png", LABEL_IDS),
    )


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> None:
    splits = {name: [split] for name, split in SPLITS.items()}
    run_preparation(__doc__, [*IMAGES.values(), MAPS], splits, plan, argv)


if __name__ == "__main__":
    sys.exit(main())
