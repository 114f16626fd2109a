"""Data sets that are folders; nothing but files is needed for images of one's own.

```
<root>/images/<split>/**/*.jpg          any common image format
<root>/annotations/<split>/**/*.png     category ids, same name as the image
<root>/categories.txt                   (or .json) names in the order of the ids
```
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from prolab_d2.data.datasets.categories import read_categories
from prolab_d2.errors import ProLabError

__all__ = [
    "IMAGE_SUFFIXES",
    "SplitFiles",
    "find_splits",
    "list_split",
    "pair_files",
    "register_dataset",
    "register_folder",
    "scan_files",
    "split_folders",
]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


@dataclass
class SplitFiles:
    """What was found of a split.

    Attributes:
        entries: Detectron2 entries: file_name, image_id and, with masks, sem_seg_file_name.
        problems: one sentence about each image that cannot be an entry.
        masks_without_image: mask files that no entry uses.
    """

    entries: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    masks_without_image: list[Path] = field(default_factory=list)


def register_folder(root: str | Path, name: str | None = None) -> dict[str, str]:
    """Registers the splits of a data set folder; the images are listed when they are needed.

    May be called again at any time; takes the place of another data set of the same name.

    Args:
        root: the folder (see above).
        name: of the data set; the folder's own name by default.
    Returns:
        Split -> name in Detectron2's catalogs, `<name>_sem_seg_<split>`.
    Raises:
        ProLabError: the folder is missing or has no split or no list of categories.
    """
    root = Path(root)
    if root.is_file():
        raise ProLabError(f"data set {root} is a file: give the folder that holds images/")
    if not root.is_dir():
        raise ProLabError(f"data set folder {root} does not exist: give a folder with images/")
    splits = find_splits(root)
    categories = read_categories(root)
    name = name or root.resolve().name
    registered = {split: f"{name}_sem_seg_{split}" for split in splits}
    for split, full_name in registered.items():
        former = _root_of(full_name)
        if former not in (None, str(root.resolve())):
            logging.getLogger(__name__).warning(
                f"{full_name} stands for {root} from now on, not for {former}; call "
                "register_folder() with a name to use both"
            )
        register_dataset(
            full_name,
            partial(list_split, root, split),
            **categories.metadata(),
            folder_root=str(root.resolve()),
            image_root=str(root / "images" / split),
            sem_seg_root=str(root / "annotations" / split),
        )
    return registered


def _root_of(full_name: str) -> str | None:
    """The folder that is registered under a name, None for other data sets and unused names."""
    if full_name not in DatasetCatalog:
        return None
    return MetadataCatalog.get(full_name).get("folder_root", None)


def register_dataset(name: str, load: Callable[[], list[dict[str, Any]]], **metadata: Any) -> None:
    """Registers a data set in Detectron2's catalogs, in place of one of the same name."""
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
    if name in MetadataCatalog:
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(**metadata)


def find_splits(root: Path) -> list[str]:
    """Names of the splits of a data set folder.

    Raises:
        ProLabError: there is none.
    """
    images = root / "images"
    splits = []
    if images.is_dir():
        splits = sorted(p.name for p in images.iterdir() if p.is_dir() and p.name[0] != ".")
    if not splits:
        raise ProLabError(
            f"no folder images/<split>, {root}: put the images into images/train and images/val "
            "and their masks into annotations/train and annotations/val"
        )
    return splits


def list_split(root: str | Path, split: str) -> list[dict[str, Any]]:
    """Entries of one split of a data set folder, in the order of the file names.

    A split without a folder of masks has images only, which is enough for prediction.

    Raises:
        ProLabError: as `pair_files`.
    """
    return pair_files(*split_folders(Path(root), split))


def split_folders(root: Path, split: str) -> tuple[Path, Path | None]:
    """The folders of a split's images and, where it has one, of its masks."""
    masks = root / "annotations" / split
    return root / "images" / split, masks if masks.is_dir() else None


def pair_files(images: Path, masks: Path | None) -> list[dict[str, Any]]:
    """Entries of a split whose files are all in order, see `scan_files`.

    Raises:
        ProLabError: no image, an image without a mask, or two images of one name.
    """
    found = scan_files(images, masks)
    if found.problems:
        more = len(found.problems) - 1
        raise ProLabError(
            found.problems[0]
            + (f" ({more} more; tools/check_dataset.py lists them)" if more else "")
        )
    return found.entries


def scan_files(images: Path, masks: Path | None) -> SplitFiles:
    """Pairs the images below one folder with the masks of the same name below another.

    Args:
        masks: None for images without masks.
    """
    files = find_files(images, IMAGE_SUFFIXES)
    found = SplitFiles()
    if not files:
        found.problems.append(
            f"empty split, {images}: put images there ({', '.join(IMAGE_SUFFIXES)}) or remove it"
        )
    without_image: dict[str, str] = {}
    if masks is not None:
        without_image = {_image_id(mask, masks): mask for mask in find_files(masks, (".png",))}
    seen: dict[str, str] = {}
    for file in files:
        image_id = _image_id(file, images)
        if image_id in seen:
            found.problems.append(
                f"two images of one name, {seen[image_id]} and {file}: their masks would be the "
                "same file; rename one"
            )
            continue
        seen[image_id] = file
        entry = {"file_name": file, "image_id": image_id}
        if masks is not None:
            mask = without_image.pop(image_id, None)
            if mask is None:
                found.problems.append(_without_mask(file, masks / f"{image_id}.png"))
                continue
            entry["sem_seg_file_name"] = mask
        found.entries.append(entry)
    found.masks_without_image.extend(sorted(map(Path, without_image.values())))
    return found


def _image_id(file: str, folder: Path) -> str:
    """The name below the folder, without its ending, with "/" on every system."""
    return os.path.splitext(file[len(str(folder)) :])[0].replace(os.sep, "/").lstrip("/")


def _without_mask(image: str, mask: Path) -> str:
    """The sentence about an image whose mask is missing, or is there in another format."""
    for suffix in IMAGE_SUFFIXES:
        other = mask.with_name(mask.stem + suffix)
        if other.is_file():
            return (
                f"image without a PNG mask, {image}: {other} is no PNG file; save the ids as "
                f"{mask.name} (JPEG would change them)"
            )
    return f"image without a mask, {image}: {mask} is missing; add it or remove the image"


def find_files(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Files below a folder whose names end so (in any case), sorted; hidden ones are left out.

    Strings: paths as objects take ten times as long, seconds for a hundred thousand images.
    """
    found = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name[0] != "."]
        found += [
            os.path.join(parent, name)
            for name in names
            if name[0] != "." and name.lower().endswith(suffixes)
        ]
    # Folder by folder, as paths are sorted.
    return sorted(found, key=lambda file: file.split(os.sep))
