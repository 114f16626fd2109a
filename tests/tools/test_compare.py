from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from detectron2.config import CfgNode

from prolab_d2 import ProLabError
from tests.golden import REPOSITORY
from tools import compare
from tools._runs import METRICS, threads_of_run


def record(config: str, seed: int, val: float, test: float, seconds: float) -> dict:
    return {
        "config": config,
        "seed": seed,
        "sessions": [{"wall_s": seconds, "cpu_s": seconds / 2}],
        "val_last": {"mIoU": val - 1},
        "val_best": {"mIoU": val},
        "test": {"mIoU": test},
    }


def test_the_table_has_mean_and_spread_of_every_config() -> None:
    records = [
        record("a/property.yaml", 0, 60.0, 50.0, 60),
        record("a/category.yaml", 0, 55.0, 45.0, 60),
        record("a/property.yaml", 1, 64.0, 52.0, 120),
    ]
    lines = compare.table(records).splitlines()
    assert lines[2] == "| a/property | 2 | 61.00 ± 2.83 | 62.00 ± 2.83 | 51.00 ± 1.41 | 1.5 | 0.8 |"
    assert lines[3] == "| a/category | 1 | 54.00 | 55.00 | 45.00 | 1.0 | 0.5 |"


def test_history_counts_repeated_iterations_once(tmp_path: Path) -> None:
    def evaluation(iteration: int, value: float) -> dict:
        return {"iteration": iteration, **{f"sem_seg/{key}": value for key in METRICS}}

    entries = [
        {"iteration": 19, "total_loss": 2.0},
        evaluation(19, 10.0),
        {"iteration": 39, "total_loss": 1.5},
        # Resumed after iteration 20, and come to the end after 40.
        {"iteration": 39, "total_loss": 1.0},
        evaluation(40, 30.0),
    ]
    entries[-1]["streets_val/sem_seg/mIoU"] = 50.0  # with several data sets to test on
    path = tmp_path / "metrics.json"
    path.write_text("\n".join(map(json.dumps, entries)) + "\n")
    evaluations, losses = compare.read_history(path)
    assert losses == [{"iteration": 20, "loss": 2.0}, {"iteration": 40, "loss": 1.0}]
    assert [(e["iteration"], e["mIoU"]) for e in evaluations] == [(20, 10.0), (40, 30.0)]
    assert [e.get("mIoU of streets_val") for e in evaluations] == [None, 50.0]


def test_trains_once_and_reports_from_the_records(
    tiny_cfg: CfgNode,
    tiny_dataset_folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY), prepend=os.pathsep)
    tiny_cfg.DATASETS.FOLDER = str(tiny_dataset_folder)
    config = tmp_path / "tiny.yaml"
    config.write_text(tiny_cfg.dump())
    arguments = ["--configs", str(config), "--seeds", "3", "--output", str(tmp_path / "runs")]
    arguments += ["--logs", str(tmp_path / "logs")]
    assert compare.main(arguments) == 0
    table = capfd.readouterr().out.splitlines()[-1]
    written = json.loads((tmp_path / "logs/tiny_seed3.json").read_text())
    assert written["seed"] == 3 and written["sessions"][0]["cpu_s"] > 0
    assert [entry["iteration"] for entry in written["evaluations"]] == [2]
    assert f"{written['val_best']['mIoU']:.2f}" in table

    (tmp_path / "runs/tiny_seed3/model_final.pth").unlink()
    assert compare.main(arguments) == 0
    out = capfd.readouterr().out
    assert "done before" in out and out.splitlines()[-1] == table
    assert not (tmp_path / "runs/tiny_seed3/model_final.pth").exists()


def test_a_failing_run_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["--configs", "none.yaml", "--output", str(tmp_path / "runs")]
    assert compare.main([*arguments, "--logs", str(tmp_path / "logs"), "--seeds", "0"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "config none.yaml does not exist" in lines[0]
    assert list((tmp_path / "logs").iterdir()) == []


def test_runs_that_would_share_a_folder_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--output", str(tmp_path / "runs"), "--logs", str(tmp_path / "logs")]
    configs = ["--configs", "camvid/lite0_property", "scenes/lite0_property"]
    assert compare.main([*configs, *arguments, "--seeds", "0"]) == 2
    assert "two runs are called lite0_property seed 0" in capfd.readouterr().err


def test_the_share_of_a_run() -> None:
    cores = os.cpu_count() or 1
    assert [threads_of_run(*given) for given in ((None, 1), (3, 2), (None, 10**6))] == [cores, 3, 1]
    for threads, jobs, words in ((None, 0, "--jobs 0"), (0, 1, "--threads 0"), (-2, 1, "-2")):
        with pytest.raises(ProLabError, match=f"{words}: give a number from 1"):
            threads_of_run(threads, jobs)
