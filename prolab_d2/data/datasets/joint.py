"""Data sets in the ids of a label space that has more categories than theirs.

So data sets with different categories can be trained together: everything downstream sees one list
of categories, and pixels that a data set does not label stay unlabelled. Categories are the same
where their names are (upper and lower case and the number of spaces do not matter).

Shapes: N categories of the label space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from prolab_d2.colors import distinct_colors
from prolab_d2.data.datasets.categories import match_categories
from prolab_d2.data.datasets.folder import register_dataset
from prolab_d2.data.reading import LabelIds, default_ignore_label
from prolab_d2.label_space import LabelSpace

__all__ = ["MEMBER", "TAGGED", "in_label_space", "own_label_space"]

# Key of an entry that says which data set it comes from.
MEMBER = "dataset_name"
# Key of the metadata of a data set whose entries say it.
TAGGED = "entries_name_their_dataset"


def in_label_space(name: str, label_space: LabelSpace) -> str:
    """Registers a data set with all categories of a label space, in its order and ids.

    Args:
        name: of a registered data set; one that this function has made stands for itself.
        label_space: has every category of the data set, and others.
    Returns:
        `<name>_in_<start of the label space's hash>`, in Detectron2's catalogs. Its entries say
        under "dataset_name" where they come from.
    Raises:
        ProLabError: the label space lacks a category of the data set.
    """
    suffix = f"_in_{label_space.hash[:8]}"
    if name.endswith(suffix):
        return name
    metadata = MetadataCatalog.get(name)
    rows = match_categories(metadata, label_space)
    label_ids = LabelIds.from_metadata(metadata)
    ignore_label = default_ignore_label(label_space.num_categories)
    colors = list(distinct_colors(label_space.num_categories))
    for row, color in zip(rows, metadata.get("stuff_colors", ()), strict=False):
        colors[row] = tuple(color)
    register_dataset(
        name + suffix,
        partial(_entries, partial(DatasetCatalog.get, name), name + suffix),
        stuff_classes=list(label_space.categories),
        stuff_colors=[list(color) for color in colors],
        ignore_label=ignore_label,
        label_map=label_ids.label_map_to(rows, label_space.num_categories, ignore_label),
        evaluator_type="sem_seg",
        **{TAGGED: True},
    )
    return name + suffix


def own_label_space(name: str, label_space: LabelSpace, *, background: bool = False) -> LabelSpace:
    """The part of a label space that has just the categories of a data set, in its order.

    Bank and properties stay, so a trained network answers with it in the ids of the data set.

    Args:
        background: the data set has a category "background" before them.
    Raises:
        ProLabError: the label space lacks a category of the data set.
    """
    rows = match_categories(MetadataCatalog.get(name), label_space, background=background)
    if rows == list(range(label_space.num_categories)):
        return label_space
    return label_space.subset([label_space.categories[row] for row in rows])


def _entries(load: Callable[[], Sequence[dict[str, Any]]], name: str) -> list[dict[str, Any]]:
    return [{**entry, MEMBER: name} for entry in load()]
