"""Cityscapes, the 19 categories that are evaluated (Cordts et al. 2016).

2,975 training and 500 validation images of 2048 x 1024 pixels with fine annotations. The names of
the data sets and the tree are Detectron2's own. The test split has no public labels and stays
Detectron2's.
"""

from __future__ import annotations

from prolab_d2.data.datasets.categories import named_categories
from prolab_d2.data.datasets.prepared import PreparedSplit, register_prepared

__all__ = ["SPLITS", "register_cityscapes"]

SPLITS = {
    split: PreparedSplit(
        tool="cityscapes",
        split=split,
        images=f"cityscapes/leftImg8bit/{split}",
        masks=f"cityscapes/gtFine/{split}",
        counts=(count,),
        image_suffix="_leftImg8bit.png",
        mask_suffix="_gtFine_labelTrainIds.png",
    )
    for split, count in (("train", 2_975), ("val", 500))
}


def register_cityscapes() -> None:
    """Registers cityscapes_fine_sem_seg_{train,val} in place of Detectron2's own."""
    categories = named_categories("cityscapes")
    for name, split in SPLITS.items():
        register_prepared(f"cityscapes_fine_sem_seg_{name}", split, categories)
