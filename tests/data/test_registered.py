"""The built-in data sets fit the label spaces and the configs that come with the project."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from prolab_d2 import LabelSpace
from prolab_d2.data import check_categories, register_all
from prolab_d2.data.datasets import (
    ade20k,
    ade20k_847,
    bdd100k,
    cityscapes,
    coco_stuff_164k,
    pascal_context,
    pascal_voc,
)
from prolab_d2.data.datasets.prepared import NotPrepared
from prolab_d2.data.reading import LabelIds
from prolab_d2.engine.setup import load_config
from prolab_d2.errors import ProLabError
from prolab_d2.label_space import shipped_label_spaces
from prolab_d2.resources import resource_folder

LABEL_SPACES = {
    "ade20k": "ade20k",
    "bdd100k": "cityscapes",
    "camvid": "camvid",
    "cityscapes_fine": "cityscapes",
    "coco_stuff_164k": "coco_stuff_164k",
    "pascal_context_59": "pascal_context_59",
    "scenes": "scenes",
    "voc_20": "pascal_voc",
}
NUMBER = {"ade20k_847": 847, "pascal_context_459": 459, "voc_21": 21}
PREPARED = sorted((LABEL_SPACES.keys() | NUMBER.keys()) - {"camvid", "scenes"})
SPLITS = {
    ade20k: ("SPLITS",),
    ade20k_847: ("SPLITS",),
    bdd100k: ("SPLITS",),
    cityscapes: ("SPLITS",),
    coco_stuff_164k: ("SPLITS",),
    pascal_context: ("SPLITS_59", "SPLITS_459"),
    pascal_voc: ("SPLITS_20", "SPLITS_21"),
}
ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(
    path.relative_to(resource_folder("configs")).as_posix()
    for path in resource_folder("configs").rglob("*.yaml")
    if not path.name.startswith("Base-")
)


@pytest.fixture(autouse=True)
def _built_in() -> None:
    # Another test may have registered a folder of one of these names.
    register_all()


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("name", sorted(LABEL_SPACES))
def test_categories_and_their_order_are_those_of_the_label_space(name: str, split: str) -> None:
    metadata = MetadataCatalog.get(f"{name}_sem_seg_{split}")
    space = LabelSpace.load(LABEL_SPACES[name])
    assert metadata.stuff_classes == list(space.categories)
    check_categories(metadata, space)


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("name", sorted(LABEL_SPACES.keys() | NUMBER.keys()))
def test_names_colors_and_unlabelled_value_are_there(name: str, split: str) -> None:
    metadata = MetadataCatalog.get(f"{name}_sem_seg_{split}")
    number = len(metadata.stuff_classes)
    assert number == NUMBER.get(name, number)
    assert len(set(metadata.stuff_classes)) == len(metadata.stuff_colors) == number
    assert metadata.ignore_label == (255 if number < 256 else 65535)
    assert LabelIds.from_metadata(metadata).num_categories == number


def test_background_is_the_first_of_voc_21() -> None:
    names = MetadataCatalog.get("voc_21_sem_seg_val").stuff_classes
    assert names[0] == "background"
    assert names[1:] == MetadataCatalog.get("voc_20_sem_seg_val").stuff_classes
    metadata = MetadataCatalog.get("voc_21_sem_seg_val")
    check_categories(metadata, LabelSpace.load("pascal_voc"), background=True)


def test_voc_21_is_tested_with_the_rule_of_background() -> None:
    metadata = MetadataCatalog.get("voc_21_sem_seg_val")
    space = LabelSpace.load("pascal_voc")
    check_categories(metadata, space, background=True)
    with pytest.raises(ProLabError, match=r"TEST\.BACKGROUND_THRESHOLD"):
        check_categories(metadata, space)


def test_detectron2_keeps_its_evaluator_of_cityscapes(tmp_path) -> None:
    metadata = MetadataCatalog.get("cityscapes_fine_sem_seg_val")
    assert metadata.evaluator_type == "cityscapes_sem_seg"
    assert metadata.gt_dir.endswith("cityscapes/gtFine/val/")


@pytest.mark.parametrize("config", CONFIGS)
def test_configs_name_data_sets_that_are_known(config: str) -> None:
    cfg = load_config(config)
    # Those that a user has to build first are named by their folder.
    shipped = cfg.MODEL.PROLAB.LABEL_SPACE in shipped_label_spaces()
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        assert name in DatasetCatalog
        if shipped:
            space = LabelSpace.load(cfg.MODEL.PROLAB.LABEL_SPACE)
            check_categories(MetadataCatalog.get(name), space)


@pytest.mark.parametrize("name", PREPARED)
def test_a_missing_tree_names_the_program_that_makes_it(name: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(NotPrepared) as error:
        DatasetCatalog.get(f"{name}_sem_seg_val")
    tool = str(error.value).split("run python ")[1].split(" ")[0]
    assert (ROOT / tool).is_file()


@pytest.mark.parametrize("module", SPLITS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_the_readme_of_the_programs_states_the_figures(module: ModuleType) -> None:
    lines = (ROOT / "tools/prepare_datasets/README.md").read_text("utf-8").splitlines()
    for attribute in SPLITS[module]:
        train, val = getattr(module, attribute).values()
        (row,) = [line for line in lines if line.startswith(f"| `{train.tool}.py` |")]
        assert f"| {train.counts[0]:,}, {val.counts[0]:,} |" in row
        trees = "\n".join(lines)
        for split in (train, val):
            assert all(part in trees for part in split.masks.split("/")[:-1])
