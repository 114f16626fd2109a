"""Metrics against the numbers of MMSegmentation (fixtures f6_metrics)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prolab_d2.data.reading import LabelIds
from prolab_d2.evaluation import SemSegMetrics, confusion_matrix
from tests.golden import GoldenArrays, assert_close, golden_files, golden_json

pytestmark = pytest.mark.golden

# The published numbers are float32.
RTOL = 1e-6


def check_case(arrays: GoldenArrays, case: dict[str, Any]) -> None:
    name, count, ignore_label = case["case"], case["num_classes"], case["ignore_index"]
    label_map = {}
    if case["reduce_zero_label"]:
        label_map = {0: ignore_label} | {i: i - 1 for i in range(1, count + 1)}
    label_ids = LabelIds(count, ignore_label, label_map)

    confusion = np.zeros((count, count), dtype=np.int64)
    for label, prediction in zip(arrays[f"{name}/label"], arrays[f"{name}/pred"], strict=True):
        label = label_ids.decode(label, name)
        confusion += confusion_matrix(prediction, label, count, ignore_label)
    metrics = SemSegMetrics(confusion)

    for area, ours in (
        ("intersect", metrics.intersection),
        ("union", metrics.union),
        ("pred", metrics.predicted),
        ("label", metrics.labelled),
    ):
        assert np.array_equal(arrays[f"{name}/area_{area}"], ours), f"{name}: {area}"
    for published, ours in (
        ("IoU", metrics.iou),
        ("Acc", metrics.accuracy),
        ("Recall", metrics.accuracy),
        ("Precision", metrics.precision),
        ("Dice", metrics.dice),
        ("Fscore", metrics.dice),
        ("aAcc", [metrics.pixel_accuracy]),
    ):
        assert_close(ours, arrays[f"{name}/{published}"], rtol=RTOL, what=f"{name}: {published}")
    results = metrics.results(tuple(map(str, range(count))))
    for published, ours in (("mIoU", "mIoU_mmseg"), ("mAcc", "mACC"), ("aAcc", "pACC")):
        assert results[ours] == pytest.approx(100 * case[published], rel=RTOL), f"{name}: {ours}"


def test_metrics_are_the_published_ones():
    files = golden_files("f6_metrics*.npz")
    cases = golden_json("f6_preprocess_metrics.json")["metrics"]
    for path in files:
        check_file(path, cases)
    print(f"golden metric files: {len(files)}, cases: {len(cases)}")


def check_file(path: Path, cases: list[dict[str, Any]]) -> None:
    arrays = GoldenArrays(path)
    for case in cases:
        check_case(arrays, case)
    arrays.assert_all_read()
