"""How well each property is detected, from histograms of its activation.

Two histograms per property, of pixels that have the property and of pixels that do not, hold all
that intersection over union and average precision need. They are summed over images, so memory
does not grow with the data set.

Shapes: K properties, N categories, P pixels, h x w map size, H x W mask size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

__all__ = ["NUM_BINS", "PropertyMetrics", "property_histograms", "sample_at_cell_centres"]

NUM_BINS = 1000
# Values that are binned at once: bounds the memory to some twelve times as many bytes.
CHUNK = 1 << 20
# Properties that are binned at once: the positions of their bins are exact in float32.
MAX_GROUP = 2**24 // (2 * NUM_BINS)


def sample_at_cell_centres(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w): the label at the centre of every cell of an h x w grid over `mask` (H, W)."""
    rows, columns = (
        (2 * np.arange(count) + 1) * full // (2 * count)
        for count, full in zip(size, mask.shape, strict=True)
    )
    return mask[rows[:, None], columns]


def property_histograms(activations: Tensor, labels: Tensor, signatures: Tensor) -> np.ndarray:
    """Counts pixels by activation and by whether their category has the property.

    Bin i holds activations in (i / 1000, (i + 1) / 1000], bin 0 also 0 and below, the last one
    also everything above 1. A threshold of 0.5 therefore cuts exactly.

    Args:
        activations: (K, P) floating point.
        labels: (P,) int64 in [0, N); pixels without a label are left out beforehand.
        signatures: (N, K) bool.
    Returns:
        (K, 2, NUM_BINS) int64; the second axis: pixels without, pixels with the property.
    """
    count, pixels = activations.shape
    counts = np.zeros((count, 2, NUM_BINS), dtype=np.int64)
    # Added to the rounded-up activation 1..NUM_BINS of a pixel: where its histogram starts.
    starts = signatures.t().to(activations.device, torch.float32) * NUM_BINS - 1
    step = min(max(CHUNK // max(pixels, 1), 1), MAX_GROUP)
    for first in range(0, count, step):
        group = slice(first, first + step)
        index = activations[group].float().mul(NUM_BINS).ceil_().clamp_(1, NUM_BINS)
        rows = torch.arange(len(index), device=index.device)[:, None]
        index += (starts[group] + 2 * NUM_BINS * rows).index_select(1, labels)
        bins = torch.bincount(
            index.to(torch.int32).reshape(-1), minlength=2 * NUM_BINS * len(index)
        )
        counts[group] = bins.view(-1, 2, NUM_BINS).cpu().numpy()
    return counts


@dataclass(frozen=True, eq=False)
class PropertyMetrics:
    """Metrics per property as fractions of 1; NaN for properties that no labelled pixel has.

    histograms: (K, 2, bins) int64, see `property_histograms`.
    """

    histograms: np.ndarray

    @cached_property
    def positives(self) -> np.ndarray:
        """(K,) int64: pixels that have the property."""
        return self.histograms[:, 1].sum(axis=1)

    def iou(self, threshold: float = 0.5) -> np.ndarray:
        """(K,) intersection over union of "activation > threshold" and the truth.

        The threshold is rounded to the edge of a bin.
        """
        first = round(threshold * self.histograms.shape[2])
        false, true = self.histograms[:, :, first:].sum(axis=2).T
        union = self.positives + false
        return np.where(self.positives > 0, true / np.maximum(union, 1), np.nan)

    @cached_property
    def average_precision(self) -> np.ndarray:
        """(K,) sum over thresholds, from high to low, of precision times the gain in recall.

        Thresholds are the edges of the bins; otherwise as scikit-learn's average_precision_score.
        """
        gains = self.histograms[:, 1, ::-1].astype(np.float64)
        found = gains.cumsum(axis=1)
        retrieved = self.histograms.sum(axis=1)[:, ::-1].cumsum(axis=1)
        precision = found / np.maximum(retrieved, 1)
        total = (gains * precision).sum(axis=1)
        return np.where(self.positives > 0, total / np.maximum(self.positives, 1), np.nan)

    def results(self) -> dict[str, float]:
        """In percent, means over the properties that occur: mIoU and mAP."""
        if not self.positives.any():
            return {"mIoU": float("nan"), "mAP": float("nan")}
        return {
            "mIoU": 100 * float(np.nanmean(self.iou())),
            "mAP": 100 * float(np.nanmean(self.average_precision)),
        }
