"""Fixtures that many tests share: a label space, data set, config and checkpoint, all tiny."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from prolab_d2 import LabelSpace, device

# Torch and Detectron2 are imported by the fixtures that need them: tests of the label space
# start fast and run without them.
if TYPE_CHECKING:
    from detectron2.config import CfgNode

TINY_CATEGORIES = ("sky", "meadow", "fence", "car", "sign symbol")
# Every category has properties that it shares and, but for the fence, one of its own.
TINY_SIGNATURES = (
    (0, 1),
    (1, 2, 3),
    (3, 4, 5),
    (5, 6, 7, 8),
    (4, 8, 9, 10, 11),
)
TINY_NAMES = (
    "blue and far away",
    "wide and even without edges",
    "green blades of grass",
    "stands on the ground in a field",
    "thin upright bars or posts",
    "made of metal with a painted surface",
    "four wheels with black tyres",
    "windows of dark glass",
    "bright reflecting parts",
    "round or triangular plate",
    "letters or a symbol in a single colour",
    "mounted high on a post",
)


@pytest.fixture(scope="session", autouse=True)
def tuned() -> Iterator[list[str]]:
    """What programs in the process of the tests would have changed for all tests after them."""
    changes: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_keep_few_primitives", "_keep_freed_memory"):
            patch.setattr(device, name, partial(changes.append, name))
        yield changes


@pytest.fixture(scope="session")
def tiny_label_space() -> LabelSpace:
    """5 categories, 12 properties, a bank of 16 dimensions."""
    signatures = np.zeros((len(TINY_CATEGORIES), len(TINY_NAMES)), dtype=bool)
    for row, columns in zip(signatures, TINY_SIGNATURES, strict=True):
        row[list(columns)] = True
    bank = np.random.default_rng(0).normal(size=(len(TINY_NAMES), 16)).astype(np.float32)
    return LabelSpace.from_arrays(
        TINY_CATEGORIES, bank, signatures, TINY_NAMES, provenance={"encoder": "random numbers"}
    )


@pytest.fixture(scope="session")
def tiny_label_space_folder(
    tiny_label_space: LabelSpace, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """`tiny_label_space` on disk."""
    folder = tmp_path_factory.mktemp("label_spaces") / "tiny"
    tiny_label_space.save(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_described_space(tiny_label_space: LabelSpace) -> LabelSpace:
    """`tiny_label_space` with two or three sentences a category and their embeddings."""
    counts = [2, 3, 2, 3, 2]
    descriptions = {
        name: [f"{name}, sentence {i}" for i in range(count)]
        for name, count in zip(TINY_CATEGORIES, counts, strict=True)
    }
    return LabelSpace.from_arrays(
        TINY_CATEGORIES,
        tiny_label_space.bank,
        tiny_label_space.signatures,
        TINY_NAMES,
        descriptions,
        embeddings=np.random.default_rng(1).normal(size=(sum(counts), 16)),
    )


@pytest.fixture(scope="session")
def tiny_described_space_folder(
    tiny_described_space: LabelSpace, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """`tiny_described_space` on disk."""
    folder = tmp_path_factory.mktemp("label_spaces") / "described"
    tiny_described_space.save(folder)
    return folder


def make_tiny_cfg(label_space: Path, output: Path) -> CfgNode:
    """A config of a network that trains and predicts in milliseconds on a CPU."""
    from detectron2.config import get_cfg

    from prolab_d2 import add_prolab_config

    cfg = get_cfg()
    add_prolab_config(cfg)
    cfg.OUTPUT_DIR = str(output)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = "build_timm_backbone"
    cfg.MODEL.TIMM.NAME = "test_efficientnet"
    cfg.MODEL.PIXEL_MEAN = [127.0, 127.0, 127.0]
    cfg.MODEL.PIXEL_STD = [64.0, 64.0, 64.0]
    cfg.MODEL.PROLAB.LABEL_SPACE = str(label_space)
    cfg.MODEL.DECODE_HEAD.CHANNELS = 16
    cfg.MODEL.DECODE_HEAD.POOL_SCALES = [1, 2]
    cfg.MODEL.DECODE_HEAD.NORM = "BN"
    cfg.MODEL.AUX_HEAD.CHANNELS = 8
    cfg.MODEL.AUX_HEAD.NORM = "BN"
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.MIN_SIZE_TRAIN = (64,)
    cfg.INPUT.MAX_SIZE_TRAIN = 128
    cfg.INPUT.MIN_SIZE_TEST = 64
    cfg.INPUT.MAX_SIZE_TEST = 128
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.CROP.TYPE = "absolute"
    cfg.INPUT.CROP.SIZE = [64, 64]
    cfg.DATASETS.TRAIN = ()
    cfg.DATASETS.TEST = ()
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    cfg.SOLVER.BASE_LR = 0.001
    cfg.SOLVER.MAX_ITER = 2
    cfg.SOLVER.WARMUP_ITERS = 1
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.SOLVER.CHECKPOINT_PERIOD = 2
    cfg.TEST.EVAL_PERIOD = 2
    cfg.SEED = 1
    return cfg


@pytest.fixture
def tiny_cfg(tiny_label_space_folder: Path, tmp_path: Path) -> CfgNode:
    """A config, not frozen, for `tiny_label_space`; runs write to `tmp_path / "output"`."""
    return make_tiny_cfg(tiny_label_space_folder, tmp_path / "output")


@pytest.fixture
def tiny_dataset_folder(tmp_path: Path) -> Path:
    """A data set folder of `TINY_CATEGORIES`: 4 training and 2 validation images of 80 x 64.

    The folder has a name of its own in every test, because Detectron2's catalogs outlive a test.
    """
    rng = np.random.default_rng(0)
    folder = tmp_path / f"tiny_{tmp_path.name}"
    for split, number in (("train", 4), ("val", 2)):
        images, masks = folder / "images" / split, folder / "annotations" / split
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for i in range(number):
            image, mask = tiny_scene(rng)
            Image.fromarray(image).save(images / f"{i}.png")
            Image.fromarray(mask).save(masks / f"{i}.png")
    (folder / "categories.txt").write_text("\n".join(TINY_CATEGORIES) + "\n")
    return folder


def tiny_scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(64, 80, 3) uint8 RGB and (64, 80) uint8 ids: every category, and unlabelled pixels."""
    colors = np.array(
        [[90, 150, 230], [60, 160, 60], [150, 110, 70], [200, 40, 40], [240, 220, 40]]
    )
    mask = np.zeros((64, 80), dtype=np.uint8)
    mask[rng.integers(20, 30) :] = 1
    for category, (height, width) in ((2, (12, 40)), (3, (14, 24)), (4, (10, 10))):
        y, x = rng.integers(16, 64 - height), rng.integers(0, 80 - width)
        mask[y : y + height, x : x + width] = category
    image = colors[mask] + rng.normal(0, 12, size=(64, 80, 1)) + rng.normal(0, 6, size=(64, 80, 3))
    mask[:2, :10] = 255
    return image.clip(0, 255).astype(np.uint8), mask


def save_tiny_checkpoint(cfg: CfgNode, folder: Path) -> Path:
    """Writes a checkpoint of a random network whose predictions hold several categories."""
    import torch

    from prolab_d2.checkpoint import PropertyCheckpointer
    from prolab_d2.modeling import PropertySegmentor

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = PropertySegmentor(cfg)
        # Small initial logits would make all activations alike.
        torch.nn.init.normal_(model.projection.weight)
    PropertyCheckpointer(model, str(folder), config=cfg.dump()).save("tiny")
    return folder / "tiny.pth"


@pytest.fixture(scope="session")
def tiny_checkpoint(
    tiny_label_space_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A checkpoint of the network of `tiny_cfg`, not trained."""
    folder = tmp_path_factory.mktemp("checkpoint")
    return save_tiny_checkpoint(make_tiny_cfg(tiny_label_space_folder, folder), folder)
