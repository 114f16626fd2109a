"""Metrics of semantic segmentation, all from one confusion matrix.

Two conventions for the mean IoU are in use and differ when a category has no ground truth in the
evaluated images; here they have different names. `mIoU` is Detectron2's (its main branch): the
mean over categories with ground truth. `mIoU_mmseg` is MMSegmentation's: the mean over categories
with ground truth or predictions, where a category that is only predicted counts as 0.

Shapes: N categories.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from prolab_d2.errors import ProLabError

__all__ = ["SemSegMetrics", "confusion_matrix"]


def confusion_matrix(
    prediction: np.ndarray, label: np.ndarray, num_categories: int, ignore_label: int
) -> np.ndarray:
    """Counts pixels by true and predicted category.

    Args:
        prediction: integers of any shape, all in [0, N).
        label: the same shape, in [0, N) or `ignore_label`; those pixels are not counted.
    Returns:
        (N, N) int64; row: true category, column: predicted category.
    Raises:
        ProLabError: shapes differ, or an id lies outside [0, N).
    """
    if prediction.shape != label.shape:
        raise ProLabError(
            f"prediction of shape {prediction.shape} for labels of shape {label.shape}, confusion "
            "matrix: resize the prediction to the size of the labels"
        )
    valid = label != ignore_label
    if valid.all():
        label, prediction = label.ravel(), prediction.ravel()
    else:
        label, prediction = label[valid], prediction[valid]
    for kind, ids in (("label", label), ("predicted", prediction)):
        if ids.size and not (ids.min() >= 0 and ids.max() < num_categories):
            wrong = ids[(ids < 0) | (ids >= num_categories)][0]
            raise ProLabError(
                f"{kind} id {wrong} outside the {num_categories} categories, confusion matrix: ids "
                f"are 0..{num_categories - 1}, and {ignore_label} for unlabelled pixels"
            )
    index = label.astype(np.int64)
    index *= num_categories
    index += prediction
    counts = np.bincount(index, minlength=num_categories**2)
    return counts.reshape(num_categories, num_categories)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient in float64, NaN where the denominator is 0."""
    result = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def _mean(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if there is none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


@dataclass(frozen=True, eq=False)
class SemSegMetrics:
    """Metrics of one confusion matrix, as fractions of 1.

    confusion: (N, N) int64, see `confusion_matrix`. Arrays are (N,) float64, NaN where a
    category has an empty denominator.
    """

    confusion: np.ndarray

    @cached_property
    def intersection(self) -> np.ndarray:
        """(N,) int64: pixels of a category that are predicted as it."""
        return np.diagonal(self.confusion)

    @cached_property
    def labelled(self) -> np.ndarray:
        """(N,) int64: pixels of a category."""
        return self.confusion.sum(axis=1)

    @cached_property
    def predicted(self) -> np.ndarray:
        """(N,) int64: labelled pixels that are predicted as a category."""
        return self.confusion.sum(axis=0)

    @cached_property
    def union(self) -> np.ndarray:
        """(N,) int64."""
        return self.labelled + self.predicted - self.intersection

    @cached_property
    def iou(self) -> np.ndarray:
        """Intersection over union; 0 for a category that is predicted but not in the labels."""
        return _ratio(self.intersection, self.union)

    @cached_property
    def accuracy(self) -> np.ndarray:
        """Fraction of a category's pixels that are predicted as it (its recall)."""
        return _ratio(self.intersection, self.labelled)

    @cached_property
    def precision(self) -> np.ndarray:
        """Fraction of the pixels predicted as a category that belong to it."""
        return _ratio(self.intersection, self.predicted)

    @cached_property
    def dice(self) -> np.ndarray:
        """2 intersection / (labelled + predicted), the same number as the F1 score."""
        return _ratio(2 * self.intersection, self.labelled + self.predicted)

    @property
    def mean_iou(self) -> float:
        """Mean IoU over categories with ground truth (Detectron2's main branch)."""
        return _mean(self.iou[self.labelled > 0])

    @property
    def mean_iou_mmseg(self) -> float:
        """Mean IoU over categories with ground truth or predictions (MMSegmentation)."""
        return _mean(self.iou)

    @property
    def frequency_weighted_iou(self) -> float:
        """IoU weighted by the categories' share of the labelled pixels."""
        present = self.labelled > 0
        if not present.any():
            return float("nan")
        return float(np.average(self.iou[present], weights=self.labelled[present]))

    @property
    def mean_accuracy(self) -> float:
        """Mean of `accuracy` over categories with ground truth."""
        return _mean(self.accuracy)

    @property
    def pixel_accuracy(self) -> float:
        """Fraction of all labelled pixels that are predicted correctly."""
        total = self.confusion.sum()
        return float(self.intersection.sum() / total) if total else float("nan")

    def results(self, categories: tuple[str, ...]) -> dict[str, float]:
        """All metrics in percent under Detectron2's names.

        mIoU, mIoU_mmseg, fwIoU, mACC, pACC, and for each category IoU-<name> and ACC-<name>: these
        are NaN without ground truth, so that mIoU and mACC are the means of what is listed.
        """
        iou = np.where(self.labelled > 0, self.iou, np.nan)
        results = {
            "mIoU": self.mean_iou,
            "mIoU_mmseg": self.mean_iou_mmseg,
            "fwIoU": self.frequency_weighted_iou,
            **{f"IoU-{name}": value for name, value in zip(categories, iou, strict=True)},
            "mACC": self.mean_accuracy,
            "pACC": self.pixel_accuracy,
            **{f"ACC-{name}": value for name, value in zip(categories, self.accuracy, strict=True)},
        }
        return {name: 100 * float(value) for name, value in results.items()}
