"""Held-out categories and other data sets' categories through train_net.py."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from detectron2.config import CfgNode
from PIL import Image

from projects.ProLab.train_net import main
from prolab_d2 import LabelSpace
from prolab_d2.checkpoint import read_checkpoint
from prolab_d2.data import register_all
from prolab_d2.label_space import build_label_space
from tests.conftest import save_tiny_checkpoint
from tests.label_space.conftest import WordEncoder
from tests.refusals import error_line
from tests.tools.downloads import shrink, write_tar, write_zip
from tests.tools.test_prepare_ade20k_847 import release
from tests.tools.test_prepare_pascal_context import label_maps, voc_2010
from tools.prepare_datasets import ade20k_847, pascal_context_459

SENTENCES = {
    "sky": ("blue and far away", "wide and even without edges"),
    "meadow": ("wide and even ground", "green blades of grass", "stands still"),
    "fence": ("thin upright bars", "stands on the ground", "painted metal"),
    "car": ("painted metal body", "four round wheels", "stands on the ground"),
    "sign symbol": ("painted metal plate", "round plate", "thin upright post"),
}
HELD_OUT = ("car", "sign symbol")
STACKING = ("MODEL.PROLAB.TEST_STACKING", "5.0")
Run = Callable[..., int]


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """A label space of all categories."""
    build_label_space(SENTENCES, WordEncoder(), 6).save(tmp_path / "everything")
    return tmp_path / "everything"


@pytest.fixture
def train_net() -> Iterator[Run]:
    """train_net.py, whose loggers go when the test ends."""
    from detectron2.utils import logger

    names = ("detectron2", "fvcore", "prolab_d2")
    handlers = {name: list(logging.getLogger(name).handlers) for name in names}
    logger.setup_logger.cache_clear()
    yield lambda *arguments: main([*map(str, arguments)])
    for name, before in handlers.items():
        logging.getLogger(name).handlers[:] = before


@pytest.fixture
def run(train_net: Run, tiny_cfg: CfgNode, tiny_dataset_folder: Path, tmp_path: Path) -> Run:
    """train_net.py without the categories of HELD_OUT, and with more arguments."""
    seen = {name: lines for name, lines in SENTENCES.items() if name not in HELD_OUT}
    build_label_space(seen, WordEncoder(), 5).save(tmp_path / "seen")
    tiny_cfg.MODEL.PROLAB.LABEL_SPACE = str(tmp_path / "seen")
    config = tmp_path / "tiny.yaml"
    config.write_text(tiny_cfg.dump())
    return lambda *more: train_net("--config-file", config, "--dataset", tiny_dataset_folder, *more)


def held_out() -> tuple[str, str]:
    return "DATASETS.HELD_OUT", str(list(HELD_OUT))


def results(output: Path) -> dict:
    (file,) = (output / "inference").glob("*/open_vocabulary.json")
    return json.loads(file.read_text())


def test_trained_without_some_categories_and_tested_with_them(
    run: Run, everything: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*held_out()) == 0
    output = tmp_path / "output"
    checkpoint = read_checkpoint(output / "model_best.pth")
    assert checkpoint.label_space.categories == ("sky", "meadow", "fence")
    assert len(checkpoint.colors) == 3
    (folder,) = (output / "inference").iterdir()
    assert folder.name.endswith("_sem_seg_val_without_car+sign_symbol")
    percent = json.loads((folder / "sem_seg_metrics.json").read_text())
    assert [entry["name"] for entry in percent["categories"]] == ["sky", "meadow", "fence"]

    test = (
        "--eval-only", "MODEL.WEIGHTS", output / "model_best.pth", "OUTPUT_DIR", tmp_path / "test",
        "MODEL.PROLAB.TEST_LABEL_SPACE", everything,
    )  # fmt: skip
    capsys.readouterr()
    assert run(*test, *held_out()) == 0
    out = capsys.readouterr().out
    assert "| sign symbol   | unseen" in out and "IoU, swap" in out
    assert "extend/sem_seg" in out and "mIoU_harmonic" in out
    assert "car: " in out and "left out" not in out.partition("new categories")[0]
    found = results(tmp_path / "test")
    assert [entry["seen"] for entry in found["categories"]] == [True, True, True, False, False]
    for way in ("swap", "extend"):
        by_category = [entry[f"iou_{way}"] for entry in found["categories"]]
        percent = found["percent"][way]
        assert percent["mIoU"] == pytest.approx(sum(by_category) / 5)
        assert percent["mIoU_unseen"] == pytest.approx(sum(by_category[3:]) / 2)


def test_one_hot_networks_answer_with_the_nearest_category(
    run: Run, everything: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    supervision = ("MODEL.PROLAB.SUPERVISION", "category")
    assert run(*supervision, *held_out()) == 0
    test = (
        "--eval-only", "MODEL.WEIGHTS", tmp_path / "output/model_best.pth", *supervision,
        "MODEL.PROLAB.TEST_LABEL_SPACE", everything, "OUTPUT_DIR", tmp_path / "test",
    )  # fmt: skip
    assert run(*test) == 0
    assert "car by fence; sign symbol by fence" in capsys.readouterr().out
    found = results(tmp_path / "test")
    assert set(found["percent"]) == {"nearest"}
    assert found["percent"]["nearest"]["mIoU_unseen_oracle"] is not None
    assert run(*test, "MODEL.PROLAB.TEST_WAYS", "['extend']") == 2
    assert "'extend', and with MODEL.PROLAB.SUPERVISION 'category' there are ['nearest', " in (
        error_line(capsys)
    )
    assert run(*test, "MODEL.PROLAB.TEST_WAYS", "['conse']", *STACKING) == 0
    found = results(tmp_path / "test")
    assert set(found["percent"]) == {"conse", "conse_stacked"}
    assert set(found["stacking"]["conse"]["offsets"]) == set(HELD_OUT)


def test_stacking_tests_every_way_a_second_time(
    run: Run, everything: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*held_out()) == 0
    test = (
        "--eval-only", "MODEL.WEIGHTS", tmp_path / "output/model_best.pth",
        "MODEL.PROLAB.TEST_LABEL_SPACE", everything, "OUTPUT_DIR", tmp_path / "test",
    )  # fmt: skip
    capsys.readouterr()
    assert run(*test, *STACKING) == 0
    out = capsys.readouterr().out
    assert "offsets of the new categories: car" in out and "IoU, extend_stacked" in out
    found = results(tmp_path / "test")
    assert list(found["percent"]) == ["swap", "swap_stacked", "extend", "extend_stacked"]
    for percent in found["percent"].values():
        assert 0 <= percent["AUSUC"] <= 100
    for way in ("swap", "extend"):
        stacking = found["stacking"][way]
        assert set(stacking["offsets"]) == set(HELD_OUT) and stacking["images"] == 4
        assert (stacking["data_sets"][0]).endswith("_sem_seg_train")
        assert "_without_" not in stacking["data_sets"][0]
        assert stacking["trained_with_new"] <= stacking["trained_alone"]
    assert run(*test) == 0
    assert set(results(tmp_path / "test")["percent"]) == {"swap", "extend"}


def test_text_networks_get_the_embeddings_of_the_new_categories(
    run: Run, everything: Path, tmp_path: Path
) -> None:
    supervision = ("MODEL.PROLAB.SUPERVISION", "text")
    assert run(*supervision, *held_out()) == 0
    test = (
        "--eval-only", "MODEL.WEIGHTS", tmp_path / "output/model_best.pth", *supervision,
        "MODEL.PROLAB.TEST_LABEL_SPACE", everything, "OUTPUT_DIR", tmp_path / "test",
    )  # fmt: skip
    assert run(*test, "MODEL.PROLAB.TEST_WAYS", "['swap', 'nearest']") == 0
    found = results(tmp_path / "test")
    assert set(found["percent"]) == {"swap", "nearest"}
    assert [entry["seen"] for entry in found["categories"]] == [True, True, True, False, False]


def test_a_background_is_neither_seen_nor_unseen(
    run: Run, everything: Path, tiny_dataset_folder: Path, tmp_path: Path
) -> None:
    assert run(*held_out()) == 0
    path = tiny_dataset_folder / "categories.txt"
    path.write_text("background\n" + path.read_text())
    for file in tiny_dataset_folder.glob("annotations/*/*.png"):
        mask = np.array(Image.open(file))
        mask[mask < 5] += 1
        mask[:20] = 0
        Image.fromarray(mask).save(file)
    test = (
        "--eval-only", "MODEL.WEIGHTS", tmp_path / "output/model_best.pth",
        "MODEL.PROLAB.TEST_LABEL_SPACE", everything, "OUTPUT_DIR", tmp_path / "test",
        "MODEL.PROLAB.TEST_WAYS", "['swap', 'extend', 'nearest']",
    )  # fmt: skip
    # No category has half of that: all of it is background.
    assert run(*test, "TEST.BACKGROUND_THRESHOLD", "0.999") == 0
    found = results(tmp_path / "test")
    assert [entry["seen"] for entry in found["categories"]] == [
        None,
        True,
        True,
        True,
        False,
        False,
    ]
    for way, percent in found["percent"].items():
        assert percent["mIoU_seen"] == percent["mIoU_unseen"] == 0, way
        assert percent["mIoU"] == pytest.approx(100 * (2 * 20 * 80) / (2 * 64 * 80) / 6)


def test_another_encoder_can_only_extend(
    run: Run, everything: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*held_out()) == 0
    space = LabelSpace.load(everything)
    other = replace(space, provenance={**space.provenance, "pooling": "cls"})
    other.save(tmp_path / "other")
    test = (
        "--eval-only", "MODEL.WEIGHTS", tmp_path / "output/model_best.pth",
        "MODEL.PROLAB.TEST_LABEL_SPACE", tmp_path / "other",
    )  # fmt: skip
    assert run(*test) == 2
    assert "made with the pooling 'mean', not with 'cls'" in error_line(capsys)
    # Its sentences could be embedded anew, by an encoder that is not here.
    assert run(*test, "MODEL.PROLAB.TEST_WAYS", "['extend']") == 2
    assert "need the sentence encoder of the label space, 'words of 24'" in error_line(capsys)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("MODEL.PROLAB.TEST_LABEL_SPACE", "camvid"), "is set for a training: add --eval-only"),
        (("DATASETS.HELD_OUT", "['lorry']"), "'lorry', which is no category"),
        (("DATASETS.HELD_OUT", "['sky']"), "category 0 is 'meadow'"),
        (
            ("--eval-only", "MODEL.WEIGHTS", "x", "MODEL.PROLAB.TEST_LABEL_SPACE", "camvid"),
            "category 1 is 'meadow'",
        ),
        (
            ("--eval-only", "MODEL.WEIGHTS", "x", "MODEL.PROLAB.TEST_LABEL_SPACE", "voc2"),
            "label space 'voc2' does not exist",
        ),
    ],
)
def test_bad_settings(
    run: Run, options: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*options) == 2
    assert words in error_line(capsys)


def test_a_run_with_held_out_categories_can_be_repeated_from_its_own_config(
    run: Run, tmp_path: Path
) -> None:
    assert run(*held_out()) == 0
    written = tmp_path / "output/config.yaml"
    names = yaml.unsafe_load(written.read_text())["DATASETS"]["TRAIN"]
    assert main(["--config-file", str(written), "OUTPUT_DIR", str(tmp_path / "again")]) == 0
    again = yaml.unsafe_load((tmp_path / "again/config.yaml").read_text())["DATASETS"]["TRAIN"]
    assert again == names


def miniature_of_459(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, pascal_context_459, 2, "SPLITS_459")
    labels = np.repeat(np.arange(460, dtype=np.uint16).reshape(20, 23), 4, 0)
    write_tar(folder / "VOCtrainval_03-May-2010.tar", voc_2010(labels.shape))
    write_tar(folder / "trainval.tar.gz", label_maps(labels), "w:gz")
    assert pascal_context_459.main(["--splits", "val"]) == 0


def miniature_of_847(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, ade20k_847, 2, "SPLITS")
    objects = np.repeat(np.resize([0, *ade20k_847.OBJECTS], (22, 39)), 3, 0)
    write_zip(folder / "ADE20K_2021_17_01.zip", release(objects))
    assert ade20k_847.main(["--splits", "val"]) == 0


VOC_IN_459 = {
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
}  # fmt: skip
# By the first of their names; VOC has boats, and so motorboats.
VOC_IN_847 = {
    "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "dog", "horse",
    "minibike", "motorboat", "person", "sofa", "television receiver", "train",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "miniature", "number", "seen"),
    [
        ("pascal_context_459", miniature_of_459, 459, VOC_IN_459),
        ("ade20k_847", miniature_of_847, 847, VOC_IN_847),
    ],
)
def test_a_network_of_20_categories_on_a_vocabulary_of_hundreds(
    train_net: Run,
    tiny_cfg: CfgNode,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    miniature: Callable[[Path, pytest.MonkeyPatch], None],
    number: int,
    seen: set[str],
) -> None:
    """Names and order of the label space are those of the prepared data set, or this is refused.

    No encoder is loaded: both label spaces hold the embeddings of their sentences.
    """
    register_all()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    miniature(tmp_path, monkeypatch)
    tiny_cfg.MODEL.PROLAB.LABEL_SPACE = "pascal_voc"
    tiny_cfg.MODEL.WEIGHTS = str(save_tiny_checkpoint(tiny_cfg, tmp_path))
    (tmp_path / "voc.yaml").write_text(tiny_cfg.dump())
    test = (
        "--config-file", tmp_path / "voc.yaml", "--eval-only",
        "MODEL.PROLAB.TEST_LABEL_SPACE", name, "DATASETS.TEST", f"('{name}_sem_seg_val',)",
    )  # fmt: skip
    assert train_net(*test) == 0
    found = results(tmp_path / "output")
    categories = found["categories"]
    assert len(categories) == number
    assert tuple(entry["name"] for entry in categories) == LabelSpace.load(name).categories
    names = {entry["name"].partition(",")[0] for entry in categories if entry["seen"]}
    assert names == seen
    for way in ("swap", "extend"):
        ious = [entry[f"iou_{way}"] for entry in categories]
        assert None not in ious and max(ious) > 0
        assert found["percent"][way]["mIoU"] == pytest.approx(sum(ious) / number)
