#!/usr/bin/env python
"""Prepares Pascal Context with all 459 categories (pascal_context_459_sem_seg_*).

Example:
    python tools/prepare_datasets/pascal_context_459.py --splits val

Of these downloads:

    VOCtrainval_03-May-2010.tar (http://host.robots.ox.ac.uk/pascal/VOC/voc2010/)
        VOCdevkit/VOC2010/JPEGImages/2008_000002.jpg ...
        VOCdevkit/VOC2010/ImageSets/Main/{train,val}.txt      4,998 and 5,105 names, one a line
    trainval.tar.gz (https://cs.stanford.edu/~roozbeh/pascal-context/)
        trainval/2008_000002.mat ...           10,103 label maps, unpacked in VOCdevkit/VOC2010/

A label map is a MATLAB file with a uint16 matrix LabelMap: 0 unlabelled, 1 to 459 as in labels.txt
of that page. Reading it needs SciPy. Written are

    VOCdevkit/VOC2010/
      JPEGImages/                        those images, where they are not unpacked yet
      annotations_459/{train,val}/       16-bit PNG, 0 to 458, unlabelled 65535
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from prolab_d2.data.datasets.pascal_context import SPLITS_459
from prolab_d2.data.datasets.prepared import PreparedSplit
from prolab_d2.data.preparation import Plan, Sources, run_preparation
from prolab_d2.data.preparation.pascal_context import IMAGES, LABEL_MAPS, plan_from_label_maps
from prolab_d2.errors import exit_cleanly


def plan(split: PreparedSplit, sources: Sources) -> Plan:
    """How a split is made of the downloads."""
    return plan_from_label_maps(split, sources, "pascal_context_459")


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> None:
    splits = {name: [split] for name, split in SPLITS_459.items()}
    run_preparation(__doc__, [IMAGES, LABEL_MAPS], splits, plan, argv)


if __name__ == "__main__":
    sys.exit(main())
