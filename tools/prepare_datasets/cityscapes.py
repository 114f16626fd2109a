#!/usr/bin/env python
"""Prepares Cityscapes with the 19 categories that are evaluated (cityscapes_fine_sem_seg_*).

Example:
    python tools/prepare_datasets/cityscapes.py

Of the downloads of https://www.cityscapes-dataset.com, which ask for an account:

    leftImg8bit_trainvaltest.zip   leftImg8bit/<split>/<city>/<city>_000000_000019_leftImg8bit.png
    gtFine_trainvaltest.zip        gtFine/<split>/<city>/<city>_000000_000019_gtFine_labelIds.png
                                   (_color.png, _instanceIds.png and _polygons.json are not needed)

Label images are 8-bit and hold ids 0 to 33, of which 19 are evaluated: road 7, sidewalk 8, building
11, wall 12, ... bicycle 33. Written are the same with train ids, as createTrainIdLabelImgs.py of
the data set's scripts and Detectron2 call them,

    cityscapes/
      leftImg8bit/<split>/<city>/      where they are not unpacked yet
      gtFine/<split>/<city>/<city>_000000_000019_gtFine_labelTrainIds.png
                                       0 to 18, unlabelled 255

Detectron2's own loader and evaluator of Cityscapes need gtFine_trainvaltest.zip unpacked in
cityscapes/.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from prolab_d2.data.datasets.cityscapes import SPLITS
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

PAGE = "https://www.cityscapes-dataset.com/downloads/ (needs an account)"
IMAGES = Download("leftImg8bit_trainvaltest.zip", PAGE, "images, 11 GB")
LABELS = Download("gtFine_trainvaltest.zip", PAGE, "fine annotations, 0.25 GB")
# The ids of the data set in the order of their train ids; all others are unlabelled.
IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
LABEL_IDS = LabelIds(
    19,
    255,
    {255: -1} | {value: 255 for value in range(34)} | {value: i for i, value in enumerate(IDS)},
)


def plan(split: PreparedSplit, sources: Sources) -> Plan:
    """How a split is made of the downloads."""
    labels, images = (
        sources.require(Part(download, f"{place}/", (f"cityscapes/{place}", place)))
        for download, place in (
            (LABELS, f"gtFine/{split.split}"),
            (IMAGES, f"leftImg8bit/{split.split}"),
        )
    )
    return Plan(
        split,
        labels.names("_gtFine_labelIds.png"),
        image=copy_from(images, split.image_suffix),
        mask=relabel(labels, "_gtFine_labelIds.png", LABEL_IDS),
    )


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> None:
    splits = {name: [split] for name, split in SPLITS.items()}
    run_preparation(__doc__, [IMAGES, LABELS], splits, plan, argv)


if __name__ == "__main__":
    sys.exit(main())
