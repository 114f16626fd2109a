"""Evaluation of semantic segmentation in the memory of one confusion matrix.

Shapes: N categories, H x W original size.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from tabulate import tabulate

from prolab_d2.errors import ProLabError
from prolab_d2.evaluation.ground_truth import GroundTruth
from prolab_d2.evaluation.reporting import sum_over_processes, write_json
from prolab_d2.evaluation.sem_seg_metrics import SemSegMetrics, confusion_matrix

__all__ = ["SemSegEvaluator", "predicted_ids"]

# Longer tables are in the result file only.
MAX_TABLE_ROWS = 200


class SemSegEvaluator(DatasetEvaluator):
    """Like Detectron2's evaluator of that name, without keeping predictions.

    Predictions are category ids under "labels", (H, W), or scores under "sem_seg", (N, H, W).
    """

    def __init__(
        self, dataset_name: str, distributed: bool = True, output_dir: str | None = None
    ) -> None:
        """
        Args:
            dataset_name: a data set of Detectron2's catalog with stuff_classes in its metadata.
            distributed: add up the counts of all processes.
            output_dir: gets sem_seg_metrics.json.
        """
        self._ground_truth = GroundTruth(dataset_name)
        self._dataset_name = dataset_name
        self._distributed = distributed
        self._output_dir = output_dir
        self._logger = logging.getLogger(__name__)
        self.reset()

    def reset(self) -> None:
        count = len(self._ground_truth.categories)
        self._confusion = np.zeros((count, count), dtype=np.int64)
        self._num_images = 0

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """
        Raises:
            ProLabError: a mask cannot be used, or a predicted id is no category of the data set.
        """
        for record, output in zip(inputs, outputs, strict=True):
            prediction = predicted_ids(output)
            label = self._ground_truth.read(record, prediction.shape)
            try:
                self._confusion += confusion_matrix(
                    prediction,
                    label,
                    len(self._ground_truth.categories),
                    self._ground_truth.ignore_label,
                )
            except ProLabError as error:
                raise ProLabError(f"{record['file_name']}: {error}") from None
            self._num_images += 1

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        """{"sem_seg": metrics in percent}, see `SemSegMetrics.results`; None on other processes."""
        confusion, num_images = self._confusion, self._num_images
        if self._distributed:
            confusion = sum_over_processes(confusion)
            num_images = int(sum_over_processes(np.array([num_images]))[0])
            if not comm.is_main_process():
                return None
        if not confusion.any():
            raise ProLabError(
                f"data set {self._dataset_name!r} has no labelled pixel in {num_images} evaluated "
                "images: check its masks and its ignore_label"
            )
        metrics = SemSegMetrics(confusion)
        results = metrics.results(self._ground_truth.categories)
        if self._output_dir:
            self._write(metrics, results, num_images)
        self._logger.info(
            "%s, %d images\n%s", self._dataset_name, num_images, self._table(metrics, results)
        )
        return OrderedDict(sem_seg=results)

    def _write(self, metrics: SemSegMetrics, results: dict[str, float], num_images: int) -> None:
        columns = {
            "iou": metrics.iou,
            "accuracy": metrics.accuracy,
            "precision": metrics.precision,
            "labelled_pixels": metrics.labelled,
            "predicted_pixels": metrics.predicted,
        }
        categories = [
            {"name": name} | {column: values[i] for column, values in columns.items()}
            for i, name in enumerate(self._ground_truth.categories)
        ]
        content = {
            "data_set": self._dataset_name,
            "images": num_images,
            "labelled_pixels": int(metrics.labelled.sum()),
            "percent": {name: value for name, value in results.items() if "-" not in name},
            "categories": categories,
        }
        write_json(Path(self._output_dir) / "sem_seg_metrics.json", content)

    def _table(self, metrics: SemSegMetrics, results: dict[str, float]) -> str:
        means = ("mIoU", "mIoU_mmseg", "fwIoU", "mACC", "pACC")
        summary = tabulate([[results[name] for name in means]], means, "pipe", floatfmt=".2f")
        names = self._ground_truth.categories
        if len(names) > MAX_TABLE_ROWS:
            return summary
        share = 100 * metrics.labelled / metrics.labelled.sum()
        rows = [
            (name, results[f"IoU-{name}"], results[f"ACC-{name}"], share[i])
            if metrics.labelled[i]
            else (name, None, None, 0.0)
            for i, name in enumerate(names)
        ]
        headers = ("category", "IoU", "ACC", "% of pixels")
        table = tabulate(rows, headers, "pipe", floatfmt=".2f", missingval="-")
        return f"{table}\n\n{summary}"


def predicted_ids(output: dict[str, Any]) -> np.ndarray:
    """(H, W) category ids from the output of a model for one image."""
    if "labels" in output:
        labels: torch.Tensor = output["labels"]
    else:
        labels = output["sem_seg"].argmax(dim=0)
    return labels.cpu().numpy()
