"""Pascal Context (Mottaghi et al. 2014): the 59 most frequent categories, and all 459.

Images of Pascal VOC 2010: 4,998 for training and 5,105 for validation, 4,996 and 5,104 of them in
the annotation file of the PASCAL in Detail challenge, from which the 59-category masks of the
literature are made (PC-59). PC-459 is for testing with an open vocabulary; its masks are 16-bit
PNG, unlabelled 65535.
"""

from __future__ import annotations

from prolab_d2.data.datasets.categories import named_categories
from prolab_d2.data.datasets.prepared import PreparedSplit, register_prepared

__all__ = ["SPLITS_59", "SPLITS_459", "register_pascal_context"]

_ROOT = "VOCdevkit/VOC2010"


def _splits(tool: str, masks: str, counts: dict[str, tuple[int, ...]]) -> dict[str, PreparedSplit]:
    return {
        split: PreparedSplit(
            tool=tool,
            split=split,
            images=f"{_ROOT}/JPEGImages",
            masks=f"{_ROOT}/{masks}/{split}",
            counts=numbers,
        )
        for split, numbers in counts.items()
    }


SPLITS_59 = _splits(
    "pascal_context_59", "annotations_59", {"train": (4_996, 4_998), "val": (5_104, 5_105)}
)
SPLITS_459 = _splits("pascal_context_459", "annotations_459", {"train": (4_998,), "val": (5_105,)})


def register_pascal_context() -> None:
    """Registers pascal_context_{59,459}_sem_seg_{train,val}."""
    for name, splits in (("pascal_context_59", SPLITS_59), ("pascal_context_459", SPLITS_459)):
        categories = named_categories(name)
        for split, files in splits.items():
            register_prepared(f"{name}_sem_seg_{split}", files, categories)
