"""The built-in scenes as a data set: drawn on first use, nothing to download.

They are kept in $DETECTRON2_DATASETS/scenes ("datasets/scenes" without the variable): 400 scenes
for training, 80 each for val and test, about ten a second on two processors.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from prolab_d2.data.datasets.categories import Categories
from prolab_d2.data.datasets.folder import list_split, register_dataset
from prolab_d2.data.property_annotations import PropertyAnnotations
from prolab_d2.errors import ProLabError
from prolab_d2.label_space import LabelSpace
from prolab_d2.scenes import (
    CATEGORIES,
    CATEGORY_COLOURS,
    COUNTS,
    UNLABELLED,
    read_properties,
    write_scenes,
)
from prolab_d2.scenes.statements import UNKNOWN, is_true

__all__ = ["SCENES", "list_scenes", "register_scenes", "scene_annotations", "scenes_root"]

SCENES = Categories(names=CATEGORIES, colors=CATEGORY_COLOURS, ignore_label=UNLABELLED)


def scenes_root() -> Path:
    """The folder of the scenes, as the environment says now."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")) / "scenes"


def register_scenes() -> None:
    """Registers scenes_sem_seg_{train,val,test}; draws nothing yet."""
    for split in COUNTS:
        register_dataset(
            f"scenes_sem_seg_{split}",
            partial(list_scenes, split),
            **SCENES.metadata(),
            property_annotations=scene_annotations,
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


def scene_annotations(entry: Mapping[str, Any], label_space: LabelSpace) -> PropertyAnnotations:
    """What was drawn where, in the properties whose names `scenes.statements` can decide.

    Raises:
        ProLabError: the scene lies without the files that say what was drawn.
    """
    file = Path(entry["file_name"])
    try:
        regions, things = read_properties(file.parents[2], file.parent.name, file.stem)
    except (OSError, ValueError) as error:
        raise ProLabError(
            f"no properties of the scene {file} ({error}): delete the image, it is drawn again "
            "with them"
        ) from error
    truth = np.full((int(regions.max()) + 1, label_space.num_properties), UNKNOWN, dtype=np.int8)
    for number, attributes in things.items():
        truth[number] = [is_true(entry.name, attributes) for entry in label_space.properties]
    return PropertyAnnotations(regions, truth)
