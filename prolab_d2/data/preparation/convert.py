"""Writes the files of a split from its source, in parallel and in any number of attempts.

A file appears whole or not at all, and one that is there is not made again: a run can be killed at
any moment, and one after the last does nothing.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from prolab_d2.data.datasets.prepared import PreparedSplit, read_list
from prolab_d2.data.preparation.sources import Tree
from prolab_d2.data.reading import LabelIds
from prolab_d2.errors import ProLabError, first_line
from prolab_d2.files import atomic_path, remove_leftovers

__all__ = [
    "Plan",
    "copy_from",
    "decode_image",
    "decode_mask",
    "default_workers",
    "encode_mask",
    "prepare_split",
    "read_names",
    "relabel",
]

# Jobs that wait for a thread: enough for all of them, little to wait for after an interrupt.
_AHEAD = 64


@dataclass(frozen=True)
class Plan:
    """How a split is made.

    Attributes:
        split: where its files go.
        names: its entries, all of them.
        image: content of an entry's image file.
        mask: content of an entry's mask file.
    """

    split: PreparedSplit
    names: Sequence[str]
    image: Callable[[str], bytes]
    mask: Callable[[str], bytes]


def copy_from(tree: Tree, suffix: str) -> Callable[[str], bytes]:
    """For a `Plan`: the file of the entry's name and this suffix, as it is."""
    return lambda name: tree.read(name + suffix)


def relabel(tree: Tree, suffix: str, label_ids: LabelIds) -> Callable[[str], bytes]:
    """For a `Plan`: the mask of the entry's name and this suffix, in the ids of the data set.

    An id that the data set does not have is an error which names the file.
    """

    def convert(name: str) -> bytes:
        where = f"{tree.place}/{name}{suffix}"
        mask = decode_mask(tree.read(name + suffix), where)
        return encode_mask(label_ids.decode(mask, where), label_ids.ignore_label)

    return convert


def read_names(tree: Tree, name: str) -> list[str]:
    """The names in a text file, one a line."""
    return tree.read(name).decode("utf-8", "replace").split()


def decode_image(content: bytes, where: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image file.

    Args:
        where: for errors.
    Raises:
        ProLabError: it is no image.
    """
    with _opened(content, where) as image:
        return np.asarray(image.convert("RGB"))


def decode_mask(content: bytes, where: str, channels: int = 0) -> np.ndarray:
    """Pixels of an image file: (H, W) ids, or (H, W, C) with `channels` C.

    Args:
        where: for errors.
    Raises:
        ProLabError: it is no image, or not one of that kind.
    """
    with _opened(content, where) as image:
        # A palette image holds ids, its palette only says how to show them.
        pixels = np.asarray(image)
        mode = image.mode
    if pixels.shape[2:] != ((channels,) if channels else ()) or pixels.dtype.kind not in "bui":
        raise ProLabError(
            f"an image of mode {mode} where {'colours' if channels else 'ids'} are expected, "
            f"{where}: take the files of the official release"
        )
    return pixels


@contextmanager
def _opened(content: bytes, where: str) -> Iterator[Image.Image]:
    try:
        with Image.open(io.BytesIO(content)) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ProLabError(
            f"no readable image ({first_line(error)}), {where}: download it again"
        ) from error


def encode_mask(labels: np.ndarray, ignore_label: int) -> bytes:
    """A PNG file of (H, W) ids, with 16 bits where `ignore_label` needs them, else 8."""
    buffer = io.BytesIO()
    dtype = np.uint16 if ignore_label > 255 else np.uint8
    Image.fromarray(labels.astype(dtype)).save(buffer, "png", compress_level=4)
    return buffer.getvalue()


def prepare_split(
    plan: Plan,
    root: Path,
    *,
    limit: int | None = None,
    workers: int = 4,
    progress: Callable[..., Any] | None = None,
) -> tuple[int, int]:
    """Writes the images and masks of a split that are not there yet.

    Args:
        root: of all data sets.
        limit: only so many entries, evenly chosen; those of an earlier run stay in the split.
        workers: threads; decoding, inflating and encoding run outside Python's lock.
        progress: as tqdm, called with an iterable, `total` and `desc`.
    Returns:
        Number of entries of the split now, and of those that were incomplete before.
    Raises:
        ProLabError: the source has not the number of entries of the data set, a file of it cannot
            be used, or the tree cannot be written.
    """
    split = plan.split
    if len(plan.names) not in split.counts:
        wanted = " or ".join(map(str, split.counts))
        raise ProLabError(
            f"{len(plan.names)} entries of {split.tool} {split.split} where the data set has "
            f"{wanted}: the download is incomplete or another one; see "
            f"tools/prepare_datasets/{split.tool}.py --help"
        )
    names = sorted(_chosen(plan.names, limit, split, root))
    remove_leftovers(split.list_file(root))
    with atomic_path(split.list_file(root)) as path:
        path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    absent = set(split.missing(root, names))
    todo = [n for n in names if split.image(root, n) in absent or split.mask(root, n) in absent]

    def make(name: str) -> None:
        # The mask comes last, so that trees without a list never have a mask without an image.
        for target, content in (
            (split.image(root, name), plan.image),
            (split.mask(root, name), plan.mask),
        ):
            if target in absent:
                with atomic_path(target) as temporary:
                    temporary.write_bytes(content(name))

    for folder in {target.parent for target in absent}:
        remove_leftovers(folder / "*")
    done = _in_threads(make, todo, workers)
    if progress is not None:
        done = progress(done, total=len(todo), desc=f"{split.tool} {split.split}")
    for _ in done:
        pass
    missing = split.missing(root, names)
    if missing:
        raise ProLabError(f"{missing[0]} has vanished while others were written: run this again")
    return len(names), len(todo)


def _chosen(names: Sequence[str], limit: int | None, split: PreparedSplit, root: Path) -> set[str]:
    """All entries, or `limit` of them together with those that an earlier run has finished."""
    if limit is None or limit >= len(names):
        return set(names)
    places = np.linspace(0, len(names) - 1, limit).round().astype(int)
    chosen = {sorted(names)[place] for place in places}
    former = read_list(split, root) or []
    absent = set(split.missing(root, former))
    return chosen | {
        name for name in former if not absent & {split.image(root, name), split.mask(root, name)}
    }


def _in_threads(
    function: Callable[[str], None], items: Iterable[str], workers: int
) -> Iterable[None]:
    """Calls a function in threads; yields once for every call that has returned."""
    waiting: set[Future[None]] = set()
    items = iter(items)
    pool = ThreadPoolExecutor(workers)
    try:
        while True:
            for item in islice(items, _AHEAD - len(waiting)):
                waiting.add(pool.submit(function, item))
            if not waiting:
                return
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
                yield None
    finally:
        pool.shutdown(cancel_futures=True)


def default_workers() -> int:
    """Threads that keep the processors busy while some of them wait for the disk."""
    return min(32, 2 * (os.cpu_count() or 1))
