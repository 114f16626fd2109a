"""Data: reading, augmentation, property targets, data sets. Registers the built-in data sets."""

from __future__ import annotations

from prolab_d2.data.augmentation import build_augmentations, scaled_size
from prolab_d2.data.dataset_mapper import PropertyDatasetMapper
from prolab_d2.data.datasets import (
    Categories,
    check_categories,
    in_label_space,
    leave_out,
    match_categories,
    own_label_space,
    read_categories,
    register_all,
    register_dataset,
    register_folder,
)
from prolab_d2.data.loading import build_train_loader
from prolab_d2.data.property_targets import PropertyTargets, make_property_targets
from prolab_d2.data.reading import LabelIds, read_image, read_mask, read_sem_seg

__all__ = [
    "Categories",
    "LabelIds",
    "PropertyDatasetMapper",
    "PropertyTargets",
    "build_augmentations",
    "build_train_loader",
    "check_categories",
    "leave_out",
    "in_label_space",
    "make_property_targets",
    "match_categories",
    "own_label_space",
    "read_categories",
    "read_image",
    "read_mask",
    "read_sem_seg",
    "register_all",
    "register_dataset",
    "register_folder",
    "scaled_size",
]

register_all()
