"""Data sets: folders of one's own, and the built-in ones, one module each."""

from __future__ import annotations

from prolab_d2.data.datasets.ade20k import register_ade20k
from prolab_d2.data.datasets.ade20k_847 import register_ade20k_847
from prolab_d2.data.datasets.bdd100k import register_bdd100k
from prolab_d2.data.datasets.camvid import register_camvid
from prolab_d2.data.datasets.categories import (
    Categories,
    check_categories,
    match_categories,
    read_categories,
)
from prolab_d2.data.datasets.cityscapes import register_cityscapes
from prolab_d2.data.datasets.coco_stuff_164k import register_coco_stuff_164k
from prolab_d2.data.datasets.folder import register_dataset, register_folder
from prolab_d2.data.datasets.held_out import leave_out
from prolab_d2.data.datasets.joint import in_label_space, own_label_space
from prolab_d2.data.datasets.pascal_context import register_pascal_context
from prolab_d2.data.datasets.pascal_voc import register_pascal_voc
from prolab_d2.data.datasets.scenes import register_scenes

__all__ = [
    "Categories",
    "check_categories",
    "leave_out",
    "in_label_space",
    "match_categories",
    "own_label_space",
    "read_categories",
    "register_all",
    "register_dataset",
    "register_folder",
]


def register_all() -> None:
    """Registers every built-in data set; opens no data set, and may be called again."""
    register_ade20k()
    register_ade20k_847()
    register_bdd100k()
    register_camvid()
    register_cityscapes()
    register_coco_stuff_164k()
    register_pascal_context()
    register_pascal_voc()
    register_scenes()
