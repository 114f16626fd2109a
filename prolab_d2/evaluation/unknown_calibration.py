"""The threshold above which a region fits no category, from images whose categories are known.

Every model is sure of itself in its own way: the threshold is what a stated share of the rightly
classified cells of such images exceeds.

Shapes: h x w map size, H x W image size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from prolab_d2.errors import ProLabError
from prolab_d2.evaluation.low_resolution import places_of_labels, read_logits
from prolab_d2.evaluation.property_metrics import sample_at_cell_centres
from prolab_d2.explain.unknown import unknown_map, without_seams
from prolab_d2.modeling.inference import low_resolution_maps
from prolab_d2.predictor import Predictor

__all__ = ["Calibration", "calibrate_unknown"]


@dataclass(frozen=True)
class Calibration:
    """A threshold of `Prediction.unknown_regions`, and the rightly classified cells behind it."""

    threshold: float
    false_alarms: float  # share of these cells above the threshold, 0 to 1
    cells: int


def calibrate_unknown(
    predictor: Predictor, dataset: str, false_alarms: float, number: int | None = None
) -> Calibration:
    """The threshold that a share of the cells exceeds which a model classifies rightly.

    Cells as `unknown_masks` sees them, without seams. All their values are kept: 4 bytes for each
    16 pixels of the test size.

    Args:
        predictor: of a model with properties.
        dataset: a registered one; best the training images, never those of a later test.
        false_alarms: the share, above 0 and below 1.
        number: how many images, evenly spaced; None for all.
    Raises:
        ProLabError: no image with a mask, no category in common, nothing classified rightly, or a
            model without properties.
    """
    predictor.require_properties()
    model = predictor.model
    space = model.property_space
    shift = len(model.categories) - space.num_categories  # of a background
    places = places_of_labels(dataset, predictor)
    found = []
    for _, maps, mask in read_logits(predictor, dataset, number):
        if mask is None:
            continue
        with torch.inference_mode():
            labels = model.predict_labels(maps, mask.shape).cpu().numpy() - shift
            values = low_resolution_maps(maps.map_values(lambda z: unknown_map(z, space)[:, None]))
        unknown = without_seams(values[0, 0].cpu().numpy())
        truth = places[sample_at_cell_centres(mask, unknown.shape)]
        right = (truth >= 0) & (truth == sample_at_cell_centres(labels, unknown.shape))
        found.append(unknown[right])
    known = np.concatenate(found) if found else np.zeros(0)
    if not known.size:
        raise ProLabError(
            f"no cell of data set {dataset} is classified rightly: name images with masks that the "
            "checkpoint was trained for"
        )
    # An observed value, so that no more than the stated share lies above it.
    threshold = float(np.quantile(known, 1 - false_alarms, method="higher"))
    return Calibration(threshold, float((known > threshold).mean()), known.size)
