#!/usr/bin/env python
"""Prepares ADE20K with the 150 categories of the scene parsing benchmark (ade20k_sem_seg_*).

Example:
    python tools/prepare_datasets/ade20k.py

Of the release ADEChallengeData2016 (http://sceneparsing.csail.mit.edu/):

    ADEChallengeData2016/
      images/training/ADE_train_00000001.jpg ... 00020210
      images/validation/ADE_val_00000001.jpg ... 00002000
      annotations/{training,validation}/<same name>.png
      objectInfo150.txt, sceneCategories.txt

Masks are 8-bit: 0 is "other objects" and means unlabelled, 1 to 150 are the categories of
objectInfo150.txt in its order. Written are, next to them and as Detectron2 expects them,

    ADEChallengeData2016/
      images/...                                       where they are not unpacked yet
      annotations_detectron2/{training,validation}/    0 to 149, unlabelled 255
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from prolab_d2.data.datasets.ade20k import SPLITS
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

RELEASE = Download(
    "ADEChallengeData2016.zip",
    "http://sceneparsing.csail.mit.edu/ (Scene Parsing, train/val)",
    "images and masks, 0.9 GB",
)
FOLDERS = {"train": "training", "val": "validation"}
LABEL_IDS = LabelIds(150, 255, {0: 255, 255: -1} | {index: index - 1 for index in range(1, 151)})


def plan(split: PreparedSplit, sources: Sources) -> Plan:
    """How a split is made of the release."""
    images, masks = (
        sources.require(Part(RELEASE, f"{place}/", (place,)))
        for place in (
            f"ADEChallengeData2016/{kind}/{FOLDERS[split.split]}"
            for kind in ("images", "annotations")
        )
    )
    return Plan(
        split,
        masks.names(".png"),
        image=copy_from(images, ".jpg"),
        mask=relabel(masks, ".png", LABEL_IDS),
    )


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> None:
    splits = {name: [split] for name, split in SPLITS.items()}
    run_preparation(__doc__, [RELEASE], splits, plan, argv)


if __name__ == "__main__":
    sys.exit(main())
