#!/usr/bin/env python
"""Prepares the semantic segmentation of BDD100K, 19 categories (bdd100k_sem_seg_*).

Example:
    python tools/prepare_datasets/bdd100k.py

Of the downloads of http://bdd-data.berkeley.edu, which ask for an account ("10K Images" and
"Segmentation"; https://doc.bdd100k.com/download.html):

    bdd100k_images_10k.zip                 bdd100k/images/10k/{train,val,test}/<name>.jpg
    bdd100k_sem_seg_labels_trainval.zip    bdd100k/labels/sem_seg/masks/{train,val}/<name>.png

or of the release of 2018, which holds both:

    bdd100k_seg.zip                        bdd100k/seg/images/{train,val,test}/<name>.jpg
                                           bdd100k/seg/labels/{train,val}/<name>_train_id.png

Masks are 8-bit and hold the train ids of Cityscapes, 0 to 18, and 255 for all else. (Its panoptic
masks count 40 categories in another order; they are refused.) Written is the tree of the newer
release, where it is not unpacked yet:

    bdd100k/
      images/10k/{train,val}/
      labels/sem_seg/masks/{train,val}/
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from prolab_d2.data.datasets.bdd100k import SPLITS
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

PAGE = "http://bdd-data.berkeley.edu (needs an account)"
IMAGES = Download("bdd100k_images_10k.zip", f"{PAGE}, 10K Images", "images, 1.1 GB")
LABELS = Download("bdd100k_sem_seg_labels_trainval.zip", f"{PAGE}, Segmentation", "masks, 0.3 GB")
RELEASE_2018 = Download("bdd100k_seg.zip", PAGE, "or, instead of both, the release of 2018")
LABEL_IDS = LabelIds(19, 255)


def plan(split: PreparedSplit, sources: Sources) -> Plan:
    """How a split is made of either release."""
    suffix = ".png"
    old_labels = sources.find(_part(RELEASE_2018, f"bdd100k/seg/labels/{split.split}"))
    if old_labels is None or sources.find(_part(LABELS, split.masks)) is not None:
        labels = sources.require(_part(LABELS, split.masks))
        images = sources.require(_part(IMAGES, split.images))
    else:
        suffix = "_train_id.png"
        labels = old_labels
        images = sources.require(_part(RELEASE_2018, f"bdd100k/seg/images/{split.split}"))
    return Plan(
        split,
        labels.names(suffix),
        image=copy_from(images, ".jpg"),
        mask=relabel(labels, suffix, LABEL_IDS),
    )


def _part(download: Download, place: str) -> Part:
    return Part(download, f"{place}/", (place, place.removeprefix("bdd100k/")))


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> None:
    splits = {name: [split] for name, split in SPLITS.items()}
    run_preparation(__doc__, [IMAGES, LABELS, RELEASE_2018], splits, plan, argv)


if __name__ == "__main__":
    sys.exit(main())
