#!/usr/bin/env python
"""Turns a bank of the published implementation into a label space, for its released checkpoints.

Examples:
    python tools/import_prolab_release.py \\
        --descriptors descriptors_ade20k_gpt3.5_cluster.json \\
        --embeddings ade_desc_bge-base-en-v1.5_gpt3.5_cluster_256_embedding_bank.pth \\
        --properties property_ade20k.json --output output/label_spaces/ade20k_released

    python tools/import_prolab_release.py \\
        --descriptors descriptors_cityscapes_bdd_gpt3.5_cluster.json \\
        --embeddings cityscapes_bdd_desc_bge-base-en-v1.5_gpt3.5_cluster_32_embedding_bank.pth \\
        --encoder BAAI/bge-base-en-v1.5 --output output/label_spaces/cityscapes_released

The result is a folder for MODEL.PROLAB.LABEL_SPACE. No code in the embedding file is run. The file
does not say which sentences make up a property: --properties or --encoder does. Without them the
properties have numbers for names, and everything but explanations works.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.files import check_writable
from prolab_d2.label_space import is_label_space, summarize
from prolab_d2.label_space.embedding import ENCODERS, POOLINGS, load_encoder
from prolab_d2.label_space.release import read_release


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--descriptors", required=True, metavar="FILE.json", help="{category: [sentence, ...]}"
    )
    parser.add_argument(
        "--embeddings", required=True, metavar="FILE.pth", help="centres and labels of the release"
    )
    parser.add_argument(
        "--properties",
        metavar="FILE.json",
        help='{property: ["category: sentence", ...]}: names and members of the properties',
    )
    parser.add_argument(
        "--encoder",
        metavar="DIR|NAME",
        help="the encoder of the release (BAAI/bge-base-en-v1.5), which finds the members without "
        f"--properties, and makes the label space one that can grow: {ENCODERS}",
    )
    parser.add_argument("--pooling", choices=POOLINGS, default="mean", help="default: mean")
    parser.add_argument("--device", help="of the encoder: cpu, cuda, ...")
    parser.add_argument("--key", help="entry of the embedding file, if it holds several")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a label space that exists in --output"
    )
    return parser.parse_args(argv)


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    output = Path(args.output)
    if is_label_space(output) and not args.overwrite:
        raise ProLabError(
            f"{output} holds a label space already: choose another --output, or replace it with "
            "--overwrite"
        )
    if output.exists() and not output.is_dir():
        raise ProLabError(f"--output {output} is a file: choose another folder")
    check_writable(output if output.is_dir() else output.parent)
    encoder = None
    if args.encoder:
        encoder = load_encoder(args.encoder, pooling=args.pooling, device=args.device)
    space = read_release(
        args.descriptors, args.embeddings, args.properties, encoder=encoder, key=args.key
    )
    space.save(output)
    print(f"wrote {output}\n{summarize(space)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
