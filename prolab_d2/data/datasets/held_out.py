"""Data sets without some of their categories, to find out how new categories are recognised.

The pixels of a category that is left out are unlabelled, the others are numbered anew in the same
order. The images and masks stay where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from detectron2.data import DatasetCatalog, MetadataCatalog

from prolab_d2.data.datasets.folder import register_dataset
from prolab_d2.data.reading import LabelIds, stuff_classes
from prolab_d2.errors import ProLabError

__all__ = ["leave_out"]


def leave_out(name: str, categories: Sequence[str]) -> str:
    """Registers a data set without some of its categories.

    Args:
        name: of a registered data set; one that this function has made stands for itself.
        categories: what is left out (DATASETS.HELD_OUT).
    Returns:
        `<name>_without_<category>+<category>`, in Detectron2's catalogs.
    Raises:
        ProLabError: the data set is unknown or has no such category, or none is left.
    """
    if not categories:
        return name
    suffix = "_without_" + "+".join(category.replace(" ", "_") for category in categories)
    name = name.removesuffix(suffix)
    if name not in DatasetCatalog:
        raise ProLabError(
            f"data set {name} is not known: known names come from Detectron2 and prolab_d2"
        )
    metadata = MetadataCatalog.get(name)
    names = stuff_classes(metadata)
    for category in categories:
        if category not in names:
            raise ProLabError(
                f"DATASETS.HELD_OUT names {category!r}, which is no category of data set {name}: "
                f"use some of {', '.join(names)}"
            )
    kept = [i for i, category in enumerate(names) if category not in categories]
    if not kept:
        raise ProLabError(
            f"DATASETS.HELD_OUT names every category of data set {name}: leave some to train on"
        )
    label_ids = LabelIds.from_metadata(metadata)
    new_ids = [kept.index(i) if i in kept else None for i in range(len(names))]
    colors = metadata.get("stuff_colors", None)
    register_dataset(
        name + suffix,
        partial(DatasetCatalog.get, name),
        stuff_classes=[names[i] for i in kept],
        **({"stuff_colors": [colors[i] for i in kept]} if colors else {}),
        ignore_label=label_ids.ignore_label,
        label_map=label_ids.label_map_to(new_ids, len(kept), label_ids.ignore_label),
        evaluator_type="sem_seg",
    )
    return name + suffix
