"""Splits that a program in tools/prepare_datasets writes, and what of them is there.

Masks hold the ids of the data set. A text file beside the folder of a split's masks, of the same
name with ".txt", lists what belongs to the split; it is written first, so that a tree that is not
complete can say what is missing. Trees that other programs have prepared have no such list; they
are complete when they have as many masks as the data set.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog

from prolab_d2.data.datasets.categories import Categories
from prolab_d2.data.datasets.folder import register_dataset
from prolab_d2.errors import ProLabError

__all__ = [
    "NotPrepared",
    "PreparedSplit",
    "datasets_root",
    "list_prepared",
    "names_below",
    "read_list",
    "register_prepared",
]


class NotPrepared(ProLabError):
    """Nothing of a split is there."""


@dataclass(frozen=True)
class PreparedSplit:
    """Where the files of a split lie, relative to the root of all data sets.

    An entry is called by the path of its image below `images` without `image_suffix`; its mask has
    the same path below `masks` with `mask_suffix`.

    Attributes:
        tool: name of the program in tools/prepare_datasets.
        split: train, val, ...
        images: folder; it may hold images of other splits, too.
        masks: folder of this split's masks alone.
        counts: number of entries; more than one where releases differ.
    """

    tool: str
    split: str
    images: str
    masks: str
    counts: tuple[int, ...]
    image_suffix: str = ".jpg"
    mask_suffix: str = ".png"

    def image(self, root: Path, name: str) -> Path:
        return root / self.images / f"{name}{self.image_suffix}"

    def mask(self, root: Path, name: str) -> Path:
        return root / self.masks / f"{name}{self.mask_suffix}"

    def list_file(self, root: Path) -> Path:
        return root / f"{self.masks}.txt"

    @property
    def command(self) -> str:
        """What makes the split."""
        return f"python tools/prepare_datasets/{self.tool}.py --splits {self.split}"

    def missing(self, root: Path, names: Iterable[str]) -> list[Path]:
        """Images and masks of these entries that are not there."""
        images = names_below(root / self.images, self.image_suffix)
        masks = names_below(root / self.masks, self.mask_suffix)
        absent = []
        for name in names:
            if name not in images:
                absent.append(self.image(root, name))
            if name not in masks:
                absent.append(self.mask(root, name))
        return absent


def datasets_root() -> Path:
    """The folder of all data sets: $DETECTRON2_DATASETS, "datasets" without the variable."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))


def names_below(folder: Path, suffix: str) -> set[str]:
    """Paths below a folder, with "/" and without the suffix, of all files that end in it."""
    found: set[str] = set()
    waiting = [("", folder)]
    while waiting:
        prefix, place = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            if entry.name[0] == ".":
                continue
            if entry.is_dir():
                waiting.append((f"{prefix}{entry.name}/", Path(entry.path)))
            elif entry.name.endswith(suffix):
                found.add(prefix + entry.name.removesuffix(suffix))
    return found


def read_list(split: PreparedSplit, root: Path) -> list[str] | None:
    """The entries that belong to a split; None where no list has been written.

    Raises:
        ProLabError: the list cannot be read.
    """
    path = split.list_file(root)
    try:
        return path.read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ProLabError(
            f"cannot read the list of a split ({error}), {path}: remove it and run {split.command}"
        ) from error


def list_prepared(split: PreparedSplit) -> list[dict[str, Any]]:
    """Detectron2 entries of a split, sorted by name.

    Raises:
        NotPrepared: it is not there at all.
        ProLabError: it is there in part; the sentence names a missing file and the command.
    """
    root = datasets_root()
    names = read_list(split, root)
    if names is None:
        names = sorted(names_below(root / split.masks, split.mask_suffix))
        if not names:
            raise NotPrepared(
                f"{split.tool} {split.split} is not there, {root / split.masks}: run "
                f"{split.command}, which says what to download, or set DETECTRON2_DATASETS to the "
                "folder of your data sets"
            )
        if len(names) not in split.counts:
            raise ProLabError(
                f"{len(names)} of {max(split.counts)} masks of {split.tool} {split.split}, "
                f"{root / split.masks}: run {split.command} to make the others"
            )
    missing = split.missing(root, names)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ProLabError(
            f"{split.tool} {split.split} is not complete, {missing[0]} is missing{more}: run "
            f"{split.command}, which goes on where it was"
        )
    return [
        {
            "file_name": str(split.image(root, name)),
            "image_id": name,
            "sem_seg_file_name": str(split.mask(root, name)),
        }
        for name in names
    ]


def register_prepared(name: str, split: PreparedSplit, categories: Categories) -> None:
    """Registers a split, in place of Detectron2's own of the same name; reads no files.

    What Detectron2 has registered of it besides the categories stays, such as its evaluator.
    """
    former = MetadataCatalog.get(name).as_dict() if name in MetadataCatalog else {}
    if "folder_root" in former:  # a folder of the user's had this name
        former = {}
    ours = categories.metadata()
    if former.get("evaluator_type"):
        del ours["evaluator_type"]
    metadata = {**former, **ours}
    metadata.pop("name", None)
    register_dataset(name, partial(list_prepared, split), **metadata)
