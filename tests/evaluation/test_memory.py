"""Evaluation keeps counts, never predictions: memory does not grow with the number of images."""

from __future__ import annotations

import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import build_detection_test_loader
from detectron2.evaluation import DatasetEvaluators, inference_on_dataset
from torch import nn

from prolab_d2 import LabelSpace
from prolab_d2.data import LabelIds, PropertyDatasetMapper, register_folder
from prolab_d2.data.datasets.folder import list_split
from prolab_d2.evaluation import PropertyEvaluator, SemSegEvaluator
from tests.data.folders import CATEGORIES, make_folder

SIZE = (96, 128)


class Answers(nn.Module):
    """Says what the mask says, and counts how many of its answers are still kept somewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = 0
        self.most_kept = 0

    def forward(self, inputs: list[dict[str, Any]]) -> list[dict[str, torch.Tensor]]:
        (one,) = inputs
        labels = one["sem_seg"].clamp(max=len(CATEGORIES) - 1)
        answer = {"labels": labels, "properties": torch.rand(4, 24, 32)}
        for tensor in answer.values():
            self.kept += 1
            weakref.finalize(tensor, self._freed)
        self.most_kept = max(self.most_kept, self.kept)
        return [answer]

    def _freed(self) -> None:
        self.kept -= 1


def evaluate(folder: Path, count: int) -> tuple[int, int]:
    """(answers alive at once, bytes at the peak of an evaluation of the first images)."""
    name = register_folder(folder)["val"]
    space = LabelSpace.from_arrays(CATEGORIES, np.eye(4), np.eye(3, 4, dtype=bool) | [0, 0, 0, 1])
    mapper = PropertyDatasetMapper(
        is_train=False, augmentations=[], label_ids=LabelIds(len(CATEGORIES), 255)
    )
    loader = build_detection_test_loader(list_split(folder, "val")[:count], mapper=mapper)
    evaluators = DatasetEvaluators([SemSegEvaluator(name), PropertyEvaluator(name, space)])
    model = Answers()
    tracemalloc.start()
    try:
        results = inference_on_dataset(model, loader, evaluators)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert results["sem_seg"]["pACC"] == 100
    return model.most_kept, peak


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "many", {"train": 1, "val": 200}, size=SIZE)
    evaluate(folder, 5)  # what is loaded and allocated once
    few_kept, few_bytes = evaluate(folder, 5)
    many_kept, many_bytes = evaluate(folder, 200)
    # Those of the present image, and those of the one before until they are replaced.
    assert few_kept == many_kept <= 4
    # One mask has 98 kB in int64: keeping 195 more would take 19 MB.
    assert many_bytes - few_bytes < 300_000
