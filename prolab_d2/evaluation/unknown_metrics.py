"""How well pixels of unknown categories are found, from histograms of how unknown a pixel looks.

Memory does not grow with the data set.

Shapes: P pixels, M measures, G groups of pixels (known, and one for each unknown category).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from prolab_d2.evaluation.property_metrics import PropertyMetrics

__all__ = ["SOFTMAX_MEASURES", "UnknownMetrics", "softmax_measures"]

SOFTMAX_MEASURES = ("entropy", "probability", "max_logit")

NUM_BINS = 4000
# Most pixels look known: bins are narrow near 0. All metrics depend on the order alone.
_POWER = 0.25


def softmax_measures(logits: Tensor) -> Tensor:
    """What a one-hot classifier can say, in the order of `SOFTMAX_MEASURES`.

    Entropy over its largest value, 1 - largest probability, and sigmoid(-largest logit).

    Args:
        logits: (B, N, h, w) of at least 2 categories.
    Returns:
        (B, 3, h, w) float64 in [0, 1]; 0 is certain.
    """
    log_probabilities = torch.log_softmax(logits.double(), dim=1)
    probabilities = log_probabilities.exp()
    entropy = -(probabilities * log_probabilities).sum(dim=1) / np.log(logits.shape[1])
    # 1 - p of the best one as the sum of the others, which keeps differences near 0.
    best = probabilities.argmax(dim=1, keepdim=True)
    others = probabilities.scatter(1, best, 0).sum(dim=1)
    return torch.stack([entropy, others, torch.sigmoid(-logits.double().amax(dim=1))], dim=1)


class UnknownMetrics:
    """Average precision, area under the ROC curve and false positives of several measures."""

    def __init__(self, measures: Sequence[str], unknown: Sequence[str]) -> None:
        """
        Args:
            measures: their names.
            unknown: names of the unknown categories.
        """
        self.measures = tuple(measures)
        self.unknown = tuple(unknown)
        shape = (len(self.measures), 1 + len(self.unknown), NUM_BINS)
        self.histograms = np.zeros(shape, dtype=np.int64)

    def add(self, values: Mapping[str, np.ndarray], groups: np.ndarray) -> None:
        """Counts pixels.

        Args:
            values: by measure, in [0, 1], of any shape; higher looks less known.
            groups: of the same shape; 0 for a known category, 1 + i for unknown category i,
                below 0 for none.
        """
        kept = groups >= 0
        count = self.histograms.shape[1]
        for counts, name in zip(self.histograms, self.measures, strict=True):
            level = values[name][kept].astype(np.float64).clip(0, 1) ** _POWER
            bins = np.minimum((level * NUM_BINS).astype(np.int64), NUM_BINS - 1)
            index = groups[kept].astype(np.int64) * NUM_BINS + bins
            counts += np.bincount(index, minlength=count * NUM_BINS).reshape(counts.shape)

    def results(self) -> dict[str, dict[str, float | dict[str, float]]]:
        """By measure, in percent: AP, AUROC, FPR95 (known pixels reported when 95 % of the unknown
        ones are), and AP of every unknown category alone against the known ones. NaN without
        unknown or without known pixels.
        """
        return {
            name: {
                "AP": _average_precision(counts[0], counts[1:].sum(axis=0)),
                "AUROC": _auroc(counts[0], counts[1:].sum(axis=0)),
                "FPR95": _false_positives(counts[0], counts[1:].sum(axis=0)),
                "categories": {
                    category: _average_precision(counts[0], counts[1 + i])
                    for i, category in enumerate(self.unknown)
                },
            }
            for name, counts in zip(self.measures, self.histograms, strict=True)
        }

    @property
    def prevalence(self) -> float:
        """Percent of the pixels that are unknown: the average precision of guessing."""
        counts = self.histograms[0].sum(axis=1)
        return 100 * float(counts[1:].sum() / counts.sum()) if counts.sum() else float("nan")


def _average_precision(known: np.ndarray, unknown: np.ndarray) -> float:
    if not known.any():
        return float("nan")
    return 100 * float(PropertyMetrics(np.stack([known, unknown])[None]).average_precision[0])


def _auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    if not (known.any() and unknown.any()):
        return float("nan")
    below = known.cumsum() - known / 2  # a tie counts half
    return 100 * float((unknown * below).sum() / (known.sum() * unknown.sum()))


def _false_positives(known: np.ndarray, unknown: np.ndarray, recall: float = 0.95) -> float:
    if not (known.any() and unknown.any()):
        return float("nan")
    found = unknown[::-1].cumsum() >= recall * unknown.sum()
    return 100 * float(known[::-1].cumsum()[int(found.argmax())] / known.sum())
