"""From an entry of a data set to what the segmentor reads.

Shapes: K properties, N categories, H x W size of the image that goes into the network.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import MetadataCatalog
from detectron2.data import transforms as T
from torch import Tensor

from prolab_d2.data.augmentation import build_augmentations, build_views, make_views
from prolab_d2.data.datasets.joint import own_label_space
from prolab_d2.data.packing import channels_first
from prolab_d2.data.property_targets import make_property_targets
from prolab_d2.data.reading import LabelIds, read_image, read_sem_seg
from prolab_d2.errors import ProLabError
from prolab_d2.label_space import LabelSpace

__all__ = ["PropertyDatasetMapper"]


class PropertyDatasetMapper:
    """Reads an image and its mask, augments both, and pairs the mask with property targets.

    Gives a dict with

    - "file_name", "height", "width" (of the file's image) and whatever else the entry holds,
    - "image": (3, H, W) uint8, channels in the order of INPUT.FORMAT,
    - "sem_seg": int64 data-set ids; (H, W) in training, else of the size of the file's image and
      only where there is a mask,
    - "property_targets": `PropertyTargets` of "sem_seg", when there are signatures,
    - "views" in testing with TEST.AUG.ENABLED: what `PropertySegmentor` averages over.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        augmentations: Sequence[T.Augmentation | T.Transform],
        label_ids: LabelIds,
        signatures: Tensor | None = None,
        image_format: str = "RGB",
        views: Sequence[tuple[T.Augmentation, bool]] = (),
    ) -> None:
        """
        Args:
            is_train: augment mask and image alike and insist on a mask; else the mask keeps the
                size of its file, as evaluation needs it.
            augmentations: applied in this order.
            label_ids: the data set's ids.
            signatures: (N, K) bool rows of the label space; None leaves property targets out.
            image_format: "RGB" or "BGR".
            views: of test-time augmentation, see `build_views`.
        Raises:
            ProLabError: `signatures` has another number of rows than the data set has categories.
        """
        if signatures is not None and len(signatures) != label_ids.num_categories:
            raise ProLabError(
                f"label space of {len(signatures)} categories for a data set of "
                f"{label_ids.num_categories}, MODEL.PROLAB.LABEL_SPACE: choose the label space "
                "that was built for this data set"
            )
        # Before the loader forks its workers: OpenCV's threads do not survive a fork, a worker that
        # calls them waits for ever. Workers are processes and keep the cores busy anyway.
        cv2.setNumThreads(0)
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.label_ids = label_ids
        # In shared memory the loader's workers send a handle of the table, not the table.
        self.signatures = None if signatures is None else signatures.share_memory_()
        self.image_format = image_format
        self.views = tuple(views)

    @classmethod
    def from_config(
        cls, cfg: CfgNode, is_train: bool = True, dataset_name: str | None = None
    ) -> dict[str, Any]:
        """
        Args:
            dataset_name: whose ids the masks have; the first of DATASETS.TRAIN (DATASETS.TEST
                without `is_train`) by default.
        Raises:
            ProLabError: no data set, training sets whose masks have different ids, or options
                that do not exist or do not fit together.
        """
        if dataset_name is None:
            key = "TRAIN" if is_train else "TEST"
            if not cfg.DATASETS[key]:
                raise ProLabError(
                    f"DATASETS.{key} is empty: name a data set, or give a folder (DATASETS.FOLDER)"
                )
            dataset_name = cfg.DATASETS[key][0]
            if is_train:
                _check_same_ids(cfg.DATASETS.TRAIN)
        label_ids = LabelIds.from_metadata(MetadataCatalog.get(dataset_name))
        name = cfg.MODEL.PROLAB.LABEL_SPACE
        if not is_train and cfg.TEST.BACKGROUND_THRESHOLD > 0:
            name = ""  # a background has no signature, and evaluation needs none
        signatures = None
        if name:
            label_space = LabelSpace.load(name)
            if label_ids.num_categories < label_space.num_categories:
                label_space = own_label_space(dataset_name, label_space)
            signatures = torch.tensor(label_space.signatures)
        return {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg, is_train, label_ids.ignore_label),
            "label_ids": label_ids,
            "signatures": signatures,
            "image_format": cfg.INPUT.FORMAT,
            "views": () if is_train else build_views(cfg),
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """
        Args:
            dataset_dict: "file_name", and "sem_seg_file_name" where there is a mask.
        Raises:
            ProLabError: a file is missing, damaged, of a wrong size, or holds an unknown label.
        """
        sample = copy.deepcopy(dataset_dict)
        image = read_image(sample["file_name"], self.image_format)
        height, width = image.shape[:2]
        _check_size(sample, height, width)
        sample.update(height=height, width=width)

        mask_file = sample.get("sem_seg_file_name")
        if mask_file is None and self.is_train:
            raise ProLabError(
                f"image without a mask in a training set, {sample['file_name']}: add its mask or "
                "remove the image"
            )
        sem_seg = None
        if mask_file is not None:
            sem_seg = read_sem_seg(mask_file, self.label_ids, (height, width))

        augmented = T.AugInput(image, sem_seg=sem_seg if self.is_train else None)
        self.augmentations(augmented)
        if self.is_train:
            sem_seg = augmented.sem_seg
        sample["image"] = channels_first(augmented.image)
        if self.views:
            sample["views"] = make_views(image, self.views)
        if sem_seg is not None:
            if self.signatures is None:
                sample["sem_seg"] = torch.from_numpy(sem_seg.astype(np.int64))
            else:
                targets = make_property_targets(
                    sem_seg, self.signatures, self.label_ids.ignore_label
                )
                sample["sem_seg"], sample["property_targets"] = targets.mask, targets
        return sample


def _check_same_ids(names: Sequence[str]) -> None:
    """One mapper reads the masks of all training sets, so their ids must mean the same."""
    first, *others = (LabelIds.from_metadata(MetadataCatalog.get(name)) for name in names)
    for name, label_ids in zip(names[1:], others, strict=True):
        if not label_ids.same_as(first):
            raise ProLabError(
                f"data sets {names[0]} and {name} in DATASETS.TRAIN have masks with different ids "
                "(number of categories, ignore_label or label_map): train on one of them, or name "
                "a label space with the categories of both (tools/build_label_space.py --merge)"
            )


def _check_size(sample: dict[str, Any], height: int, width: int) -> None:
    expected = sample.get("height", height), sample.get("width", width)
    if expected != (height, width):
        raise ProLabError(
            f"image of {width} x {height} pixels where the data set says {expected[1]} x "
            f"{expected[0]}, {sample['file_name']}: correct the data set (an image is turned by "
            "its EXIF orientation)"
        )
