"""ADE20K with its full vocabulary, 847 categories (A-847), for testing with an open vocabulary.

25,574 training and 2,000 validation images of the release 2021_17_01, at most 512 pixels along the
shorter side as in MaskFormer (Cheng et al. 2021), whose list of categories this is. Masks are
16-bit PNG, unlabelled 65535.
"""

from __future__ import annotations

from prolab_d2.data.datasets.categories import named_categories
from prolab_d2.data.datasets.prepared import PreparedSplit, register_prepared

__all__ = ["SPLITS", "register_ade20k_847"]

_ROOT = "ADE20K_2021_17_01"
SPLITS = {
    split: PreparedSplit(
        tool="ade20k_847",
        split=split,
        images=f"{_ROOT}/images_847/{folder}",
        masks=f"{_ROOT}/annotations_847/{folder}",
        counts=(count,),
    )
    for split, folder, count in (("train", "training", 25_574), ("val", "validation", 2_000))
}


def register_ade20k_847() -> None:
    """Registers ade20k_847_sem_seg_{train,val}."""
    categories = named_categories("ade20k_847")
    for name, split in SPLITS.items():
        register_prepared(f"ade20k_847_sem_seg_{name}", split, categories)
