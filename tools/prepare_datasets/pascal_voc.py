#!/usr/bin/env python
"""Prepares Pascal VOC 2012 segmentation (voc_20_sem_seg_* and voc_21_sem_seg_*).

Example:
    python tools/prepare_datasets/pascal_voc.py --splits val

Of VOCtrainval_11-May-2012.tar (http://host.robots.ox.ac.uk/pascal/VOC/voc2012/):

    VOCdevkit/VOC2012/
      JPEGImages/2007_000027.jpg ...                 17,125 images, of which 2,913 are segmented
      SegmentationClass/2007_000032.png ...
      ImageSets/Segmentation/{train,val}.txt         1,464 and 1,449 names, one a line

Masks have a palette: 0 is background, 1 to 20 are the categories in alphabetical order, 255 is the
border around objects. Written are, next to them,

    VOCdevkit/VOC2012/
      JPEGImages/                       those images, where they are not unpacked yet
      annotations_20/{train,val}/       0 to 19 without background; background and border 255
      annotations_21/{train,val}/       0 background, 1 to 20; border 255
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from prolab_d2.data.datasets.pascal_voc import SPLITS_20, SPLITS_21
from prolab_d2.data.datasets.prepared import PreparedSplit
from prolab_d2.data.preparation import (
    Download,
    Part,
    Plan,
    Sources,
    copy_from,
    read_names,
    relabel,
    run_preparation,
)
from prolab_d2.data.reading import LabelIds
from prolab_d2.errors import exit_cleanly

RELEASE = Download(
    "VOCtrainval_11-May-2012.tar",
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ (training/validation data)",
    "images and masks, 2 GB",
)
LABEL_IDS_20 = LabelIds(20, 255, {0: 255} | {index: index - 1 for index in range(1, 21)})
LABEL_IDS_21 = LabelIds(21, 255)


def plan(split: PreparedSplit, sources: Sources) -> Plan:
    """How a split is made of the release."""
    images, masks, lists = (
        sources.require(
            Part(
                RELEASE,
                f"VOCdevkit/VOC2012/{kind}/",
                (f"VOCdevkit/VOC2012/{kind}", f"VOC2012/{kind}"),
            )
        )
        for kind in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")
    )
    with_background = split == SPLITS_21[split.split]
    return Plan(
        split,
        read_names(lists, f"{split.split}.txt"),
        image=copy_from(images, ".jpg"),
        mask=relabel(masks, ".png", LABEL_IDS_21 if with_background else LABEL_IDS_20),
    )


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> None:
    splits = {name: [SPLITS_20[name], SPLITS_21[name]] for name in SPLITS_20}
    run_preparation(__doc__, [RELEASE], splits, plan, argv)


if __name__ == "__main__":
    sys.exit(main())
