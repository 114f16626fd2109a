"""From command-line arguments to a frozen config and a prepared run."""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from prolab_d2.config import add_prolab_config
from prolab_d2.data import (
    check_categories,
    in_label_space,
    leave_out,
    match_categories,
    register_folder,
)
from prolab_d2.device import check_device, tune_cpu
from prolab_d2.errors import ProLabError
from prolab_d2.files import check_writable
from prolab_d2.label_space import LabelSpace
from prolab_d2.resources import resource_folder

__all__ = ["find_config", "load_config", "prepare_run", "resolve_datasets"]

# The least value of numbers whose types Detectron2 checks, but not their sense.
_LEAST = {
    "SOLVER.MAX_ITER": 1,
    "SOLVER.IMS_PER_BATCH": 1,
    "SOLVER.CHECKPOINT_PERIOD": 1,
    "SOLVER.ACCUMULATE": 1,
    "MODEL.PROLAB.CATEGORY_WARMUP_ITERS": 0,
    "DATALOADER.NUM_WORKERS": 0,
    "INPUT.MIN_SIZE_TEST": 0,
    "TEST.EVAL_PERIOD": 0,
}
# Keys that hold two numbers.
_PAIRS = (
    "INPUT.SCALE_RANGE",
    "INPUT.CROP.SIZE",
    "TEST.SLIDING_WINDOW.CROP_SIZE",
    "TEST.SLIDING_WINDOW.STRIDE",
)


class _NoUserErrorTracebacks(logging.Filter):
    """Keeps Detectron2's training loop from printing the traceback of an error in the input."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], ProLabError))


def find_config(name: str | Path) -> Path:
    """A config file by path, or by its name below the configs that come with the package.

    Raises:
        ProLabError: there is no such file.
    """
    shipped = resource_folder("configs")
    for path in (Path(name), shipped / name, shipped / f"{name}.yaml"):
        if path.is_file():
            return path
    known = sorted(
        str(path.relative_to(shipped))
        for path in shipped.rglob("*.yaml")
        if not path.name.startswith("Base-")
    )
    raise ProLabError(f"config {name} does not exist: give a path or one of {', '.join(known)}")


def load_config(
    config_file: str | Path | None,
    overrides: Sequence[str] = (),
    *,
    text: str | None = None,
    datasets: Sequence[str] | None = None,
) -> CfgNode:
    """Reads a config file (or the YAML `text` of a checkpoint), then the overrides.

    Args:
        config_file: path or shipped name; None for defaults or `text`.
        overrides: KEY VALUE pairs.
        text: YAML that replaces the file; keys unknown here are left out.
        datasets: data set folders, take the place of DATASETS.FOLDER.
    Returns:
        A config, not frozen, whose device is "cpu" where there is no GPU.
    Raises:
        ProLabError: missing file, broken YAML, unknown key or value of another type.
    """
    cfg = get_cfg()
    add_prolab_config(cfg)
    source = "the checkpoint's config" if text is not None else str(config_file)
    try:
        if text is not None:
            cfg.merge_from_other_cfg(_known_keys(CfgNode(yaml.safe_load(text)), cfg))
        elif config_file:
            cfg.merge_from_file(str(find_config(config_file)))
    except ProLabError:
        raise
    except FileNotFoundError as error:
        raise ProLabError(
            f"config {source}: its _BASE_ {error.filename} does not exist; correct the path, which "
            "starts at the folder of the config"
        ) from error
    except (KeyError, ValueError, AssertionError, yaml.YAMLError) as error:
        raise ProLabError(f"config {source}: {_first_line(error)}; correct it") from error
    except (AttributeError, TypeError) as error:  # yacs expects a mapping without looking
        raise ProLabError(
            f"config {source}: it holds no keys with values; write lines such as 'VERSION: 2'"
        ) from error
    late = [word for word in overrides if word.startswith("--")]
    if late:
        raise ProLabError(
            f"command line: {late[0]} comes after a KEY VALUE pair; put all options before them"
        )
    try:
        cfg.merge_from_list(list(overrides))
    except (KeyError, ValueError, AssertionError) as error:
        raise ProLabError(
            f"command line: {_first_line(error)}; overrides are pairs of a known KEY and a VALUE"
        ) from error
    for key, least in _LEAST.items():
        value = reduce(getattr, key.split("."), cfg)
        if value < least:
            raise ProLabError(f"{key} is {value}: give a number from {least}")
    for key in _PAIRS:
        value = reduce(getattr, key.split("."), cfg)
        if len(value) != 2:
            raise ProLabError(f"{key} is {value}: give two numbers, such as '[1, 2]'")
    if not 0 <= cfg.MODEL.PROLAB.DROPOUT < 1:
        raise ProLabError(
            f"MODEL.PROLAB.DROPOUT is {cfg.MODEL.PROLAB.DROPOUT}: give a probability below 1"
        )
    if not 0 <= cfg.TEST.BACKGROUND_THRESHOLD <= 1:
        raise ProLabError(
            f"TEST.BACKGROUND_THRESHOLD is {cfg.TEST.BACKGROUND_THRESHOLD}: give 0 (off) or a "
            "number up to 1, such as 0.107"
        )
    if not 0 <= cfg.SOLVER.EMA_DECAY < 1:
        raise ProLabError(
            f"SOLVER.EMA_DECAY is {cfg.SOLVER.EMA_DECAY}: give 0 (off) or a share below 1, such as "
            "0.999"
        )
    if datasets:
        cfg.DATASETS.FOLDER = os.pathsep.join(map(str, datasets))
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    return cfg


def _known_keys(given: CfgNode, known: CfgNode) -> CfgNode:
    """`given` without the keys that only another version of Detectron2 has.

    A checkpoint holds every key. Main has some that 0.6 does not, such as SOLVER.NUM_DECAYS; none
    of them changes what this project computes.
    """
    return CfgNode(
        {
            key: _known_keys(value, known[key]) if isinstance(value, CfgNode) else value
            for key, value in given.items()
            if key in known
        }
    )


def _first_line(error: Exception) -> str:
    whole = isinstance(error, yaml.YAMLError)  # its first argument does not say in which line
    text = str(error if whole else error.args[0]) if error.args else type(error).__name__
    return " ".join(text.split())[:300].rstrip(".;")


def resolve_datasets(cfg: CfgNode, training: bool = True) -> None:
    """Registers DATASETS.FOLDER, if set, and checks the data sets used against the label space.

    Also lists what is evaluated: the first evaluation may be hours away.

    Args:
        training: False needs no data set to train on.
    Raises:
        ProLabError: a data set is unknown, incomplete, or has other categories.
    """
    folders = cfg.DATASETS.FOLDER.split(os.pathsep) if cfg.DATASETS.FOLDER else []
    if folders:
        _choose_splits(cfg, [register_folder(folder) for folder in folders], training)
    if not cfg.MODEL.PROLAB.LABEL_SPACE:
        raise ProLabError(
            "MODEL.PROLAB.LABEL_SPACE is empty: name a shipped label space or the folder of one "
            "(tools/build_label_space.py makes it)"
        )
    label_space = LabelSpace.load(cfg.MODEL.PROLAB.LABEL_SPACE)
    if cfg.MODEL.PROLAB.TEST_LABEL_SPACE:
        if training:
            raise ProLabError(
                "MODEL.PROLAB.TEST_LABEL_SPACE is set for a training: add --eval-only and the "
                "checkpoint (MODEL.WEIGHTS), or leave it empty"
            )
        label_space = LabelSpace.load(cfg.MODEL.PROLAB.TEST_LABEL_SPACE)
    else:
        _leave_out(cfg, training)
    # What is held out, or tested on, is a matter of exactly these categories.
    exact = cfg.MODEL.PROLAB.TEST_LABEL_SPACE or len(cfg.DATASETS.HELD_OUT)
    check = check_categories if exact else match_categories
    background = cfg.TEST.BACKGROUND_THRESHOLD > 0
    trained = cfg.DATASETS.TRAIN if training else ()
    used = [(name, False) for name in trained] + [(name, True) for name in cfg.DATASETS.TEST]
    for name, evaluated in used:
        if name not in DatasetCatalog:
            raise ProLabError(
                f"data set {name} is not known: known names come from Detectron2 and prolab_d2; "
                "for your own images use --dataset FOLDER"
            )
        metadata = MetadataCatalog.get(name)
        check(metadata, label_space, background=evaluated and background)
    if training:
        _train_in_label_space(cfg, label_space)
    for name in cfg.DATASETS.TEST:
        _check_masks(name)


def _leave_out(cfg: CfgNode, training: bool) -> None:
    """Data sets without the categories of DATASETS.HELD_OUT take the place of the whole ones."""
    for key in ("TRAIN", "TEST") if training else ("TEST",):
        names = cfg.DATASETS[key]
        cfg.DATASETS[key] = tuple(leave_out(name, cfg.DATASETS.HELD_OUT) for name in names)


def _train_in_label_space(cfg: CfgNode, label_space: LabelSpace) -> None:
    """Training sets that lack a category of the label space take over its ids, all of them."""
    names = cfg.DATASETS.TRAIN
    sizes = [len(MetadataCatalog.get(name).stuff_classes) for name in names]
    if any(size < label_space.num_categories for size in sizes):
        cfg.DATASETS.TRAIN = tuple(in_label_space(name, label_space) for name in names)


def _choose_splits(cfg: CfgNode, folders: list[dict[str, str]], training: bool) -> None:
    """Splits "train" and "val" of folders, unless the config names splits of these folders."""
    prefixes = tuple(
        next(iter(names.values())).rpartition("_sem_seg_")[0] + "_sem_seg_" for names in folders
    )
    for split, key in (("train", "TRAIN"), ("val", "TEST")):
        named = cfg.DATASETS[key]
        if named and all(name.startswith(prefixes) for name in named):
            continue
        found = tuple(names[split] for names in folders if split in names)
        if len(found) == len(folders) or (key == "TRAIN" and not training):
            cfg.DATASETS[key] = found
            continue
        names = next(names for names in folders if split not in names)
        raise ProLabError(
            f"{cfg.DATASETS.FOLDER} has no folder images/{split}, but {', '.join(names)}: "
            f"rename one, or name it with DATASETS.{key} \"('{next(iter(names.values()))}',)\""
        )


def _check_masks(name: str) -> None:
    try:
        entries = DatasetCatalog.get(name)
    except ProLabError:
        raise
    except (OSError, AssertionError) as error:
        raise ProLabError(
            f"data set {name} cannot be listed ({error}): put its files where Detectron2 expects "
            "them, below DETECTRON2_DATASETS"
        ) from error
    bare = [entry["file_name"] for entry in entries if not entry.get("sem_seg_file_name")]
    if bare:
        raise ProLabError(
            f"data set {name} has no masks to evaluate with ({len(bare)} images without, such as "
            f"{bare[0]}): add them, or name another split with DATASETS.TEST"
        )


def prepare_run(args: Namespace) -> CfgNode:
    """Config, output folder, log, seeds and data sets of `train_net.py`.

    Raises:
        ProLabError: whatever in arguments, config, folders or data sets cannot be used.
    """
    if not args.config_file:
        raise ProLabError(
            "--config-file is missing: give a path or a name such as camvid/lite0_property"
        )
    args.config_file = str(find_config(args.config_file))
    cfg = load_config(args.config_file, args.opts, datasets=args.dataset)
    resolve_datasets(cfg, training=not args.eval_only)
    if not cfg.MODEL.DEVICE.startswith("cuda"):  # each process finds its own GPU later
        check_device(cfg.MODEL.DEVICE)
    if cfg.MODEL.DEVICE == "cpu":
        tune_cpu(training=not args.eval_only)
    check_writable(cfg.OUTPUT_DIR)
    if args.eval_only and not cfg.MODEL.WEIGHTS:
        raise ProLabError("--eval-only needs a checkpoint: add MODEL.WEIGHTS FILE")
    no_gpu_for_amp = cfg.SOLVER.AMP.ENABLED and cfg.MODEL.DEVICE == "cpu"
    if no_gpu_for_amp:
        cfg.SOLVER.AMP.ENABLED = False
    cfg.freeze()
    default_setup(cfg, args)
    # Detectron2 shows its own messages only; this package has some, too, such as the tables.
    setup_logger(cfg.OUTPUT_DIR, comm.get_rank(), name="prolab_d2")
    if no_gpu_for_amp:
        logging.getLogger("detectron2").warning(
            "no GPU: SOLVER.AMP.ENABLED is ignored, training runs in float32"
        )
    logging.getLogger("detectron2.engine.train_loop").addFilter(_NoUserErrorTracebacks())
    return cfg
