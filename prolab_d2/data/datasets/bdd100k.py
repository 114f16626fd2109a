"""BDD100K, semantic segmentation in the 19 categories of Cityscapes (Yu et al. 2020).

7,000 training and 1,000 validation images of 1280 x 720 pixels, in the tree of the release.
"""

from __future__ import annotations

from prolab_d2.data.datasets.categories import named_categories
from prolab_d2.data.datasets.prepared import PreparedSplit, register_prepared

__all__ = ["SPLITS", "register_bdd100k"]

SPLITS = {
    split: PreparedSplit(
        tool="bdd100k",
        split=split,
        images=f"bdd100k/images/10k/{split}",
        masks=f"bdd100k/labels/sem_seg/masks/{split}",
        counts=(count,),
    )
    for split, count in (("train", 7_000), ("val", 1_000))
}


def register_bdd100k() -> None:
    """Registers bdd100k_sem_seg_{train,val}."""
    categories = named_categories("cityscapes")
    for name, split in SPLITS.items():
        register_prepared(f"bdd100k_sem_seg_{name}", split, categories)
