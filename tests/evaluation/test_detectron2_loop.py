"""A model, a data set folder and the evaluators in Detectron2's own evaluation loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_test_loader
from detectron2.evaluation import DatasetEvaluators, inference_on_dataset
from detectron2.evaluation import SemSegEvaluator as Detectron2Evaluator

from prolab_d2 import LabelSpace
from prolab_d2.data import PropertyDatasetMapper, register_folder
from prolab_d2.evaluation import PropertyEvaluator, SemSegEvaluator
from prolab_d2.modeling import PropertySegmentor
from tests.conftest import TINY_CATEGORIES


@pytest.fixture
def val(tiny_cfg: CfgNode, tiny_dataset_folder: Path) -> str:
    # Not the size of the images, so that predictions and masks have to meet at the original size.
    tiny_cfg.INPUT.MIN_SIZE_TEST = 48
    name = register_folder(tiny_dataset_folder)["val"]
    tiny_cfg.DATASETS.TEST = (name,)
    return name


@pytest.fixture
def model(tiny_cfg: CfgNode, val: str) -> PropertySegmentor:
    torch.manual_seed(0)
    model = PropertySegmentor(tiny_cfg).eval()
    torch.nn.init.normal_(model.projection.weight)
    return model


def run(cfg: CfgNode, model: PropertySegmentor, evaluator: object) -> dict:
    loader = build_detection_test_loader(
        cfg, cfg.DATASETS.TEST[0], mapper=PropertyDatasetMapper(cfg, False)
    )
    return inference_on_dataset(model, loader, evaluator)


def test_detectron2s_evaluator_reads_the_scores(tiny_cfg, val, model):
    ours = run(tiny_cfg, model, SemSegEvaluator(val))["sem_seg"]
    model.output = "scores"
    theirs = run(tiny_cfg, model, Detectron2Evaluator(val))["sem_seg"]
    assert 0 < ours["pACC"] < 100
    for name in ("fwIoU", "mACC", "pACC", "IoU-sky", "IoU-car"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-9), name


def test_properties_are_evaluated_beside_the_categories(
    tiny_cfg, val, model, tiny_label_space: LabelSpace, tmp_path
):
    model.output_properties = True
    evaluators = DatasetEvaluators(
        [
            SemSegEvaluator(val, output_dir=str(tmp_path)),
            PropertyEvaluator(val, tiny_label_space, output_dir=str(tmp_path)),
        ]
    )
    results = run(tiny_cfg, model, evaluators)
    assert list(results) == ["sem_seg", "properties"]
    assert 0 < results["properties"]["mAP"] < 100
    written = sorted(file.name for file in tmp_path.glob("*.json"))
    assert written == ["property_metrics.json", "sem_seg_metrics.json"]


def test_a_data_set_that_somebody_else_registered(
    tiny_cfg: CfgNode, tiny_dataset_folder: Path, request: pytest.FixtureRequest
):
    """Only the entries and stuff_classes; no ignore_label, no evaluator_type, nothing of ours."""
    name = f"foreign_{tiny_dataset_folder.name}"
    entries = [
        {
            "file_name": str(file),
            "sem_seg_file_name": str(tiny_dataset_folder / "annotations/train" / file.name),
            "height": 64,
            "width": 80,
        }
        for file in sorted((tiny_dataset_folder / "images/train").iterdir())
    ]
    DatasetCatalog.register(name, lambda: entries)
    request.addfinalizer(lambda: DatasetCatalog.remove(name))
    MetadataCatalog.get(name).stuff_classes = list(TINY_CATEGORIES)
    request.addfinalizer(lambda: MetadataCatalog.remove(name))
    tiny_cfg.DATASETS.TRAIN = tiny_cfg.DATASETS.TEST = (name,)

    model = PropertySegmentor(tiny_cfg)
    mapper = PropertyDatasetMapper(tiny_cfg, True)
    losses = model.train()([mapper(entry) for entry in entries[:2]])
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    results = run(tiny_cfg, model.eval(), SemSegEvaluator(name))["sem_seg"]
    assert 0 < results["pACC"] < 100
