#!/usr/bin/env python
"""Converts published ProLab checkpoints (MMSegmentation's) to this project's format, and back.

Examples:
    python tools/convert_checkpoint.py prolab_ade20k_deit_base.pth --output ade20k.pth \\
        --config-file ade20k/deit_adapter_base_512 --label-space output/label_spaces/ade20k_release
    python tools/convert_checkpoint.py output/model_best.pth --to-published --output published.pth

Every tensor is accounted for: mapped, dropped with a reason, or the program stops. The label space
must be the one of the training, with its bank: tools/import_prolab_release.py makes it from the
released files. Files are read without running any code in them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.config import CfgNode

from prolab_d2.checkpoint import PropertyCheckpointer, read_checkpoint, read_tensors
from prolab_d2.conversion import from_published, to_published
from prolab_d2.engine import load_config
from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.files import atomic_path
from prolab_d2.label_space import LabelSpace
from prolab_d2.modeling import PropertySegmentor
from prolab_d2.modeling.backbones.weights import forget_weights


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", metavar="FILE.pth")
    parser.add_argument("--output", required=True, metavar="FILE.pth")
    parser.add_argument("--config-file", metavar="CONFIG", help="of the network in the checkpoint")
    parser.add_argument(
        "--label-space", metavar="DIR_OR_NAME", help="of the training (default: the config's)"
    )
    parser.add_argument(
        "--to-published",
        action="store_true",
        help="FILE.pth is this project's; its config and label space are in it",
    )
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        help="KEY VALUE pairs that change the config",
    )
    return parser.parse_args(argv)


def import_published(args: argparse.Namespace) -> str:
    """Writes a checkpoint of this project; returns what became of every tensor."""
    if not args.config_file:
        raise ProLabError(
            "--config-file is missing: name the config of the network in the checkpoint, such as "
            "ade20k/deit_adapter_base_512"
        )
    cfg = load_config(args.config_file, args.opts)
    if args.label_space:
        cfg.MODEL.PROLAB.LABEL_SPACE = args.label_space
    data = read_tensors(args.checkpoint)
    published = data["state_dict"] if "state_dict" in data else data["model"]
    model = _model(cfg, LabelSpace.load(cfg.MODEL.PROLAB.LABEL_SPACE))
    conversion = from_published(published, model)
    model.load_state_dict(conversion.state, strict=False)
    output = Path(args.output)
    PropertyCheckpointer(model, str(output.parent), config=cfg.dump()).save_model(output.stem)
    return str(conversion)


def export_published(args: argparse.Namespace) -> str:
    """Writes a checkpoint as MMSegmentation reads it; returns what became of every tensor."""
    checkpoint = read_checkpoint(args.checkpoint)
    cfg = load_config(
        args.config_file, args.opts, text=None if args.config_file else checkpoint.config
    )
    model = _model(cfg, checkpoint.label_space)
    conversion = to_published(checkpoint.model, model)
    meta = {"CLASSES": list(checkpoint.label_space.categories)}
    with atomic_path(args.output) as temporary:
        torch.save({"meta": meta, "state_dict": conversion.state}, temporary)
    return str(conversion)


def _model(cfg: CfgNode, label_space: LabelSpace) -> PropertySegmentor:
    # Weights come from the checkpoint alone.
    forget_weights(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.PROLAB.CATEGORY_WARMUP_ITERS = 0
    return PropertySegmentor(cfg, label_space=label_space)


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    if not args.output.endswith(".pth"):
        raise ProLabError(f"--output {args.output}: give a name that ends in .pth")
    report = (export_published if args.to_published else import_published)(args)
    print(f"{report}\nwrote {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
