"""What is known of the properties of an image's pixels, apart from their categories.

Shapes: K properties, R regions, H x W image size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog

from prolab_d2.label_space import LabelSpace

__all__ = ["PropertyAnnotations", "annotation_reader"]


@dataclass(frozen=True, eq=False)
class PropertyAnnotations:
    """Properties of the regions of one image.

    Attributes:
        regions: (H, W) integers in [0, R), which region every pixel belongs to.
        truth: (R, K) int8; 1 where what the name of the property says is true of the region, 0
            where it is not, -1 where nobody knows.
    """

    regions: np.ndarray
    truth: np.ndarray


Reader = Callable[[Mapping[str, Any], LabelSpace], PropertyAnnotations]


def annotation_reader(dataset_name: str) -> Reader | None:
    """What reads the annotations of an entry of a data set; None where it has none.

    A data set has them if its metadata has such a function as `property_annotations`.
    """
    return MetadataCatalog.get(dataset_name).get("property_annotations", None)
