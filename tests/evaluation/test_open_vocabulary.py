"""Seen and unseen categories told apart, and the baseline that knows no new ones."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog

from prolab_d2 import ProLabError
from prolab_d2.data import register_dataset
from prolab_d2.evaluation.open_vocabulary import (
    NearestCategoryEvaluator,
    harmonic_mean,
    results_table,
    seen_and_unseen,
)


def test_means_of_seen_and_unseen() -> None:
    iou = np.array([80.0, 20.0, np.nan, 40.0])
    result = seen_and_unseen(iou, [True, False, True, True])
    assert result == {"mIoU_seen": 60.0, "mIoU_unseen": 20.0, "mIoU_harmonic": 30.0}
    alone = seen_and_unseen(iou, [True] * 4)
    assert math.isnan(alone["mIoU_unseen"]) and math.isnan(alone["mIoU_harmonic"])
    assert harmonic_mean(0.0, 0.0) == 0.0


@pytest.fixture
def dataset() -> str:
    """Categories: building, hut, road, kite."""
    register_dataset(
        "four_categories", lambda: [], stuff_classes=["building", "hut", "road", "kite"]
    )
    yield "four_categories"
    DatasetCatalog.remove("four_categories")


def test_one_answer_counts_for_every_category_that_it_stands_for(dataset: str) -> None:
    # Building and hut are answered by 0, road by 1; nobody answers kite's 2 here.
    evaluator = NearestCategoryEvaluator(dataset, [0, 0, 1, 2], num_trained=3)
    labels = torch.tensor([[0] * 6 + [1] * 2 + [2] * 4 + [255] * 2])
    given = torch.tensor([[0] * 5 + [1] + [0] * 2 + [1] * 3 + [0] + [2] * 2])
    record = {"file_name": "x.png", "sem_seg": labels}
    evaluator.process([record], [{"labels": given}])
    scores = torch.nn.functional.one_hot(given, 3).permute(2, 0, 1)
    evaluator.process([record], [{"sem_seg": scores}])
    results = evaluator.evaluate()["sem_seg"]
    # Building: 5 right, 6 labelled, 8 answered, of which the 2 of the hut are not its own.
    assert results["IoU-building"] == pytest.approx(100 * 5 / 9)
    assert results["IoU_oracle-building"] == pytest.approx(100 * 5 / 7)
    assert results["IoU-hut"] == pytest.approx(100 * 2 / 8)
    assert results["IoU_oracle-hut"] == pytest.approx(100 * 2 / 3)
    assert results["IoU-road"] == results["IoU_oracle-road"] == pytest.approx(100 * 3 / 5)
    assert math.isnan(results["IoU-kite"])
    assert results["mIoU"] == pytest.approx(100 * (5 / 9 + 2 / 8 + 3 / 5) / 3)
    assert results["mIoU_oracle"] == pytest.approx(100 * (5 / 7 + 2 / 3 + 3 / 5) / 3)
    assert results["pACC"] == pytest.approx(100 * 10 / 12)
    evaluator.reset()
    with pytest.raises(ProLabError, match="has no labelled pixel"):
        evaluator.evaluate()


def test_table_has_every_way_in_a_column(tmp_path: Path) -> None:
    iou = {"swap": np.array([50.0, 10.0, np.nan]), "extend": np.array([60.0, 30.0, np.nan])}
    lines = results_table(["sky", "kite", "sea"], [True, False, False], iou).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["category", "in training", "IoU, swap", "IoU, extend"]
    assert cells[3:5] == [["kite", "unseen", "10.00", "30.00"], ["sea", "unseen", "-", "-"]]
    assert cells[5] == ["mean", "all", "30.00", "45.00"]
    assert cells[8] == ["harmonic mean", "seen, unseen", "16.67", "40.00"]
