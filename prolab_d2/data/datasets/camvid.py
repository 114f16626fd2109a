"""CamVid road scenes in the split and the 11 classes that SegNet made standard.

Brostow et al. 2009; Badrinarayanan et al. 2017: 367 training, 101 validation and 233 test images of
480 x 360 pixels. The root is $DETECTRON2_DATASETS/camvid ("datasets/camvid" without the variable),
read when the data set is used. Two trees are accepted:

- images/{train,val,test}/*.{png,jpg} with annotations/{train,val,test}/*.png, unlabelled 255,
- the public release: {train,val,test}/*.png with {train,val,test}annot/*.png, unlabelled 11.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from prolab_d2.data.datasets.categories import Categories
from prolab_d2.data.datasets.folder import pair_files, register_dataset
from prolab_d2.errors import ProLabError

__all__ = ["CAMVID", "SPLITS", "list_camvid", "register_camvid"]

SPLITS = ("train", "val", "test")
CAMVID = Categories(
    names=(
        "sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car",
        "pedestrian", "bicyclist",
    ),
    # The colours of the release.
    colors=(
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222),
        (128, 128, 0), (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
    ignore_label=255,
    label_map={11: 255},
)  # fmt: skip


def register_camvid() -> None:
    """Registers camvid_sem_seg_{train,val,test}; reads nothing yet."""
    for split in SPLITS:
        register_dataset(
            f"camvid_sem_seg_{split}", partial(list_camvid, split), **CAMVID.metadata()
        )


def list_camvid(split: str) -> list[dict[str, Any]]:
    """Entries of one split.

    Raises:
        ProLabError: neither tree is there, or it is incomplete.
    """
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets")) / "camvid"
    trees = (
        (root / "images" / split, root / "annotations" / split),
        (root / split, root / f"{split}annot"),
    )
    for images, masks in trees:
        if images.is_dir() and masks.is_dir():
            return pair_files(images, masks)
    raise ProLabError(
        f"CamVid split {split!r} is not there, {root}: put the release's folders {split}/ and "
        f"{split}annot/ (or images/{split}/ and annotations/{split}/) into it, or set "
        "DETECTRON2_DATASETS to the folder that holds camvid/"
    )
