"""Evaluation of property activations against the signatures of the labelled categories.

Where a data set has annotations of properties, also against these.

Shapes: K properties, N categories, h x w map size, H x W original size.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from prolab_d2.data.property_annotations import annotation_reader
from prolab_d2.errors import ProLabError
from prolab_d2.evaluation.annotated_metrics import AnnotatedHistograms
from prolab_d2.evaluation.ground_truth import GroundTruth
from prolab_d2.evaluation.property_metrics import (
    NUM_BINS,
    PropertyMetrics,
    property_histograms,
    sample_at_cell_centres,
)
from prolab_d2.evaluation.reporting import sum_over_processes, write_json
from prolab_d2.label_space import LabelSpace

__all__ = ["PropertyEvaluator"]


class PropertyEvaluator(DatasetEvaluator):
    """IoU (activation above 0.5) and average precision of every property.

    Reads "properties" (K, h, w) of the model's output, activations in [0, 1] that cover the image;
    values outside are clipped. The truth of a pixel is the signature of its category, read from
    the mask at the centre of every cell of the h x w grid. With annotations of the data set (see
    `PropertyAnnotations`) there are also mIoU_annotated and mAP_annotated, over the properties that
    some of its pixels have by annotation.
    """

    def __init__(
        self,
        dataset_name: str,
        label_space: LabelSpace,
        distributed: bool = True,
        output_dir: str | None = None,
        *,
        background: bool = False,
    ) -> None:
        """
        Args:
            dataset_name: a data set of Detectron2's catalog with the categories of `label_space`.
            output_dir: gets property_metrics.json.
            background: the data set has one more category before them, whose pixels may have any
                property; they are left out.
        Raises:
            ProLabError: the data set has another number of categories.
        """
        self._ground_truth = GroundTruth(dataset_name)
        number = len(self._ground_truth.categories) - background
        if number != label_space.num_categories:
            raise ProLabError(
                f"data set {dataset_name!r} has {number} categories, "
                f"the label space {label_space.num_categories}: evaluate with the label space of "
                "the data set"
            )
        self._first = int(background)  # id of the first category of the label space
        self._dataset_name = dataset_name
        self._label_space = label_space
        self._signatures = torch.tensor(label_space.signatures, dtype=torch.bool)
        self._read_annotations = annotation_reader(dataset_name)
        self._distributed = distributed
        self._output_dir = output_dir
        self._logger = logging.getLogger(__name__)
        self.reset()

    def reset(self) -> None:
        self._histograms = np.zeros((self._label_space.num_properties, 2, NUM_BINS), dtype=np.int64)
        self._annotated = AnnotatedHistograms.empty(self._label_space.signatures)

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """
        Raises:
            ProLabError: a mask cannot be used.
        """
        for record, output in zip(inputs, outputs, strict=True):
            activations: torch.Tensor = output["properties"]
            size = (record["height"], record["width"])
            mask = self._ground_truth.read(record, size)
            labels = sample_at_cell_centres(mask, tuple(activations.shape[-2:]))
            labels = torch.from_numpy(labels.astype(np.int64)).to(activations.device)
            valid = (labels != self._ground_truth.ignore_label) & (labels >= self._first)
            self._histograms += property_histograms(
                activations[:, valid],
                labels[valid] - self._first,
                self._signatures.to(activations.device),
            )
            if self._read_annotations is not None:
                self._annotated.add(
                    activations,
                    (labels - self._first).masked_fill(~valid, -1),
                    self._read_annotations(record, self._label_space),
                )

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        """{"properties": mIoU and mAP in percent, over the properties that occur}."""
        histograms, annotated = self._histograms, self._annotated
        if self._distributed:
            histograms = sum_over_processes(histograms)
            annotated = replace(annotated, counts=sum_over_processes(annotated.counts))
            if not comm.is_main_process():
                return None
        metrics = PropertyMetrics(histograms)
        results = metrics.results()
        if self._read_annotations is not None:
            for name, value in annotated.metrics.results().items():
                results[f"{name}_annotated"] = value
        if self._output_dir:
            self._write(metrics, annotated, results)
        self._logger.info(
            "%s, %d of %d properties occur: mIoU %.2f, mAP %.2f",
            self._dataset_name,
            np.count_nonzero(metrics.positives),
            len(metrics.positives),
            results["mIoU"],
            results["mAP"],
        )
        return OrderedDict(properties=results)

    def _write(
        self, metrics: PropertyMetrics, annotated: AnnotatedHistograms, results: dict[str, float]
    ) -> None:
        iou = metrics.iou()
        properties = [
            {
                "name": item.name,
                "iou": iou[k],
                "average_precision": metrics.average_precision[k],
                "pixels": metrics.positives[k],
            }
            for k, item in enumerate(self._label_space.properties)
        ]
        if self._read_annotations is not None:
            by_annotation = annotated.metrics
            iou = by_annotation.iou()
            for k, entry in enumerate(properties):
                entry["annotated"] = {
                    "iou": iou[k],
                    "average_precision": by_annotation.average_precision[k],
                    "pixels": annotated.pixels[k],
                    "pixels_with": by_annotation.positives[k],
                }
        content = {
            "data_set": self._dataset_name,
            "pixels": int(metrics.histograms[0].sum()),
            "percent": results,
            "properties": properties,
        }
        write_json(Path(self._output_dir) / "property_metrics.json", content)
