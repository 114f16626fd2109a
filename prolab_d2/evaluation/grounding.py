"""Which properties can be seen: how well each is detected, how far to trust it, what it settles.

The truth of a pixel is the signature of its category. A property that the network finds by knowing
the category from other cues is therefore detected well, too.

Shapes: P pixels, K properties, N categories.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from prolab_d2.errors import ProLabError
from prolab_d2.evaluation.property_metrics import NUM_BINS, PropertyMetrics, property_histograms
from prolab_d2.explain.inputs import category_weights
from prolab_d2.label_space import LabelSpace

__all__ = ["RELIABILITY_BINS", "Calibration", "GroundingStatistics", "calibration", "visibility"]

RELIABILITY_BINS = 10


@dataclass(frozen=True, eq=False)
class Calibration:
    """Activations against how often they are true.

    Attributes:
        confidence: (K, bins) mean activation in every bin of equal width, to 0.0005; NaN if empty.
        truth: (K, bins) share of its pixels that have the property, NaN if empty.
        pixels: (K, bins) int64.
        error: (K,) expected calibration error, the mean of |confidence - truth| over pixels. Rare
            properties have a small one, whatever the network does: most pixels lie near 0, rightly.
        active_error: (K,) the same over pixels with an activation above 0.5, NaN without any.
    """

    confidence: np.ndarray
    truth: np.ndarray
    pixels: np.ndarray
    error: np.ndarray
    active_error: np.ndarray


def calibration(histograms: np.ndarray, bins: int = RELIABILITY_BINS) -> Calibration:
    """From (K, 2, NUM_BINS) histograms as `property_histograms` counts them; `bins` is even."""
    count = histograms.shape[2]
    centres = (np.arange(count) + 0.5) / count
    parts = histograms.reshape(len(histograms), 2, bins, count // bins).astype(np.float64)
    pixels = parts.sum(axis=(1, 3))
    weighted = (parts.sum(axis=1) * centres.reshape(bins, -1)).sum(axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        confidence, truth = weighted / pixels, parts[:, 1].sum(axis=2) / pixels
        gap = np.nan_to_num(np.abs(confidence - truth))
        error, active_error = (
            (gap * pixels)[:, first:].sum(axis=1) / pixels[:, first:].sum(axis=1)
            for first in (0, bins // 2)
        )
    return Calibration(confidence, truth, pixels.astype(np.int64), error, active_error)


def visibility(metrics: PropertyMetrics) -> np.ndarray:
    """(K,): (AP - base rate) / (1 - base rate), at most 1, 0 at chance.

    NaN for properties that no pixel has, or every pixel. The base rate, the share of pixels with
    the property, is the average precision of chance.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        base = metrics.positives / metrics.histograms.sum(axis=(1, 2))
        return np.where(base < 1, (metrics.average_precision - base) / (1 - base), np.nan)


class GroundingStatistics:
    """Counts over labelled pixels; `add` them image by image.

    Every pixel is answered K + 1 times: with all properties, and with each of them taken out of
    all signatures. Nothing is trained anew. A category without any other property is not found.

    Attributes:
        histograms: (K, 2, NUM_BINS), see `property_histograms`.
        labelled: (N,) int64.
        hits, predicted: (K + 1, N) int64, right pixels and all of an answer, the last row with all
            properties.
        resolved: (K,) counters of (category, other): pixels of the category that are right, and
            would be taken for the other without the property.
        caused: (K,) the same for pixels taken for the other that are right without the property.
        activation_sums: (N, K), of unit activations by true category.
    """

    def __init__(self, label_space: LabelSpace) -> None:
        self.label_space = label_space
        n, k = label_space.signatures.shape
        self.histograms = np.zeros((k, 2, NUM_BINS), dtype=np.int64)
        self.labelled = np.zeros(n, dtype=np.int64)
        self.hits = np.zeros((k + 1, n), dtype=np.int64)
        self.predicted = np.zeros((k + 1, n), dtype=np.int64)
        self.resolved = [Counter() for _ in range(k)]
        self.caused = [Counter() for _ in range(k)]
        self.activation_sums = np.zeros((n, k))
        self._signatures = torch.tensor(label_space.signatures)
        weights = label_space.property_weights
        squares = np.ones(k) if weights is None else np.asarray(weights, dtype=np.float64) ** 2
        self._parts = torch.from_numpy(label_space.signatures * squares).float()
        self._squares = torch.from_numpy(squares).float()

    def add(self, activations: Tensor, truth: np.ndarray) -> None:
        """Counts some pixels.

        Args:
            activations: (K, P) in [0, 1].
            truth: (P,) category of each pixel, -1 without a label; those do not count.
        """
        truth = torch.from_numpy(np.asarray(truth, dtype=np.int64))
        valid = truth >= 0
        truth, activations = truth[valid], activations.detach().float().cpu()[:, valid]
        if not len(truth):
            return
        n = len(self.labelled)
        self.histograms += property_histograms(activations, truth, self._signatures)
        self.labelled += torch.bincount(truth, minlength=n).numpy()
        pixels = activations.T
        lengths = (pixels.square() @ self._squares).sqrt().clamp_min(1e-12)
        sums = torch.zeros(n, pixels.shape[1]).index_add_(0, truth, pixels / lengths[:, None])
        self.activation_sums += sums.double().numpy()
        total, squared_lengths = pixels @ self._parts.T, self._parts.sum(dim=1)
        full = _answers(total, squared_lengths)
        self._count(-1, full, truth)
        for k, part in enumerate(self._parts.T):
            without = _answers(total - pixels[:, k, None] * part, squared_lengths - part)
            self._count(k, without, truth)
            changed = full != without
            for counter, right, wrong in (
                (self.resolved[k], full, without),
                (self.caused[k], without, full),
            ):
                chosen = changed & (right == truth)
                pairs = (truth[chosen] * n + wrong[chosen]).unique(return_counts=True)
                for pair, pixels_of_pair in zip(*(one.tolist() for one in pairs), strict=True):
                    counter[divmod(pair, n)] += pixels_of_pair

    def _count(self, row: int, answers: Tensor, truth: Tensor) -> None:
        n = len(self.labelled)
        self.predicted[row] += torch.bincount(answers, minlength=n).numpy()
        self.hits[row] += torch.bincount(truth[answers == truth], minlength=n).numpy()

    @property
    def mean_iou(self) -> np.ndarray:
        """(K + 1,) mean over the categories with labels, the last with all properties.

        Raises:
            ProLabError: no pixel had a label.
        """
        if not self.labelled.any():
            raise ProLabError("no pixel has a label: name a data set with masks")
        seen = self.labelled > 0
        union = self.labelled + self.predicted - self.hits
        return (self.hits[:, seen] / union[:, seen]).mean(axis=1)

    @property
    def pixel_accuracy(self) -> np.ndarray:
        """(K + 1,), as `mean_iou`."""
        return self.hits.sum(axis=1) / max(self.labelled.sum(), 1)

    def margin_parts(self, category: int, other: int) -> np.ndarray:
        """(K,): what every property adds to the mean lead of a category over another.

        The mean is over the pixels of the category; the sum is their mean lead.
        """
        weights = category_weights(self.label_space)
        mean = self.activation_sums[category] / max(self.labelled[category], 1)
        return mean * (weights[category] - weights[other])


def _answers(products: Tensor, squared_lengths: Tensor) -> Tensor:
    """(P,) categories with the largest cosine; products (P, N) of activations and signatures."""
    scores = products / squared_lengths.clamp_min(1e-12).sqrt()
    # What rounding leaves of a category without properties must not count.
    return scores.masked_fill(squared_lengths < 1e-9, -1).argmax(dim=1)
