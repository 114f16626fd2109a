"""Pascal VOC 2012 segmentation (Everingham et al. 2010), for testing with an open vocabulary.

1,464 training and 1,449 validation images. `voc_20` has the 20 categories, background is unlabelled
(PAS-20); `voc_21` has background as category 0 before them (PAS-21). The border around objects is
unlabelled in both.
"""

from __future__ import annotations

from prolab_d2.data.datasets.categories import BACKGROUND, Categories, named_categories
from prolab_d2.data.datasets.prepared import PreparedSplit, register_prepared

__all__ = ["SPLITS_20", "SPLITS_21", "register_pascal_voc", "voc_21_categories"]

_ROOT = "VOCdevkit/VOC2012"


def _splits(masks: str) -> dict[str, PreparedSplit]:
    return {
        split: PreparedSplit(
            tool="pascal_voc",
            split=split,
            images=f"{_ROOT}/JPEGImages",
            masks=f"{_ROOT}/{masks}/{split}",
            counts=(count,),
        )
        for split, count in (("train", 1_464), ("val", 1_449))
    }


SPLITS_20 = _splits("annotations_20")
SPLITS_21 = _splits("annotations_21")


def voc_21_categories() -> Categories:
    """Background, black as in the data set's colour map, and the 20 categories."""
    objects = named_categories("pascal_voc")
    return Categories(
        names=(BACKGROUND, *objects.names),
        colors=((0, 0, 0), *objects.colors),
        ignore_label=objects.ignore_label,
    )


def register_pascal_voc() -> None:
    """Registers voc_20_sem_seg_{train,val} and voc_21_sem_seg_{train,val}."""
    for name, splits, categories in (
        ("voc_20", SPLITS_20, named_categories("pascal_voc")),
        ("voc_21", SPLITS_21, voc_21_categories()),
    ):
        for split, files in splits.items():
            register_prepared(f"{name}_sem_seg_{split}", files, categories)
