"""The label mask of an evaluated image, in data-set ids and at the size of the prediction.

Shapes: H x W original size.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from prolab_d2.data.reading import LabelIds, read_sem_seg, stuff_classes
from prolab_d2.errors import ProLabError

__all__ = ["GroundTruth"]


class GroundTruth:
    """Masks of a registered data set, from the mapper where it kept them, else from the files."""

    def __init__(self, dataset_name: str) -> None:
        """
        Raises:
            ProLabError: the data set has no categories, or an `ignore_label` that cannot be.
        """
        self.dataset_name = dataset_name
        metadata = MetadataCatalog.get(dataset_name)
        self.categories = tuple(stuff_classes(metadata))
        self._label_ids = LabelIds.from_metadata(metadata)
        self.ignore_label = self._label_ids.ignore_label

    @cached_property
    def _mask_files(self) -> dict[str, str]:
        """Image file -> mask file, for mappers that drop the name of the mask."""
        return {
            record["file_name"]: record["sem_seg_file_name"]
            for record in DatasetCatalog.get(self.dataset_name)
            if "sem_seg_file_name" in record
        }

    def mask_file(self, record: Mapping[str, Any]) -> str:
        """The mask file of a mapped data-set record; ProLabError if it has none."""
        name = record.get("sem_seg_file_name") or self._mask_files.get(record["file_name"])
        if name is None:
            raise ProLabError(
                f"image without a label mask, {record['file_name']}: evaluate a split of "
                f"{self.dataset_name!r} that has masks"
            )
        return name

    def read(self, record: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray:
        """(H, W) integers in [0, N) or `ignore_label`.

        Args:
            record: what the mapper made of the data-set record.
            size: (H, W) of the prediction.
        Raises:
            ProLabError: no mask, an unreadable one, one of another size, or unknown ids.
        """
        mask = record.get("sem_seg")
        if isinstance(mask, torch.Tensor) and tuple(mask.shape) == size:
            return mask.numpy()
        return read_sem_seg(self.mask_file(record), self._label_ids, size)
