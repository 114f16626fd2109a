"""COCO-Stuff 164k, the 171 categories that occur (Caesar et al. 2018).

118,287 training and 5,000 validation images of COCO 2017, where Detectron2 expects those.
"""

from __future__ import annotations

from prolab_d2.data.datasets.categories import named_categories
from prolab_d2.data.datasets.prepared import PreparedSplit, register_prepared

__all__ = ["SPLITS", "register_coco_stuff_164k"]

SPLITS = {
    split: PreparedSplit(
        tool="coco_stuff_164k",
        split=split,
        images=f"coco/{folder}",
        masks=f"coco/stuffthingmaps_detectron2/{folder}",
        counts=(count,),
    )
    for split, folder, count in (("train", "train2017", 118_287), ("val", "val2017", 5_000))
}


def register_coco_stuff_164k() -> None:
    """Registers coco_stuff_164k_sem_seg_{train,val}."""
    categories = named_categories("coco_stuff_164k")
    for name, split in SPLITS.items():
        register_prepared(f"coco_stuff_164k_sem_seg_{name}", split, categories)
