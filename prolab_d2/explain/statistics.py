"""Explanations summed over a data set: which properties are seen, and what confusions come from.

Memory depends on the label space alone, not on the number of images.

Shapes: P pixels, K properties, N categories.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from prolab_d2.explain.inputs import ACTIVE_FRACTION, category_weights
from prolab_d2.label_space import LabelSpace

__all__ = ["ExplanationStatistics"]

# Pairs of categories whose mean activations are kept; with more, the rarest ones are given up.
MOST_PAIRS = 4096


class ExplanationStatistics:
    """Counts over pixels; `add` them image by image.

    Attributes:
        confusion: (N, N) int64, pixels by true and predicted category.
        predicted: (N,) int64, pixels by predicted category, with or without a label.
        active_predicted: (N, K) int64, how many of these show each property.
        labelled: (N,) int64, pixels by true category.
        active_labelled: (N, K) int64, how many of these show each property.
        pairs: (true, predicted) -> pixels and (K,) sum of their unit activations, for pairs of
            different categories.
    """

    def __init__(self, label_space: LabelSpace) -> None:
        self.label_space = label_space
        n, k = label_space.signatures.shape
        self.confusion = np.zeros((n, n), dtype=np.int64)
        self.predicted = np.zeros(n, dtype=np.int64)
        self.active_predicted = np.zeros((n, k), dtype=np.int64)
        self.labelled = np.zeros(n, dtype=np.int64)
        self.active_labelled = np.zeros((n, k), dtype=np.int64)
        self.pairs: dict[tuple[int, int], tuple[int, np.ndarray]] = {}
        self._weights = torch.from_numpy(category_weights(label_space).astype(np.float32))

    def add(self, unit_activations: Tensor, truth: np.ndarray | None = None) -> None:
        """Counts some pixels.

        Args:
            unit_activations: (K, P) activations over their length.
            truth: (P,) category of each pixel, outside [0, N) where it has no label; None where
                nothing is labelled.
        """
        pixels = unit_activations.detach().float().cpu().T
        predicted = (pixels @ self._weights.T).argmax(dim=1)
        strongest = pixels.amax(dim=1, keepdim=True)
        active = (pixels >= ACTIVE_FRACTION * strongest) & (pixels > 0)
        self.predicted += _count(predicted, len(self.predicted))
        self.active_predicted += _sums(active.float(), predicted, len(self.predicted))
        if truth is None:
            return
        truth = torch.from_numpy(np.asarray(truth, dtype=np.int64))
        valid = (truth >= 0) & (truth < len(self.labelled))
        truth, predicted = truth[valid], predicted[valid]
        self.labelled += _count(truth, len(self.labelled))
        self.active_labelled += _sums(active[valid].float(), truth, len(self.labelled))
        cells = truth * len(self.labelled) + predicted
        self.confusion += _count(cells, self.confusion.size).reshape(self.confusion.shape)
        self._add_pairs(pixels[valid], truth, predicted)

    def _add_pairs(self, pixels: Tensor, truth: Tensor, predicted: Tensor) -> None:
        wrong = truth != predicted
        cells = (truth * len(self.labelled) + predicted)[wrong]
        found, places = cells.unique(return_inverse=True)
        counts = _count(places, len(found))
        sums = pixels.new_zeros(len(found), pixels.shape[1]).index_add_(0, places, pixels[wrong])
        for cell, count, total in zip(found.tolist(), counts, sums.double().numpy(), strict=True):
            pair = divmod(cell, len(self.labelled))
            before, sum_before = self.pairs.get(pair, (0, 0.0))
            self.pairs[pair] = (before + int(count), sum_before + total)
        if len(self.pairs) > MOST_PAIRS:
            kept = sorted(self.pairs.items(), key=lambda item: -item[1][0])[:MOST_PAIRS]
            self.pairs = dict(kept)


def _count(ids: Tensor, length: int) -> np.ndarray:
    return torch.bincount(ids, minlength=length).numpy()


def _sums(values: Tensor, ids: Tensor, length: int) -> np.ndarray:
    """(length, K) int64: sums of 0 and 1, exact in float32 for the pixels of one image."""
    return values.new_zeros(length, values.shape[1]).index_add_(0, ids, values).long().numpy()
