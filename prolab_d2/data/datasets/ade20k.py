"""ADE20K, the 150 categories of the scene parsing benchmark (Zhou et al. 2017).

20,210 training and 2,000 validation images. The names of the data sets and the tree are
Detectron2's own; the categories are called as in the label space, by one name each.
"""

from __future__ import annotations

from prolab_d2.data.datasets.categories import named_categories
from prolab_d2.data.datasets.prepared import PreparedSplit, register_prepared

__all__ = ["SPLITS", "register_ade20k"]

_ROOT = "ADEChallengeData2016"
SPLITS = {
    split: PreparedSplit(
        tool="ade20k",
        split=split,
        images=f"{_ROOT}/images/{folder}",
        masks=f"{_ROOT}/annotations_detectron2/{folder}",
        counts=(count,),
    )
    for split, folder, count in (("train", "training", 20_210), ("val", "validation", 2_000))
}


def register_ade20k() -> None:
    """Registers ade20k_sem_seg_{train,val} in place of Detectron2's own."""
    categories = named_categories("ade20k")
    for name, split in SPLITS.items():
        register_prepared(f"ade20k_sem_seg_{name}", split, categories)
