from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.config import CfgNode
from PIL import Image

from prolab_d2 import LabelSpace
from prolab_d2.data import register_folder
from prolab_d2.explain.unknown import DEFAULT_THRESHOLD, UNKNOWN_MEASURES
from tests.conftest import save_tiny_checkpoint
from tests.refusals import fails
from tools.unknown_objects import main, unknown_categories


def without_cars_and_signs(cfg: CfgNode, space: LabelSpace, folder: Path, supervision: str) -> Path:
    space.subset(["sky", "meadow", "fence"]).save(folder / "three")
    cfg.MODEL.PROLAB.LABEL_SPACE = str(folder / "three")
    cfg.MODEL.PROLAB.SUPERVISION = supervision
    return save_tiny_checkpoint(cfg, folder / supervision)


def test_models_are_compared_on_the_categories_that_they_do_not_know(
    tiny_cfg: CfgNode,
    tiny_label_space: LabelSpace,
    tiny_dataset_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset = register_folder(tiny_dataset_folder)["val"]
    checkpoints = [
        str(without_cars_and_signs(tiny_cfg, tiny_label_space, tmp_path, supervision))
        for supervision in ("property", "category")
    ]
    record = tmp_path / "record.json"
    assert main([*checkpoints, "--dataset", dataset, "--record", str(record)]) == 0
    data = json.loads(record.read_text())
    assert data["unknown"] == ["car", "sign symbol"]
    masks = [np.asarray(Image.open(p)) for p in (tiny_dataset_folder / "annotations/val").iterdir()]
    cells = np.stack([mask[2::4, 2::4] for mask in masks])
    share = np.isin(cells, [3, 4]).sum() / (cells != 255).sum()
    assert data["unknown_percent"] == pytest.approx(100 * share)
    found = [(r["supervision"], r["measure"]) for r in data["results"]]
    assert found == [("property", m) for m in UNKNOWN_MEASURES] + [
        ("category", m) for m in ("entropy", "probability", "max_logit")
    ]
    for result in data["results"]:
        for part in (result, result["without_seams"]):
            assert 0 < part["AP"] <= 100 and set(part["categories"]) == {"car", "sign symbol"}
    (at,) = data["at_threshold"]
    assert at["threshold"] == DEFAULT_THRESHOLD and at["supervision"] == "property"
    # The random network fits nothing well.
    assert at["unknown_percent_above"] > 50 and at["known_percent_above"] > 50
    out = capsys.readouterr().out
    assert "AP sign symbol" in out and "% of the labelled cells are unknown" in out


def test_a_category_in_other_case_is_known() -> None:
    assert unknown_categories(["Sky", "bus", "Car"], ("car", "sky"), "streets") == ["bus"]


def test_what_cannot_be_compared_is_one_sentence(
    tiny_cfg: CfgNode,
    tiny_checkpoint: Path,
    tiny_label_space: LabelSpace,
    tiny_dataset_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset = register_folder(tiny_dataset_folder)["val"]
    three = str(without_cars_and_signs(tiny_cfg, tiny_label_space, tmp_path, "property"))
    for args, words in (
        ([str(tiny_checkpoint), "--dataset", dataset], "knows every category"),
        ([three, str(tiny_checkpoint), "--dataset", dataset], "other categories than"),
        ([three, "--dataset", "nowhere"], "nowhere is not known"),
        ([three, "--dataset", dataset, "--images", "0"], "--images 0"),
    ):
        fails(capsys, main(args), words)
