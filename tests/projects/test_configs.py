"""Every config that comes with the project, and the model zoo against the published models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode

from prolab_d2 import LabelSpace
from prolab_d2.analysis import analyze_parts
from prolab_d2.conversion import from_published
from prolab_d2.engine import load_config
from prolab_d2.label_space import shipped_label_spaces
from prolab_d2.modeling import PropertySegmentor
from prolab_d2.modeling.backbones.weights import forget_weights
from prolab_d2.resources import resource_folder
from tests.golden import golden_files, golden_folder, golden_json

FOLDER = resource_folder("configs")
CONFIGS = sorted(
    path.relative_to(FOLDER).with_suffix("").as_posix()
    for path in FOLDER.rglob("*.yaml")
    if not path.name.startswith("Base-")
)
# Published entry of the model zoo -> our config.
ZOO = {
    "ade20k_deit_adapter_base_512": "ade20k/deit_adapter_base_512",
    "ade20k_beit_adapter_large_640": "ade20k/beit_adapter_large_640",
    "ade20k_beitv2_adapter_large_896": "ade20k/beitv2_adapter_large_896",
    "coco_stuff164k_deit_adapter_base_512": "coco_stuff_164k/deit_adapter_base_512",
    "pascal_context59_deit_adapter_base_512": "pascal_context_59/deit_adapter_base_512",
    "cityscapes_deit_adapter_base_768": "cityscapes/deit_adapter_base_768",
    "bdd100k_deit_adapter_base_768": "bdd100k/deit_adapter_base_768",
}


def without_weights(config: str) -> CfgNode:
    cfg = load_config(config)
    forget_weights(cfg)
    return cfg


def build_shapes(cfg: CfgNode, label_space: LabelSpace) -> PropertySegmentor:
    """The model without memory for its parameters."""
    with torch.device("meta"):
        return PropertySegmentor(cfg, label_space=label_space)


def published_label_space(entry: Mapping[str, Any]) -> LabelSpace:
    """Random numbers in the shape of the published bank."""
    categories = [f"category {i}" for i in range(entry["dataset"]["n_classes"])]
    k, width = entry["property"]["clusters"], entry["property"]["embedding_width"]
    rng = np.random.default_rng(0)
    signatures = rng.random((len(categories), k)) < 0.1
    signatures[np.arange(len(categories)), np.arange(len(categories)) % k] = True
    return LabelSpace.from_arrays(categories, rng.normal(size=(k, width)), signatures)


@pytest.mark.parametrize("config", CONFIGS)
def test_every_config_loads_and_its_network_can_be_built(
    config: str, tiny_label_space: LabelSpace
) -> None:
    cfg = without_weights(config)
    assert cfg.INPUT.FORMAT == "RGB"
    model = build_shapes(cfg, tiny_label_space)
    assert model.aux_head is not None
    name = cfg.MODEL.PROLAB.LABEL_SPACE
    assert name in shipped_label_spaces() or config.startswith("custom/"), name


@pytest.mark.parametrize("config", [name for name in CONFIGS if name.endswith("_property")])
def test_property_and_category_configs_differ_in_the_supervision_alone(config: str) -> None:
    twin = config.removesuffix("_property") + "_category"
    if twin not in CONFIGS:
        pytest.skip(f"{config} has no twin with category supervision")
    ours, other = load_config(config), load_config(twin)
    assert (ours.MODEL.PROLAB.SUPERVISION, other.MODEL.PROLAB.SUPERVISION) == (
        "property",
        "category",
    )
    other.MODEL.PROLAB.SUPERVISION = "property"
    assert ours == other


@pytest.mark.golden
def test_the_zoo_is_the_published_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Names, shapes, counts and FLOPs of the networks, and what they are trained with."""
    if not (golden_folder() / "f8_hyperparameters.json").is_file():
        pytest.skip("needs f4_keys and f8_hyperparameters: PROLAB_GOLDEN=folder")
    entries = golden_json("f8_hyperparameters.json")["configs"]
    keys = {path.stem: golden_json(f"f4_keys/{path.name}") for path in golden_files("f4_keys/*")}
    assert set(entries) == set(keys) == set(ZOO)
    lines = []
    for name, entry in entries.items():
        cfg, expected = without_weights(ZOO[name]), keys[name]
        model = build_shapes(cfg, published_label_space(entry))
        published = {
            key: torch.empty(shape, device="meta")
            for key, (shape, *_) in expected["state_dict"].items()
        }
        conversion = from_published(published, model)  # strict: names and shapes
        parameters = sum(parameter.numel() for parameter in model.parameters())
        assert parameters == expected["param_counts"]["total"]
        check_recipe(cfg, entry)

        height, width = expected["flops"]["input"][2:]
        flops = sum(p.flops for p in analyze_parts(model.to_empty(device="cpu"), (height, width)))
        ratio = flops / expected["flops"]["torch_flop_counter_total"]
        assert 0.97 <= ratio <= 1.03, f"{name}: {ratio:.3f} of the published FLOPs"
        lines.append(f"{name}: {len(conversion.mapped)} tensors, {ratio:.4f} of the FLOPs")
    with capsys.disabled():
        print("\n" + "\n".join(lines))


def check_recipe(cfg: CfgNode, entry: Mapping[str, Any]) -> None:
    prolab, solver, window = cfg.MODEL.PROLAB, cfg.SOLVER, cfg.TEST.SLIDING_WINDOW
    optimizer, schedule = entry["optimizer"], entry["lr_config"]
    short, long = 1, 0
    scale = entry["train_pipeline"][2]["img_scale"]
    found = {
        "temperature": prolab.TEMPERATURE,
        "normalise": prolab.NORMALIZE_EMBEDDING,
        "lr": solver.BASE_LR,
        "weight_decay": solver.WEIGHT_DECAY,
        "layer_decay": solver.LAYER_DECAY,
        "iterations": solver.MAX_ITER,
        "batch": solver.IMS_PER_BATCH,
        "fp16": solver.AMP.ENABLED,
        "warmup": (solver.WARMUP_ITERS, solver.WARMUP_FACTOR),
        "power": solver.POLY_LR_POWER,
        "crop": list(cfg.INPUT.CROP.SIZE),
        "area": cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA,
        "train scale": (cfg.INPUT.MIN_SIZE_TRAIN[0], cfg.INPUT.MAX_SIZE_TRAIN),
        "scale range": list(cfg.INPUT.SCALE_RANGE),
        "test scale": (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST),
        "window": (list(window.CROP_SIZE), list(window.STRIDE)),
        "evaluation": cfg.TEST.EVAL_PERIOD,
        "mean": list(cfg.MODEL.PIXEL_MEAN),
        "std": list(cfg.MODEL.PIXEL_STD),
        "dropout": prolab.DROPOUT,
    }
    normalise = next(s for s in entry["train_pipeline"] if s["type"] == "Normalize")
    assert found == {
        "temperature": entry["property"]["temperature"],
        "normalise": entry["property"]["image_embedding_normalize"],
        "lr": optimizer["lr"],
        "weight_decay": optimizer["weight_decay"],
        "layer_decay": optimizer["paramwise_cfg"]["layer_decay_rate"],
        "iterations": entry["max_iters"],
        "batch": entry["batch"]["images_per_step"],
        "fp16": entry["fp16"] is not None,
        "warmup": (schedule["warmup_iters"], schedule["warmup_ratio"]),
        "power": schedule["power"],
        "crop": entry["crop_size"],
        "area": entry["train_pipeline"][3]["cat_max_ratio"],
        "train scale": (scale[short], scale[long]),
        "scale range": entry["train_pipeline"][2]["ratio_range"],
        "test scale": tuple(reversed(entry["test_pipeline"][1]["img_scale"])),
        "window": (entry["test"]["crop_size"], entry["test"]["stride"]),
        "evaluation": entry["evaluation"]["interval"],
        "mean": normalise["mean"],
        "std": normalise["std"],
        "dropout": entry["decode_head"]["dropout_ratio"],
    }
