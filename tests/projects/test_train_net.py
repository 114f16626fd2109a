"""train_net.py from the outside: results and resuming."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from PIL import Image

from tests.golden import REPOSITORY
from tests.projects.conftest import PROGRAM, Run
from tests.refusals import error_line


@pytest.mark.parametrize("supervision", ["property", "category", "text"])
def test_trains_evaluates_and_writes_what_it_promises(
    run: Run,
    tmp_path: Path,
    tiny_described_space_folder: Path,
    supervision: str,
    tuned: list[str],
) -> None:
    options = ["MODEL.PROLAB.SUPERVISION", supervision, "TEST.PROPERTIES", "True"]
    options += ["MODEL.PROLAB.LABEL_SPACE", str(tiny_described_space_folder)]
    tuned.clear()
    assert run(*options) == 0
    assert tuned == ["_keep_freed_memory"]
    output = tmp_path / "output"
    names = {file.name for file in output.iterdir()}
    assert {"config.yaml", "metrics.json", "model_final.pth", "model_best.pth"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    last = json.loads((output / "metrics.json").read_text().splitlines()[-1])
    assert 0 <= last["sem_seg/mIoU"] <= 100
    folder = next((output / "inference").iterdir())
    written = json.loads((folder / "sem_seg_metrics.json").read_text())["percent"]
    assert written["mIoU"] == pytest.approx(last["sem_seg/mIoU"])
    assert (folder / "property_metrics.json").exists() == (supervision == "property")

    assert run("--eval-only", *options, "MODEL.WEIGHTS", output / "model_final.pth") == 0
    assert tuned[1:] == ["_keep_few_primitives", "_keep_freed_memory"]
    again = json.loads((folder / "sem_seg_metrics.json").read_text())["percent"]
    assert again["mIoU"] == pytest.approx(written["mIoU"])


def test_a_background_is_evaluated_with_a_model_that_has_none(
    run: Run,
    tiny_checkpoint: Path,
    tiny_dataset_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As Pascal VOC: the label space has the categories, the masks have a background in front."""
    path = tiny_dataset_folder / "categories.txt"
    path.write_text("background\n" + path.read_text())
    for file in tiny_dataset_folder.glob("annotations/*/*.png"):
        mask = np.array(Image.open(file))
        mask[mask < 5] += 1
        mask[:20] = 0
        Image.fromarray(mask).save(file)
    options = ["--eval-only", "MODEL.WEIGHTS", tiny_checkpoint, "TEST.PROPERTIES", "True"]
    assert run(*options) == 2
    assert "TEST.BACKGROUND_THRESHOLD is not set" in error_line(capsys)
    assert run(*options, "TEST.BACKGROUND_THRESHOLD", "0.46") == 0
    folder = next((tmp_path / "output/inference").iterdir())
    categories = json.loads((folder / "sem_seg_metrics.json").read_text())["categories"]
    assert [entry["name"] for entry in categories][:2] == ["background", "sky"]
    assert len(categories) == 6 and categories[0]["predicted_pixels"] > 0
    assert categories[0]["labelled_pixels"] == 2 * 20 * 80
    # Pixels of the background may have any property, so that they count for none.
    properties = json.loads((folder / "property_metrics.json").read_text())
    assert properties["pixels"] <= 2 * (44 // 4 + 1) * 80 // 4


@pytest.mark.parametrize("supervision", ["property", "category"])
def test_data_sets_with_different_categories_train_together(
    run: Run, tiny_dataset_folder: Path, tmp_path: Path, supervision: str
) -> None:
    other = tmp_path / f"other_{tmp_path.name}"
    shutil.copytree(tiny_dataset_folder, other)
    # The third and the first of the five categories, in this order and with ids of their own.
    entries = [{"name": "fence", "id": 1}, {"name": "sky", "id": 0}]
    label_map = {"2": 255, "3": 255, "4": 255}
    (other / "categories.txt").unlink()
    content = {"categories": entries, "label_map": label_map}
    (other / "categories.json").write_text(json.dumps(content))
    options = ["MODEL.PROLAB.SUPERVISION", supervision]
    weights = ["DATASETS.SAMPLING_WEIGHTS", "[1, 2]", "TEST.PROPERTIES", "True"]
    assert run("--dataset", other, *options, *weights) == 0
    output = tmp_path / "output"
    results = {}
    for folder, count in ((tiny_dataset_folder, 5), (other, 2)):
        name = f"{folder.name}_sem_seg_val"
        found = json.loads((output / f"inference/{name}/sem_seg_metrics.json").read_text())
        assert len(found["categories"]) == count
        results[name] = found["percent"]["mIoU"]
    # One number decides which checkpoint is the best one.
    last = json.loads((output / "metrics.json").read_text().splitlines()[-1])
    assert last["sem_seg/mIoU"] == pytest.approx(sum(results.values()) / 2)
    for name, value in results.items():
        assert last[f"{name}/sem_seg/mIoU"] == pytest.approx(value)
    assert (output / "model_best.pth").is_file()


def test_log_and_screen_show_the_result_of_every_category(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    for text in ((tmp_path / "output/log.txt").read_text(), capsys.readouterr().out):
        assert "mIoU_mmseg" in text and "sign symbol" in text.partition("training from")[2]


def test_evaluates_another_split_of_a_folder_without_training_images(
    run: Run, tiny_dataset_folder: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    for kind in ("images", "annotations"):
        (tiny_dataset_folder / kind / "val").rename(tiny_dataset_folder / kind / "test")
        shutil.rmtree(tiny_dataset_folder / kind / "train")
    name = f"{tiny_dataset_folder.name}_sem_seg_test"
    options = ("MODEL.WEIGHTS", tiny_checkpoint, "DATASETS.TEST", f"('{name}',)")
    assert run("--eval-only", *options) == 0
    assert [folder.name for folder in (tmp_path / "output/inference").iterdir()] == [name]


def test_colors_of_the_data_set_are_those_of_the_pictures(
    run: Run, tiny_dataset_folder: Path, tmp_path: Path
) -> None:
    from detectron2.data import MetadataCatalog

    from prolab_d2 import Predictor

    path = tiny_dataset_folder / "categories.txt"
    path.write_text(path.read_text().replace("meadow", "meadow #010203"))
    assert run() == 0
    for split in ("train", "val"):
        MetadataCatalog.remove(f"{tiny_dataset_folder.name}_sem_seg_{split}")
    predictor = Predictor.from_checkpoint(tmp_path / "output/model_best.pth")
    assert tuple(predictor.metadata.stuff_colors[1]) == (1, 2, 3)


def test_resuming_continues_with_optimiser_and_best_value(run: Run, tmp_path: Path) -> None:
    assert run("SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2) == 0
    output = tmp_path / "output"
    (output / "last_checkpoint").write_text("model_0000001.pth")
    (output / "model_final.pth").unlink()
    before = torch.load(output / "model_0000003.pth", weights_only=True)
    (output / "model_0000003.pth").unlink()
    assert run("--resume", "SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2) == 0
    after = torch.load(output / "model_0000003.pth", weights_only=True)
    assert after["iteration"] == before["iteration"] == 3
    steps = [
        state["step"].item()
        for state in after["trainer"]["_trainer"]["optimizer"]["state"].values()
    ]
    assert set(steps) == {4}
    iterations = [
        json.loads(line)["iteration"] for line in (output / "metrics.json").read_text().splitlines()
    ]
    assert iterations[-1] == 4


def test_warm_up_average_and_accumulation_survive_a_resume(run: Run, tmp_path: Path) -> None:
    options = (
        "MODEL.PROLAB.CATEGORY_WARMUP_ITERS", 3, "SOLVER.EMA_DECAY", 0.5, "SOLVER.ACCUMULATE", 2,
        "SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2, "TEST.EVAL_PERIOD", 4,
    )  # fmt: skip
    assert run(*options) == 0
    output = tmp_path / "output"
    final = torch.load(output / "model_final.pth", weights_only=True)
    best = torch.load(output / "model_best.pth", weights_only=True)["model"]
    average = final["weight_average"]
    assert int(average["n_averaged"]) == 4
    assert not any("category_projection" in name for name in best)
    assert any("category_projection" in name for name in final["model"])
    name = "decode_head.fpn_bottleneck.conv.weight"
    assert torch.equal(best[name], average[f"module.{name}"])
    assert not torch.equal(best[name], final["model"][name])

    # Evaluation of the training's checkpoint uses the average, too, as model_best.pth does.
    from prolab_d2.checkpoint import read_checkpoint

    assert torch.equal(read_checkpoint(output / "model_final.pth").model[name], best[name])

    # Iteration 2 of a resumed training is still in the warm-up, iteration 3 no longer.
    from prolab_d2.modeling import PropertySegmentor

    seen = []
    original = PropertySegmentor._losses

    def spy(self: PropertySegmentor, inputs: list) -> dict:
        seen.append(self.in_category_warmup)
        return original(self, inputs)

    (output / "last_checkpoint").write_text("model_0000001.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PropertySegmentor, "_losses", spy)
        assert run("--resume", *options) == 0
    assert seen == [True, True, False, False]
    again = torch.load(output / "model_final.pth", weights_only=True)
    assert int(again["weight_average"]["n_averaged"]) == 4


def test_the_same_seed_gives_the_same_numbers(run: Run, tmp_path: Path) -> None:
    weights = []
    for name in ("a", "b"):
        assert run("OUTPUT_DIR", tmp_path / name) == 0
        weights.append(torch.load(tmp_path / name / "model_final.pth", weights_only=True)["model"])
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]), key


def test_two_processes_train_together(
    tiny_cfg: CfgNode, tiny_dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Detectron2's launch and create_ddp_model do for GPUs, on CPU with gloo."""
    config = tmp_path / "tiny.yaml"
    config.write_text(tiny_cfg.dump())
    program = f"""
import sys
import torch.multiprocessing as mp
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

def process(rank):
    from detectron2.engine import defaults
    from detectron2.utils import comm
    dist.init_process_group("gloo", init_method="file://{tmp_path}/meet", rank=rank, world_size=2)
    comm._LOCAL_PROCESS_GROUP = dist.new_group([0, 1])
    defaults.create_ddp_model = lambda model, **_: DistributedDataParallel(model)
    sys.path.insert(0, {str(PROGRAM.parent)!r})
    import train_net
    train_net.run(train_net.argument_parser().parse_args(
        ["--config-file", {str(config)!r}, "--dataset", {str(tiny_dataset_folder)!r},
         "SOLVER.IMS_PER_BATCH", "4"]))
    # Else gloo's threads may still be at work when the process ends, which aborts it.
    dist.barrier()
    dist.destroy_process_group()

if __name__ == "__main__":
    mp.spawn(process, nprocs=2)
"""
    (tmp_path / "two.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY), prepend=os.pathsep)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    result = subprocess.run(
        [sys.executable, "two.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert (tmp_path / "output/model_best.pth").is_file()
    last = json.loads((tmp_path / "output/metrics.json").read_text().splitlines()[-1])
    assert last["iteration"] == 2 and "sem_seg/mIoU" in last


def test_mixed_precision_without_gpu_trains_in_float32(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("SOLVER.AMP.ENABLED", "True") == 0
    assert "SOLVER.AMP.ENABLED" in capsys.readouterr().out
    assert (tmp_path / "output/model_final.pth").is_file()
