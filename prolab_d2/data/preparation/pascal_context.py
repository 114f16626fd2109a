"""The two forms in which Pascal Context is published, as masks of the numbers 1 to 459.

Shapes: H x W image size.
"""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle

from prolab_d2.data.datasets.categories import named_categories
from prolab_d2.data.datasets.prepared import PreparedSplit
from prolab_d2.data.preparation.convert import Plan, copy_from, encode_mask, read_names
from prolab_d2.data.preparation.sources import Download, Part, Sources, Tree
from prolab_d2.data.reading import LabelIds
from prolab_d2.errors import ProLabError, first_line

__all__ = [
    "DETAIL",
    "IMAGES",
    "LABEL_MAPS",
    "DetailImage",
    "label_ids",
    "plan_from_detail",
    "plan_from_label_maps",
    "read_detail",
    "read_label_map",
]

IMAGES = Download(
    "VOCtrainval_03-May-2010.tar",
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/ (training/validation data)",
    "images and lists, 1.3 GB",
)
LABEL_MAPS = Download(
    "trainval.tar.gz",
    "https://cs.stanford.edu/~roozbeh/pascal-context/",
    "label maps with 459 numbers, 30 MB",
)
DETAIL = Download(
    "trainval_merged.json",
    "https://codalabuser.blob.core.windows.net/public/trainval_merged.json",
    "annotations of PASCAL in Detail, 0.6 GB; for 59 categories, instead of the label maps",
)


def plan_from_label_maps(split: PreparedSplit, sources: Sources, name: str) -> Plan:
    """Masks from the label maps; the lists of VOC 2010 say what belongs to the split.

    Args:
        name: as for `label_ids`.
    """
    maps = sources.require(
        Part(LABEL_MAPS, "trainval/", ("VOCdevkit/VOC2010/trainval", "VOC2010/trainval")),
        f" or {DETAIL.file} from {DETAIL.page}" if name == "pascal_context_59" else "",
    )
    lists = sources.require(_part_of_voc("ImageSets/Main"))
    ids = label_ids(name)

    def mask(entry: str) -> bytes:
        where = f"{maps.place}/{entry}.mat"
        return encode_mask(ids.decode(read_label_map(maps, entry), where), ids.ignore_label)

    names = read_names(lists, f"{split.split}.txt")
    return Plan(split, names, _images(sources), mask)


def plan_from_detail(split: PreparedSplit, sources: Sources, path: Path, name: str) -> Plan:
    """Masks and split from the annotation file of PASCAL in Detail.

    Args:
        path: the file.
        name: as for `label_ids`.
    """
    images = _images(sources)
    detail = {key: one for key, one in read_detail(path).items() if one.split == split.split}
    ids = label_ids(name)

    def mask(entry: str) -> bytes:
        labels = ids.decode(detail[entry].labels(), f"{path}: {entry}")
        return encode_mask(labels, ids.ignore_label)

    return Plan(split, list(detail), images, mask)


def _part_of_voc(folder: str) -> Part:
    return Part(
        IMAGES,
        f"VOCdevkit/VOC2010/{folder}/",
        (f"VOCdevkit/VOC2010/{folder}", f"VOC2010/{folder}"),
    )


def _images(sources: Sources) -> Callable[[str], bytes]:
    return copy_from(sources.require(_part_of_voc("JPEGImages")), ".jpg")


def label_ids(name: str) -> LabelIds:
    """From the numbers 1 to 459 to the categories of the same name; 0 and others are unlabelled.

    Args:
        name: "pascal_context_59" or "pascal_context_459".
    """
    categories = named_categories(name)
    label_map = {0: categories.ignore_label}
    for number, label in enumerate(named_categories("pascal_context_459").names, start=1):
        known = label in categories.names
        label_map[number] = categories.names.index(label) if known else categories.ignore_label
    return LabelIds(len(categories.names), categories.ignore_label, label_map)


def read_label_map(tree: Tree, name: str) -> np.ndarray:
    """(H, W) numbers of a MATLAB file, its variable LabelMap.

    Raises:
        ProLabError: it cannot be read or has no such variable, or SciPy is not installed.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ProLabError(
            "the label maps of Pascal Context are MATLAB files: pip install scipy (extra: datasets)"
        ) from error
    content = tree.read(f"{name}.mat")
    try:
        labels = np.asarray(loadmat(io.BytesIO(content), variable_names=["LabelMap"])["LabelMap"])
    except Exception as error:  # of any kind, as the file is damaged
        raise ProLabError(
            f"no readable LabelMap ({first_line(error)}), {tree.place}/{name}.mat: download it "
            "again"
        ) from error
    if labels.ndim != 2 or labels.dtype.kind not in "bui":
        raise ProLabError(
            f"LabelMap is no table of numbers, {tree.place}/{name}.mat: take the official release"
        )
    return labels


@dataclass
class DetailImage:
    """An image of the annotation file of PASCAL in Detail.

    Attributes:
        size: (H, W).
        segments: category number and run-length code of each segment, the last on top.
    """

    name: str
    split: str
    size: tuple[int, int]
    segments: list[tuple[int, dict[str, Any]]] = field(default_factory=list)

    def labels(self) -> np.ndarray:
        """(H, W) uint16 numbers, 0 where nothing is labelled."""
        labels = np.zeros(self.size, np.uint16)
        for number, code in self.segments:
            labels[rle.decode(code) != 0] = number
        return labels


@lru_cache(maxsize=1)
def read_detail(path: Path) -> dict[str, DetailImage]:
    """The images of trainval_merged.json by name, with their segments.

    The file has 0.6 GB. What is not needed of it (parts, boundaries, occlusion) is not kept.

    Raises:
        ProLabError: it cannot be read, or is another file.
    """
    images: dict[int, DetailImage] = {}
    segments: dict[int, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    try:
        for key, entry in _elements(path.read_text(encoding="utf-8")):
            if key == "images":
                images[entry["image_id"]] = DetailImage(
                    entry["file_name"].removesuffix(".jpg"),
                    entry["phase"],
                    (entry["height"], entry["width"]),
                )
            elif key == "annos_segmentation":
                segments[entry["image_id"]].append((entry["category_id"], entry["segmentation"]))
        for number, image in images.items():
            image.segments = segments[number]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ProLabError(
            f"cannot be used as annotations of PASCAL in Detail ({type(error).__name__}: "
            f"{first_line(error)}), {path}: download trainval_merged.json again"
        ) from error
    return {image.name: image for image in images.values()}


def _elements(text: str) -> Iterator[tuple[str, Any]]:
    """The elements of the lists in a JSON object, with their keys, one after the other.

    Memory: the text and one element. Values that are no lists are left out.
    """
    decode: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().raw_decode
    place = _skip(text, 0, "{")
    while text[place] != "}":
        key, place = decode(text, place)
        place = _skip(text, place, ":")
        if text[place] == "[":
            place = _skip(text, place, "[")
            while text[place] != "]":
                element, place = decode(text, place)
                yield key, element
                place = _skip(text, place, ",")
            place += 1
        else:
            _, place = decode(text, place)
        place = _skip(text, place, ",")


def _skip(text: str, place: int, mark: str) -> int:
    """Past white space and one `mark`; a comma may be missing, as after the last element."""
    while text[place].isspace():
        place += 1
    if text[place] == mark:
        place += 1
        while text[place].isspace():
            place += 1
    elif mark != "," or text[place] not in "]}":
        raise ValueError(f"{mark!r} expected at character {place}")
    return place
