"""Results on categories that a network may not have been trained with.

Every way of answering them (see `WAYS`) has results of its own, in which the categories that were
seen in training and the others are told apart.

Shapes: N categories of the test, T trained categories, H x W original size.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from tabulate import tabulate

from prolab_d2.errors import ProLabError
from prolab_d2.evaluation.ground_truth import GroundTruth
from prolab_d2.evaluation.reporting import sum_over_processes
from prolab_d2.evaluation.sem_seg_evaluator import predicted_ids

__all__ = [
    "WAYS",
    "NearestCategoryEvaluator",
    "harmonic_mean",
    "results_table",
    "seen_and_unseen",
]

# How the categories of another label space are answered.
WAYS = {
    "swap": "its own bank and signatures in place of the trained ones",
    "extend": "signatures in the trained properties",
    "nearest": "the trained category with the nearest sentences",
    "conse": "trained categories' sentences mixed by their probabilities",
}

_GROUPS = {True: "seen", False: "unseen", None: "-"}


def harmonic_mean(first: float, second: float) -> float:
    """2 a b / (a + b), 0 where both are 0; NaN as soon as one of them is."""
    total = first + second
    return 2 * first * second / total if total else total


def seen_and_unseen(iou: np.ndarray, seen: Sequence[bool | None]) -> dict[str, float]:
    """Mean IoU of the categories seen in training and of the others, and their harmonic mean.

    Args:
        iou: (N,) in percent; NaN is left out.
        seen: (N,); None for a background, which is neither.
    Returns:
        mIoU_seen, mIoU_unseen, mIoU_harmonic; NaN without a category to take the mean of.
    """
    means = [_mean(iou[[one is kind for one in seen]]) for kind in (True, False)]
    return {
        "mIoU_seen": means[0],
        "mIoU_unseen": means[1],
        "mIoU_harmonic": harmonic_mean(*means),
    }


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


class NearestCategoryEvaluator(DatasetEvaluator):
    """A network's own categories in place of those of the test, as a baseline.

    Every category of the test stands for one trained category, and several may stand for the same.
    A pixel that the network gives to this one counts as an answer of each of them, so every IoU is
    what a network that knew only this category would reach: the pixels of the others that share its
    trained category are false positives.

    `..._oracle` are upper bounds: there, these pixels are not counted, as if something else told
    the categories apart that share an answer.
    """

    def __init__(
        self,
        dataset_name: str,
        answers: Sequence[int],
        num_trained: int,
        distributed: bool = True,
    ) -> None:
        """
        Args:
            answers: (N,) the trained category in [0, T) of every category of the data set.
            num_trained: T.
            distributed: add up the counts of all processes.
        """
        self._ground_truth = GroundTruth(dataset_name)
        self._answers = np.asarray(answers)
        self._num_trained = num_trained
        self._distributed = distributed
        self.reset()

    def reset(self) -> None:
        shape = len(self._ground_truth.categories), self._num_trained
        self._confusion = np.zeros(shape, dtype=np.int64)

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """
        Args:
            outputs: trained categories under "labels", (H, W), or scores under "sem_seg".
        """
        for record, output in zip(inputs, outputs, strict=True):
            prediction = predicted_ids(output)
            label = self._ground_truth.read(record, prediction.shape)
            valid = label != self._ground_truth.ignore_label
            index = label[valid].astype(np.int64) * self._num_trained + prediction[valid]
            counts = np.bincount(index, minlength=self._confusion.size)
            self._confusion += counts.reshape(self._confusion.shape)

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        """{"sem_seg": {mIoU, mIoU_oracle, pACC, IoU-<name>, IoU_oracle-<name>}} in percent."""
        confusion = sum_over_processes(self._confusion) if self._distributed else self._confusion
        if self._distributed and not comm.is_main_process():
            return None
        names = self._ground_truth.categories
        if not confusion.any():
            raise ProLabError(
                f"data set {self._ground_truth.dataset_name!r} has no labelled pixel: check its "
                "masks and its ignore_label"
            )
        rows = np.arange(len(names))
        labelled = confusion.sum(1)
        right = confusion[rows, self._answers]
        answered = confusion.sum(0)[self._answers]
        # Answered pixels of the categories that share an answer, the category itself among them.
        together = self._answers[:, None] == self._answers[None, :]
        sharing = (together * confusion[:, self._answers].T).sum(1)
        results = {}
        for kind, union in (
            ("", labelled + answered - right),
            ("_oracle", labelled + answered - sharing),
        ):
            iou = np.full(len(names), np.nan)
            np.divide(100 * right, union, out=iou, where=labelled > 0)
            results[f"mIoU{kind}"] = _mean(iou)
            results |= {f"IoU{kind}-{name}": float(v) for name, v in zip(names, iou, strict=True)}
        results["pACC"] = float(100 * right.sum() / confusion.sum())
        return OrderedDict(sem_seg=results)


def results_table(
    categories: Sequence[str],
    seen: Sequence[bool | None],
    iou: Mapping[str, np.ndarray],
) -> str:
    """Markdown: IoU of every category and their means, one column for each way.

    Args:
        iou: (N,) in percent by column.
    """
    rows: list[list[Any]] = [
        [name, _GROUPS[known], *(_cell(values[i]) for values in iou.values())]
        for i, (name, known) in enumerate(zip(categories, seen, strict=True))
    ]
    means = {column: seen_and_unseen(values, seen) for column, values in iou.items()}
    rows.append(["mean", "all", *(_cell(_mean(values)) for values in iou.values())])
    for key, group in (("mIoU_seen", "seen"), ("mIoU_unseen", "unseen")):
        rows.append(["mean", group, *(_cell(means[column][key]) for column in iou)])
    harmonic = [_cell(means[column]["mIoU_harmonic"]) for column in iou]
    rows.append(["harmonic mean", "seen, unseen", *harmonic])
    headers = ["category", "in training", *(f"IoU, {column}" for column in iou)]
    return tabulate(rows, headers, "pipe", disable_numparse=True)


def _cell(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"
