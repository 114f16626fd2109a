"""The built-in scenes: streets drawn from a seed, with labels and properties true by construction.

Needs NumPy and Pillow only. `draw_scene` gives one scene, `write_scenes` a data set folder.
"""

from __future__ import annotations

from prolab_d2.scenes.palette import CATEGORIES, CATEGORY_COLOURS, SPLITS, UNLABELLED
from prolab_d2.scenes.scene import Scene, draw_scene
from prolab_d2.scenes.write import COUNTS, read_properties, write_scenes

__all__ = [
    "CATEGORIES",
    "CATEGORY_COLOURS",
    "COUNTS",
    "SPLITS",
    "UNLABELLED",
    "Scene",
    "draw_scene",
    "read_properties",
    "write_scenes",
]
