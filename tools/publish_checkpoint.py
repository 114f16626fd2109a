#!/usr/bin/env python
"""Makes a checkpoint fit to be handed on: weights, config and label space, and no paths of yours.

Example:
    python tools/publish_checkpoint.py output/demo/model_best.pth --output scenes.pth

The state of the training is left out, averaged weights take the place of the others, and paths of
this computer in the config become the names of their last parts. Predictions stay the same.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from prolab_d2.checkpoint import Checkpoint, PropertyCheckpointer, read_checkpoint
from prolab_d2.engine import load_config
from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.modeling import PropertySegmentor
from prolab_d2.modeling.backbones.weights import forget_weights


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", metavar="FILE.pth", help="written by train_net.py")
    parser.add_argument("--output", required=True, metavar="FILE.pth")
    return parser.parse_args(argv)


def public_config(text: str) -> CfgNode:
    """The config of a checkpoint without folders of the computer that it was trained on."""
    cfg = load_config(None, [], text=text)
    forget_weights(cfg)
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.PROLAB.CATEGORY_WARMUP_ITERS = 0
    cfg.OUTPUT_DIR = "./output"
    _shorten_paths(cfg)
    return cfg


def _shorten_paths(node: CfgNode) -> None:
    for key, value in node.items():
        if isinstance(value, CfgNode):
            _shorten_paths(value)
        else:
            node[key] = _shortened(value)


def _shortened(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_shortened, value))
    # A folder may be followed by others: DATASETS.FOLDER joins several with the path separator.
    if isinstance(value, str) and value.startswith(("/", "~")):
        return os.pathsep.join(Path(part).name for part in value.split(os.pathsep))
    return value


def publish(checkpoint: Checkpoint, output: Path) -> None:
    """Writes what a `Predictor` needs of a checkpoint, and nothing else."""
    cfg = public_config(checkpoint.config)
    model = PropertySegmentor(cfg, label_space=checkpoint.label_space)
    checkpoint.load_into(model)
    writer = PropertyCheckpointer(
        model,
        str(output.parent),
        config=cfg.dump(),
        colors=checkpoint.colors,
        unknown_threshold=checkpoint.unknown_threshold,
    )
    writer.save_model(output.stem)


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    output = Path(args.output)
    if output.suffix != ".pth":
        raise ProLabError(f"--output {args.output}: give a name that ends in .pth")
    if output.is_file() and output.samefile(args.checkpoint):
        raise ProLabError(f"--output {args.output} is the checkpoint itself: give another name")
    publish(read_checkpoint(args.checkpoint), output)
    print(f"wrote {output}: {output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
