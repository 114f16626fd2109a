"""Data sets that are folders; nothing but files is needed for images of one's own.

```
<root>/images/<split>/**/*.jpg          any common image format
<root>/annotations/<split>/**/*.png     category ids, same name as the image
<root>/categories.txt                   (or .json) names in the order of the ids
```
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from prolab_d2.data.datasets.categories import read_categories
from prolab_d2.errors import ProLabError

__all__ = ["IMAGE_SUFFIXES", "list_split", "pair_files", "register_dataset", "register_folder"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def register_folder(root: str | Path, name: str | None = None) -> dict[str, str]:
    """Registers the splits of a data set folder; the images are listed when they are needed.

    May be called again at any time; it takes the place of a built-in data set of the same name.

    Args:
        root: the folder (see above).
        name: of the data set; the folder's own name by default.
    Returns:
        Split -> name in Detectron2's catalogs, `<name>_sem_seg_<split>`.
    Raises:
        ProLabError: the folder is missing or has no split or no list of categories, or another
            folder is registered under this name.
    """
    root = Path(root)
    if not root.is_dir():
        raise ProLabError(f"data set folder {root} does not exist: give a folder with images/")
    splits = find_splits(root)
    categories = read_categories(root)
    name = name or root.resolve().name
    registered = {split: f"{name}_sem_seg_{split}" for split in splits}
    for full_name in registered.values():
        other = MetadataCatalog.get(full_name).get("folder_root", None)
        if full_name in DatasetCatalog and other not in (None, str(root.resolve())):
            raise ProLabError(
                f"data set name {full_name} already stands for {other}, {root}: rename one of the "
                "folders or give register_folder() a name"
            )
    for split, full_name in registered.items():
        register_dataset(
            full_name,
            partial(list_split, root, split),
            **categories.metadata(),
            folder_root=str(root.resolve()),
            image_root=str(root / "images" / split),
            sem_seg_root=str(root / "annotations" / split),
        )
    return registered


def register_dataset(name: str, load: Any, **metadata: Any) -> None:
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
    root = Path(root)
    masks = root / "annotations" / split
    return pair_files(root / "images" / split, masks if masks.is_dir() else None)


def pair_files(images: Path, masks: Path | None) -> list[dict[str, Any]]:
    """Pairs the images below one folder with the masks of the same name below another.

    Returns:
        Detectron2 entries: file_name, image_id and, with `masks`, sem_seg_file_name.
    Raises:
        ProLabError: no image, an image without a mask, or two images of one name.
    """
    files = find_images(images)
    if not files:
        raise ProLabError(
            f"empty split, {images}: put images there ({', '.join(IMAGE_SUFFIXES)}) or remove it"
        )
    have = set() if masks is None else {p.relative_to(masks) for p in masks.rglob("*.png")}
    entries: list[dict[str, Any]] = []
    seen: dict[str, Path] = {}
    for file in files:
        relative = file.relative_to(images).with_suffix("")
        image_id = relative.as_posix()
        if image_id in seen:
            raise ProLabError(
                f"two images of one name, {seen[image_id]} and {file}: their masks would be the "
                "same file; rename one"
            )
        seen[image_id] = file
        entry = {"file_name": str(file), "image_id": image_id}
        if masks is not None:
            mask = relative.with_name(relative.name + ".png")
            if mask not in have:
                raise ProLabError(
                    f"image without a mask, {file}: {masks / mask} is missing; add it or remove "
                    "the image"
                )
            entry["sem_seg_file_name"] = str(masks / mask)
        entries.append(entry)
    return entries


def find_images(folder: Path) -> list[Path]:
    """All image files below a folder, sorted; hidden files are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "." and path.is_file()
    )
