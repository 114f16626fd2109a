from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from prolab_d2 import Predictor
from prolab_d2.data import register_folder
from prolab_d2.evaluation.unknown_calibration import calibrate_unknown
from prolab_d2.explain.unknown import DEFAULT_THRESHOLD
from tests.conftest import save_tiny_checkpoint
from tests.refusals import fails
from tools.calibrate_unknown import main


def test_the_threshold_is_stored_and_used(
    tiny_checkpoint: Path,
    tiny_dataset_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset = register_folder(tiny_dataset_folder)["train"]
    checkpoint = Path(shutil.copy(tiny_checkpoint, tmp_path / "model.pth"))
    before = torch.load(checkpoint, weights_only=True)
    args = [str(checkpoint), "--dataset", dataset, "--false-alarms", "20"]
    assert main(args) == 0
    assert Predictor.from_checkpoint(checkpoint).unknown_threshold == DEFAULT_THRESHOLD
    assert main([*args, "--store"]) == 0
    predictor = Predictor.from_checkpoint(checkpoint)
    threshold = predictor.unknown_threshold
    assert f"threshold {threshold:.4f}" in capsys.readouterr().out
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    assert predictor(image).unknown_threshold == threshold
    after = torch.load(checkpoint, weights_only=True)
    assert after["prolab"].pop("unknown_threshold") == threshold
    assert after["prolab"].keys() == before["prolab"].keys() and after.keys() == before.keys()
    found = calibrate_unknown(predictor, dataset, 0.2)
    assert found.threshold == threshold and found.cells > 0
    assert 0.2 - 5 / found.cells <= found.false_alarms <= 0.2
    assert calibrate_unknown(predictor, dataset, 0.5).threshold < threshold


def test_what_cannot_be_calibrated_is_one_sentence(
    tiny_checkpoint: Path,
    tiny_cfg: object,
    tiny_dataset_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset = register_folder(tiny_dataset_folder)["train"]
    tiny_cfg.MODEL.PROLAB.SUPERVISION = "category"
    baseline = str(save_tiny_checkpoint(tiny_cfg, tmp_path / "category"))
    tiny = str(tiny_checkpoint)
    for args, words in (
        ([baseline, "--dataset", dataset], "has no properties"),
        ([tiny, "--dataset", "nowhere"], "nowhere is not known"),
        ([tiny, "--dataset", dataset, "--false-alarms", "0"], "--false-alarms 0"),
        ([tiny, "--dataset", dataset, "--images", "0"], "--images 0"),
    ):
        fails(capsys, main(args), words)
