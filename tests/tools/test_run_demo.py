from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from detectron2.config import CfgNode
from PIL import Image

from prolab_d2 import LabelSpace
from prolab_d2.data import LabelIds
from tools import run_demo


def sample(truth: np.ndarray, labels: np.ndarray) -> object:
    return run_demo.Sample("name", truth, SimpleNamespace(labels=labels))


def test_the_explained_pixel_lies_deep_inside_a_rare_region_that_is_right() -> None:
    truth = np.zeros((60, 80), dtype=np.int64)
    truth[10:31, 20:41] = 2
    truth[50:54, 10:14] = 1
    labels = truth.copy()
    labels[50:54, 10:14] = 0  # category 1 is not found
    case = sample(truth, labels)
    assert run_demo.pick_pixel(case, set(), [1, 2, 0]) == (30, 20, 2)
    assert run_demo.pick_pixel(case, {2}, [1, 2, 0])[2] == 0
    # When everything was explained before, the rarest comes again.
    assert run_demo.pick_pixel(case, {0, 2}, [1, 2, 0])[2] == 2


def test_images_come_from_all_parts_of_the_data_set(tmp_path: Path) -> None:
    entries = []
    for i, categories in enumerate((1, 4, 3, 2, 2, 3)):
        mask = np.arange(categories, dtype=np.uint8).repeat(10)[None].repeat(8, axis=0)
        Image.fromarray(mask).save(tmp_path / f"{i}.png")
        entries.append({"sem_seg_file_name": str(tmp_path / f"{i}.png")})
    label_ids = LabelIds(5, 255)
    chosen = [entry for entry, _ in run_demo.richest_entries(entries, label_ids, 2)]
    assert chosen == [entries[1], entries[5]]
    assert len(run_demo.richest_entries(entries, label_ids, 50)) == 6


def test_a_prediction_that_is_wrong_everywhere_is_explained_in_its_middle() -> None:
    truth = np.zeros((60, 80), dtype=np.int64)
    case = sample(truth, truth + 1)
    assert run_demo.pick_pixel(case, set(), [0, 1]) == (40, 30, 1)


def test_summary_shows_times_metrics_and_the_next_command() -> None:
    metrics = {
        "data_set": "tiny_sem_seg_val",
        "images": 2,
        "percent": {"mIoU": 81.26, "pACC": 93.0},
        "categories": [{"name": "sky", "iou": 0.8126}, {"name": "car", "iou": None}],
    }
    text = run_demo.summary(metrics, {"train": 61.0, "explain": 4.0}, Path("output/demo"))
    rows = {tuple(line.rsplit(maxsplit=1)) for line in text.splitlines() if line.split()}
    assert ("altogether", "65") in rows
    assert ("mean (mIoU)", "81.3") in rows
    assert ("sky", "81.3") in rows and ("car", "-") in rows
    assert "demo.py --weights output/demo/model_best.pth" in text


@pytest.mark.slow
def test_the_whole_path_on_a_tiny_data_set_and_again(
    tiny_cfg: CfgNode,
    tiny_dataset_folder: Path,
    tiny_label_space: LabelSpace,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(tiny_cfg.dump())
    output = tmp_path / "demo"
    args = ["--config-file", str(config), "--output", str(output), "--pictures", "2"]
    args += ["DATASETS.FOLDER", str(tiny_dataset_folder)]
    assert run_demo.main(args) == 0
    pictures = sorted(path.name for path in (output / "pictures").iterdir())
    kinds = ("explained", "overlay", "properties")
    expected = [f"{stem}_{kind}.png" for stem in "01" for kind in kinds]
    assert pictures == [*expected, "explanations.txt", "overview.png"]
    with Image.open(output / "pictures/overview.png") as overview:
        assert overview.width > 3 * run_demo.TILE_WIDTH
    assert (output / "model_best.pth").is_file()
    assert (output / "report/index.html").read_text(encoding="utf-8").count("<section ") == 2
    folder = next((output / "inference").iterdir())
    metrics = json.loads((folder / "sem_seg_metrics.json").read_text())
    assert metrics["images"] == 2
    assert [entry["name"] for entry in metrics["categories"]] == list(tiny_label_space.categories)
    out = capfd.readouterr().out
    assert "$ python projects/ProLab/train_net.py" in out
    assert "mean (mIoU)" in out
    # The finished training is not done again.
    before = (output / "model_final.pth").stat().st_mtime_ns
    assert run_demo.main(args) == 0
    assert (output / "model_final.pth").stat().st_mtime_ns == before


def test_bad_options_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("kept")
    for args, words in (
        (["--pictures", "0"], "--pictures 0"),
        (["--output", str(tmp_path / "file" / "demo")], "cannot write"),
        (["--config-file", "no_such.yaml"], "no_such.yaml does not exist"),
        (["--config-file", "camvid/lite0_property", "MODEL.NO_SUCH_KEY", "1"], "NO_SUCH_KEY"),
    ):
        given = args if "--output" in args else [*args, "--output", str(tmp_path / "out")]
        assert run_demo.main(given) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and words in lines[0]
    assert (tmp_path / "file").read_text() == "kept"
