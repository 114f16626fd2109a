"""What a model says about the images of a data set, on the grid of its maps, with the truth there.

Shapes: M channels, h x w map size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from torch import Tensor
from tqdm import tqdm

from prolab_d2.data import read_image
from prolab_d2.data.reading import LabelIds, read_sem_seg, stuff_classes
from prolab_d2.errors import ProLabError
from prolab_d2.evaluation.property_metrics import sample_at_cell_centres
from prolab_d2.label_space.synonyms import plain_name
from prolab_d2.modeling.inference import Maps, low_resolution_maps
from prolab_d2.predictor import Predictor

__all__ = [
    "Cells",
    "category_places",
    "dataset_categories",
    "places_of_labels",
    "read_cells",
    "read_logits",
]


@dataclass(frozen=True, eq=False)
class Cells:
    """One image.

    values: (M, h, w), unit activations, or logits of the categories with category supervision.
    truth: (h, w) int64 ids of the data set at the centres of the cells, -1 without a label; None
        for an image without a mask.
    """

    values: Tensor
    truth: np.ndarray | None


def dataset_categories(name: str) -> list[str]:
    """Names of a registered data set's categories.

    Raises:
        ProLabError: it is not registered, or has no categories.
    """
    if name not in DatasetCatalog:
        raise ProLabError(f"data set {name} is not known: give a registered name")
    return stuff_classes(MetadataCatalog.get(name))


def category_places(names: Sequence[str], categories: Sequence[str]) -> np.ndarray:
    """(len(names),) int64: the place of every name among `categories`, -1 where it is not there.

    As in training, upper and lower case and the number of spaces do not matter.
    """
    place = {plain_name(category): j for j, category in enumerate(categories)}
    return np.array([place.get(plain_name(name), -1) for name in names], dtype=np.int64)


def places_of_labels(name: str, predictor: Predictor) -> np.ndarray:
    """(number of categories + 1,) int64: what labels of a data set are in the model's label space.

    Args:
        name: of a registered data set.
    Returns:
        Places by id; -1 for categories that the model does not have, and at the end for label -1.
    Raises:
        ProLabError: it is not registered, or has no category in common with the model.
    """
    categories = predictor.label_space.categories
    places = category_places(dataset_categories(name), categories)
    if (places < 0).all():
        raise ProLabError(
            f"data set {name} has no category of the checkpoint's label space (such as "
            f"{categories[0]!r}): name the data set that it was trained for"
        )
    return np.append(places, -1)


def read_cells(predictor: Predictor, name: str, number: int | None = None) -> Iterator[Cells]:
    """Runs the network on a data set, image by image.

    Args:
        name: of a registered data set.
        number: how many images, evenly spaced; None for all.
    Raises:
        ProLabError: unknown data set, or a file of it that cannot be used.
    """
    space = predictor.model.property_space if predictor.model.supervision == "property" else None
    for _, maps, mask in read_logits(predictor, name, number):
        with torch.inference_mode():
            if space is not None:
                maps = maps.map_values(space.unit_activations)
            values = low_resolution_maps(maps)[0]
        truth = None
        if mask is not None:
            truth = sample_at_cell_centres(mask, tuple(values.shape[-2:]))
        yield Cells(values, truth)


def read_logits(
    predictor: Predictor, name: str, number: int | None = None, part: tuple[int, int] = (0, 1)
) -> Iterator[tuple[dict[str, Any], Maps, np.ndarray | None]]:
    """Every entry, its logits, and (H, W) int64 ids of the data set, -1 without a label.

    Args:
        name, number: as for `read_cells`.
        part: (i, n) for the i-th of n parts of these images, every n-th image.
    """
    dataset_categories(name)
    entries = DatasetCatalog.get(name)
    label_ids = LabelIds.from_metadata(MetadataCatalog.get(name))
    count = len(entries) if number is None else min(number, len(entries))
    places = np.linspace(0, len(entries) - 1, count).round().astype(int)[part[0] :: part[1]]
    for place in tqdm(places, desc=name, unit="image", leave=False, disable=None):
        entry = entries[place]
        image = read_image(entry["file_name"], "RGB")
        mask = None
        if entry.get("sem_seg_file_name"):
            mask = read_sem_seg(entry["sem_seg_file_name"], label_ids, image.shape[:2])
            mask = np.where(mask == label_ids.ignore_label, -1, mask.astype(np.int64))
        with torch.inference_mode():
            maps = predictor.model.predict_logits(predictor.prepare(image))
        yield entry, maps, mask
