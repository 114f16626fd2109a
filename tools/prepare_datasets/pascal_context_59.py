#!/usr/bin/env python
"""Prepares Pascal Context with its 59 most frequent categories (pascal_context_59_sem_seg_*).

Example:
    python tools/prepare_datasets/pascal_context_59.py

Of these downloads, the first and one of the others:

    VOCtrainval_03-May-2010.tar (http://host.robots.ox.ac.uk/pascal/VOC/voc2010/)
        VOCdevkit/VOC2010/JPEGImages/2008_000002.jpg ...
        VOCdevkit/VOC2010/ImageSets/Main/{train,val}.txt      4,998 and 5,105 names, one a line

    trainval_merged.json (https://codalabuser.blob.core.windows.net/public/trainval_merged.json)
        annotations of PASCAL in Detail: {"images": [{"image_id", "file_name", "height", "width",
        "phase": "train" or "val"}, ...], "annos_segmentation": [{"image_id", "category_id",
        "segmentation": run-length code of COCO}, ...], ...}; 4,996 and 5,104 images, used by
        MMSegmentation and the paper, and preferred here

    trainval.tar.gz (https://cs.stanford.edu/~roozbeh/pascal-context/)
        trainval/2008_000002.mat ...           10,103 label maps, unpacked in VOCdevkit/VOC2010/

Both number categories from 1 to 459, of which 59 are the most frequent ones: aeroplane 2, bag 9,
bed 18, ... wood 458. All other pixels are unlabelled; label maps are MATLAB files and need SciPy.
(59_context_labels.tar.gz, which numbers them in another order, is not read.) Written are

    VOCdevkit/VOC2010/
      JPEGImages/                       those images, where they are not unpacked yet
      annotations_59/{train,val}/       0 to 58 in alphabetical order, unlabelled 255
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from prolab_d2.data.datasets.pascal_context import SPLITS_59
from prolab_d2.data.datasets.prepared import PreparedSplit
from prolab_d2.data.preparation import Plan, Sources, run_preparation
from prolab_d2.data.preparation.pascal_context import (
    DETAIL,
    IMAGES,
    LABEL_MAPS,
    plan_from_detail,
    plan_from_label_maps,
)
from prolab_d2.errors import exit_cleanly


def plan(split: PreparedSplit, sources: Sources) -> Plan:
    """How a split is made of the downloads."""
    detail = sources.find_file(DETAIL.file)
    if detail is not None:
        return plan_from_detail(split, sources, detail, "pascal_context_59")
    return plan_from_label_maps(split, sources, "pascal_context_59")


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> None:
    splits = {name: [split] for name, split in SPLITS_59.items()}
    run_preparation(__doc__, [IMAGES, DETAIL, LABEL_MAPS], splits, plan, argv)


if __name__ == "__main__":
    sys.exit(main())
