"""Answers from probabilities: of several views of an image (scales, mirror images), or of one.

The published order: the maps of a view are resized to the size of the answer, become probabilities
(softmax over the categories, without a temperature), are flipped back, and are averaged over the
views; then comes the background rule. This is done in bands of rows; besides the answer only
low-resolution maps are kept.

Shapes: B batch, M channels of a map, N categories.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prolab_d2.modeling.inference import Maps, insert_background

__all__ = ["View", "augmented_labels", "augmented_probabilities"]


@dataclass(frozen=True, eq=False)
class View:
    """What the network said about one view: category scores of N channels.

    `flip` tells that the view is the mirror image, left to right.
    """

    scores: Maps
    flip: bool = False


def augmented_probabilities(
    views: Sequence[View], size: tuple[int, int], background_threshold: float = 0.0
) -> Tensor:
    """Probabilities of the categories, the mean over the views.

    Args:
        background_threshold: above 0, `insert_background` puts a channel in front.
    Returns:
        (B, N, *size) float32, or (B, N + 1, *size).
    """
    first = views[0].scores
    channels = first.num_channels + (background_threshold > 0)
    probabilities = first.tiles[0].values.new_empty((len(first.tiles[0].values), channels, *size))
    for row, band in _bands(views, size, background_threshold):
        probabilities[:, :, row : row + band.shape[2]] = band
    return probabilities


def augmented_labels(
    views: Sequence[View], size: tuple[int, int], background_threshold: float = 0.0
) -> Tensor:
    """(B, *size) int64: the argmax of `augmented_probabilities`, computed band by band."""
    values = views[0].scores.tiles[0].values
    labels = torch.empty((values.shape[0], *size), dtype=torch.int64, device=values.device)
    for row, band in _bands(views, size, background_threshold):
        labels[:, row : row + band.shape[2]] = band.argmax(dim=1)
    return labels


def _bands(
    views: Sequence[View], size: tuple[int, int], background_threshold: float
) -> Iterator[tuple[int, Tensor]]:
    """Yields (first row, (B, channels, rows, width)) of `augmented_probabilities`, top to bottom.

    "channels" is N, or N + 1 with a background.
    """
    step = min(view.scores.band_height(size) for view in views)
    for start in range(0, size[0], step):
        total = 0.0
        for view in views:
            band = view.scores.band(size, start, min(start + step, size[0])).softmax(dim=1)
            total = total + (band.flip(-1) if view.flip else band)
        total = total / len(views)
        if background_threshold > 0:
            total = insert_background(total, background_threshold)
        yield start, total
