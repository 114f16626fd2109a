"""The command line that all programs in tools/prepare_datasets share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from prolab_d2.data.datasets.prepared import PreparedSplit, datasets_root
from prolab_d2.data.preparation.convert import Plan, default_workers, prepare_split
from prolab_d2.data.preparation.sources import Download, MissingDownload, Sources
from prolab_d2.errors import ProLabError
from prolab_d2.files import check_writable

__all__ = ["run_preparation"]

_EPILOG = """
Archives are read as they are and not unpacked as a whole; folders that were unpacked from them will
do, too. The program can be stopped at any time and goes on where it was.
"""


def run_preparation(
    description: str,
    downloads: Sequence[Download],
    splits: Mapping[str, Sequence[PreparedSplit]],
    plan: Callable[[PreparedSplit, Sources], Plan],
    argv: Sequence[str] | None = None,
) -> None:
    """Parses the command line, finds the downloads and makes the splits.

    Args:
        description: the docstring of the program.
        downloads: what is needed for all splits, for the help.
        splits: name -> what is made for it.
        plan: how a split is made of its downloads.
    Raises:
        ProLabError: a download is missing or damaged, or an argument cannot be.
    """
    root = datasets_root()
    args = _parse(description, downloads, tuple(splits), argv)
    if args.limit is not None and args.limit < 1:
        raise ProLabError(f"--limit {args.limit} is not possible: give 1 or more")
    if args.workers < 1:
        raise ProLabError(f"--workers {args.workers} is not possible: give 1 or more")
    for folder in args.source:
        if not folder.is_dir():
            raise ProLabError(f"--source {folder} is no folder: give the one with the downloads")
    chosen = [files for name in args.splits for files in splits[name]]
    own = [root / files.images.partition("/")[0] for files in chosen]
    sources = Sources([*args.source, root, *own])
    try:
        # All of them before the first: what is missing shows at once.
        plans = [plan(files, sources) for files in chosen]
    except MissingDownload:
        print("\n".join(_instructions(downloads, sources)))
        raise
    check_writable(root)
    for one in plans:
        entries, new = prepare_split(
            one,
            root,
            limit=args.limit,
            workers=args.workers,
            # Shown in terminals only (disable=None), on stderr.
            progress=partial(tqdm, unit="image", disable=None),
        )
        of = "" if entries in one.split.counts else f" of {max(one.split.counts)}"
        print(
            f"{one.split.split}: {entries}{of} images with masks in {root / one.split.masks}, "
            f"{new} of them new"
        )


def _instructions(downloads: Sequence[Download], sources: Sources | None = None) -> list[str]:
    """What to download and where to put it; with `sources`, what of it is there."""
    lines = [
        f"Downloads, to be put into $DETECTRON2_DATASETS (now {datasets_root()}) or a folder given "
        "with --source, without unpacking them:"
    ]
    for one in downloads:
        path = sources.find_file(one.file) if sources else None
        lines += [
            f"  {one.file}" + (f" (found: {path})" if path else ""),
            f"    {one.what}",
            f"    {one.page}",
        ]
    return lines


def _parse(
    description: str,
    downloads: Sequence[Download],
    splits: Sequence[str],
    argv: Sequence[str] | None,
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=description,
        epilog="\n".join(_instructions(downloads)) + "\n" + _EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--source",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="where the downloads are, besides $DETECTRON2_DATASETS; may be given several times",
    )
    parser.add_argument(
        "--splits", nargs="+", choices=splits, default=list(splits), help="which (default: all)"
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="only N images of each split, as a sample"
    )
    parser.add_argument(
        "--workers", type=int, default=default_workers(), help="threads (default: %(default)s)"
    )
    return parser.parse_args(argv)
