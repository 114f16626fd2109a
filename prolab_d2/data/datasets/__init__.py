"""Data sets: folders of one's own, and the built-in ones, one module each."""

from __future__ import annotations

from prolab_d2.data.datasets.camvid import register_camvid
from prolab_d2.data.datasets.categories import Categories, check_categories, read_categories
from prolab_d2.data.datasets.folder import register_dataset, register_folder
from prolab_d2.data.datasets.held_out import leave_out
from prolab_d2.data.datasets.scenes import register_scenes

__all__ = [
    "Categories",
    "check_categories",
    "leave_out",
    "read_categories",
    "register_all",
    "register_dataset",
    "register_folder",
]


def register_all() -> None:
    """Registers every built-in data set; reads no files, and may be called again."""
    register_camvid()
    register_scenes()
