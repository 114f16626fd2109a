"""Property activations against annotated pixels, instead of the signature of their category.

A network learns its properties from signatures alone: an activation may tell the category of a
pixel and nothing else. Annotations say of some pixels whether a property really is there. Whether
it is seen, or only known with the category, is told by pixels of one and the same category.

Shapes: R regions, K properties, N categories, M pairs of a category and a property of its
signature, h x w map size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from prolab_d2.data.property_annotations import PropertyAnnotations
from prolab_d2.evaluation.property_metrics import (
    NUM_BINS,
    PropertyMetrics,
    property_histograms,
    sample_at_cell_centres,
)

__all__ = ["AnnotatedHistograms"]

_ACTIVE = NUM_BINS // 2  # first bin of activations above 0.5


@dataclass(eq=False)
class AnnotatedHistograms:
    """Histograms of activations over annotated pixels, and what follows from them.

    A property that no pixel is annotated for has NaN everywhere.

    Attributes:
        signatures: (N, K) bool.
        counts: (M + K, 2, NUM_BINS) int64, the second axis: pixels without, with the property. The
            first M: pixels of a category with the property in its signature, in the order of
            `signatures.nonzero()`; then, by property, pixels of all other categories.
    """

    signatures: np.ndarray
    counts: np.ndarray

    @classmethod
    def empty(cls, signatures: np.ndarray) -> AnnotatedHistograms:
        signatures = np.asarray(signatures, dtype=bool)
        rows = signatures.sum() + signatures.shape[1]
        return cls(signatures, np.zeros((rows, 2, NUM_BINS), dtype=np.int64))

    def add(
        self, activations: Tensor, categories: Tensor, annotations: PropertyAnnotations
    ) -> None:
        """Counts the cells of an image.

        Args:
            activations: (K, h, w) in [0, 1].
            categories: (h, w) int64, below 0 without a label; those do not count.
            annotations: of the same image, read at the centres of the cells.
        """
        truth = annotations.truth
        known = np.flatnonzero((truth >= 0).any(axis=0))
        if not len(known):
            return
        regions = sample_at_cell_centres(annotations.regions, tuple(categories.shape))
        regions = torch.from_numpy(regions.astype(np.int64)).to(activations.device)
        categories, activations = categories.to(activations.device), activations[known]
        tables = [torch.from_numpy(truth[:, known] == value) for value in (0, 1)]
        firsts = np.concatenate([[0], self.signatures.sum(axis=1).cumsum()])
        for category in categories.unique().tolist():
            if category < 0:
                continue
            chosen = categories == category
            values, labels = activations[:, chosen], regions[chosen]
            found = np.stack(
                [property_histograms(values, labels, table)[:, 1] for table in tables], axis=1
            )
            # Places in `counts`: of the pairs, then of the properties.
            places = firsts[-1] + known
            own = self.signatures[category]
            of_pairs = firsts[category] + own.cumsum() - 1
            places = np.where(own[known], of_pairs[known], places)
            self.counts[places] += found

    @property
    def _pairs(self) -> np.ndarray:
        return self.counts[: self.signatures.sum()]

    @property
    def _own(self) -> np.ndarray:
        """(K, 2, NUM_BINS): pixels of categories with the property in their signature."""
        own = np.zeros((self.signatures.shape[1], *self.counts.shape[1:]), dtype=np.int64)
        np.add.at(own, self.signatures.nonzero()[1], self._pairs)
        return own

    @property
    def _other(self) -> np.ndarray:
        return self.counts[self.signatures.sum() :]

    @property
    def pixels(self) -> np.ndarray:
        """(K,) int64: how many are annotated."""
        return self.histograms.sum(axis=(1, 2))

    @property
    def histograms(self) -> np.ndarray:
        """(K, 2, NUM_BINS), as of `property_histograms`, by annotation."""
        return self._own + self._other

    @property
    def metrics(self) -> PropertyMetrics:
        """By annotation."""
        return PropertyMetrics(self.histograms)

    @property
    def signature_metrics(self) -> PropertyMetrics:
        """Of the same pixels, by the signatures of their categories."""
        return PropertyMetrics(np.stack([self._other.sum(axis=1), self._own.sum(axis=1)], axis=1))

    @property
    def same_category_auroc(self) -> np.ndarray:
        """(K,): of two pixels of the same category, one of which has the property, how often that
        one has the higher activation. 0.5 tells that the category is all that is known; NaN
        without such pairs. Categories count that have the property in their signature.
        """
        without, having = self._pairs[:, 0].astype(np.float64), self._pairs[:, 1]
        below = without.cumsum(axis=1) - without / 2  # a tie counts half
        wins, pairs = np.zeros((2, self.signatures.shape[1]))
        np.add.at(wins, self.signatures.nonzero()[1], (having * below).sum(axis=1))
        np.add.at(pairs, self.signatures.nonzero()[1], without.sum(axis=1) * having.sum(axis=1))
        return np.where(pairs > 0, wins / np.maximum(pairs, 1), np.nan)

    @property
    def active_without(self) -> np.ndarray:
        """(K,): share of activations above 0.5 where only the signature has the property."""
        return _active_share(self._own[:, 0])

    @property
    def active_elsewhere(self) -> np.ndarray:
        """(K,): the same where only the pixel has it."""
        return _active_share(self._other[:, 1])


def _active_share(histograms: np.ndarray) -> np.ndarray:
    """(K,) from (K, NUM_BINS), NaN for empty ones."""
    total = histograms.sum(axis=1)
    active = histograms[:, _ACTIVE:].sum(axis=1)
    return np.where(total > 0, active / np.maximum(total, 1), np.nan)
