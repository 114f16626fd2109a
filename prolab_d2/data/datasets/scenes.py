"""The built-in scenes as a data set: drawn on first use, nothing to download.

They are kept in $DETECTRON2_DATASETS/scenes ("datasets/scenes" without the variable): 400 scenes
for training, 80 each for val and test, about ten a second on two processors.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

from prolab_d2.data.datasets.categories import Categories
from prolab_d2.data.datasets.folder import list_split, register_dataset
from prolab_d2.scenes import CATEGORIES, CATEGORY_COLOURS, COUNTS, UNLABELLED, write_scenes

__all__ = ["SCENES", "list_scenes", "register_scenes", "scenes_root"]

SCENES = Categories(names=CATEGORIES, colors=CATEGORY_COLOURS, ignore_label=UNLABELLED)


def scenes_root() -> Path:
    """The folder of the scenes, as the environment says now."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")) / "scenes"


def register_scenes() -> None:
    """Registers scenes_sem_seg_{train,val,test}; draws nothing yet."""
    for split in COUNTS:
        register_dataset(
            f"scenes_sem_seg_{split}", partial(list_scenes, split), **SCENES.metadata()
        )


def list_scenes(split: str) -> list[dict[str, Any]]:
    """Entries of one split; draws those of its scenes that are not there yet.

    Raises:
        ProLabError: they cannot be written, or the folder holds something else.
    """
    root = scenes_root()
    logger = logging.getLogger(__name__)
    counts = {split: COUNTS[split]}
    write_scenes(root, counts, report=lambda line: logger.info(f"{split}: {line} into {root}"))
    return list_split(root, split)
