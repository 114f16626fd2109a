"""Test-time augmentation: one answer from several views of an image (scales, mirror images).

The published order: the maps of a view are resized to the size of the answer, become probabilities
(softmax over the categories, without a temperature), are flipped back, and are averaged over the
views. This is done in bands of rows; besides the answer only low-resolution maps are kept.

Shapes: B batch, M channels of a map, N categories.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prolab_d2.modeling.inference import Maps

__all__ = ["View", "augmented_labels", "augmented_probabilities"]


@dataclass(frozen=True, eq=False)
class View:
    """What the network said about one view: category scores of N channels.

    `flip` tells that the view is the mirror image, left to right.
    """

    scores: Maps
    flip: bool = False


def augmented_probabilities(views: Sequence[View], size: tuple[int, int]) -> Tensor:
    """(B, N, *size) float32: probabilities of the categories, the mean over the views."""
    first = views[0].scores
    shape = (first.tiles[0].values.shape[0], first.num_channels, *size)
    probabilities = first.tiles[0].values.new_empty(shape)
    for row, band in _bands(views, size):
        probabilities[:, :, row : row + band.shape[2]] = band
    return probabilities


def augmented_labels(views: Sequence[View], size: tuple[int, int]) -> Tensor:
    """(B, *size) int64: the argmax of `augmented_probabilities`, computed band by band."""
    values = views[0].scores.tiles[0].values
    labels = torch.empty((values.shape[0], *size), dtype=torch.int64, device=values.device)
    for row, band in _bands(views, size):
        labels[:, row : row + band.shape[2]] = band.argmax(dim=1)
    return labels


def _bands(views: Sequence[View], size: tuple[int, int]) -> Iterator[tuple[int, Tensor]]:
    """Yields (first row, (B, N, rows, width)) of the mean probabilities, top to bottom."""
    step = min(view.scores.band_height(size) for view in views)
    for start in range(0, size[0], step):
        total = 0.0
        for view in views:
            band = view.scores.band(size, start, min(start + step, size[0])).softmax(dim=1)
            total = total + (band.flip(-1) if view.flip else band)
        yield start, total / len(views)
