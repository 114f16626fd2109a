"""The data set mapper against Detectron2's `DatasetMapper`, from files to a training sample.

Every side scales an image by 0.5 to 2, crops 512 x 512 with at most 75 % of one category, mirrors
and changes colours. "detectron2, same" is Detectron2's mapper with this project's augmentations and
the same random numbers: it must give the same image and mask, and does neither check label ids nor
make property targets. "detectron2, own" has Detectron2's classes instead: Pillow's resize
(antialiased), RandomCrop_CategoryAreaConstraint, RandomFlip, and RandomBrightness, RandomContrast
and RandomSaturation with probability 1/2 each; it has no hue.

The images are built-in scenes, enlarged and with a little noise, so that their files have the size
of photographs. With --workers the data loader is timed, too, once its workers run: the CPU seconds
are then those of the main process alone, which bound what more workers can bring.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from detectron2.data import DatasetMapper, build_detection_train_loader
from detectron2.data import transforms as T
from PIL import Image

from prolab_d2.data import LabelIds, PropertyDatasetMapper
from prolab_d2.data.augmentation import CategoryAreaCrop, ScaleIntoBox
from prolab_d2.data.photometric import PhotometricDistortion
from prolab_d2.errors import ProLabError
from prolab_d2.scenes import CATEGORIES, UNLABELLED, draw_scene

from .contest import Contest, Goal, Side

_CROP, _MAX_AREA, _SCALES = 512, 0.75, (0.5, 2.0)
_BATCH, _BATCHES = 8, 8
_PROPERTIES = 256


class Kind(NamedTuple):
    """Files like those of a data set: (H, W), format, and the short edge they are scaled to."""

    size: tuple[int, int]
    suffix: str
    short_edge: int


PRESET = {
    "like ADE20K": Kind((512, 683), ".jpg", 512),
    "like COCO-Stuff": Kind((480, 640), ".jpg", 512),
    "like Cityscapes": Kind((1024, 2048), ".png", 1024),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size", type=int, nargs=2, default=(512, 683), metavar=("H", "W"), help="of the images"
    )
    parser.add_argument("--format", choices=("jpg", "png"), default="jpg", help="of the images")
    parser.add_argument("--images", type=int, default=4, help="drawn of each kind (default 4)")
    parser.add_argument(
        "--workers", type=int, nargs="*", default=[], help="also the loader with so many workers"
    )


def contests(args: argparse.Namespace) -> Iterator[Contest]:
    if min(args.size) < 16 or args.images < 1 or min(args.workers, default=0) < 0:
        raise ProLabError("--size, --images or --workers: give 16 or more, 1 or more, 0 or more")
    kinds = PRESET
    if args.preset is None:
        size = tuple(args.size)
        kinds = {f"{args.format} files": Kind(size, f".{args.format}", min(size))}
    for name, kind in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            entries = [_draw(Path(folder), kind, seed) for seed in range(args.images)]
            title = f"mapper, {name}, {kind.size[0]} x {kind.size[1]}"
            settings = {**kind._asdict(), "images": args.images, "crop": _CROP}
            pixels = len(entries) * kind.size[0] * kind.size[1]
            yield _mappers(title, kind, entries, args.seed, settings, pixels)
            if args.workers:
                yield _loaders(title.replace("mapper", "loader"), kind, entries, args, settings)


def _draw(folder: Path, kind: Kind, seed: int) -> dict[str, Any]:
    """Writes an image and its mask; the entry of a data set that names them."""
    scene = draw_scene(seed, "train")
    height, width = kind.size
    image = cv2.resize(scene.image, (width, height), interpolation=cv2.INTER_CUBIC)
    image = image + np.random.default_rng(seed).normal(0, 2, image.shape)
    mask = cv2.resize(scene.mask, (width, height), interpolation=cv2.INTER_NEAREST)
    image_file, mask_file = folder / f"{seed}{kind.suffix}", folder / f"{seed}_mask.png"
    options = {"quality": 95} if kind.suffix == ".jpg" else {}
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(image_file, **options)
    Image.fromarray(mask).save(mask_file)
    return {"file_name": str(image_file), "sem_seg_file_name": str(mask_file), "image_id": seed}


def _augmentations(kind: Kind) -> list[T.Augmentation]:
    return [
        ScaleIntoBox((kind.short_edge,), 4 * kind.short_edge, _SCALES),
        CategoryAreaCrop("absolute", (_CROP, _CROP), _MAX_AREA, UNLABELLED),
        T.RandomFlip(),
        PhotometricDistortion("RGB"),
    ]


def _detectron2_augmentations(kind: Kind) -> list[T.Augmentation]:
    short_edges = tuple(int(kind.short_edge * factor) for factor in _SCALES)
    colours = (
        T.RandomBrightness(0.75, 1.25),
        T.RandomContrast(0.5, 1.5),
        T.RandomSaturation(0.5, 1.5),
    )
    return [
        T.ResizeShortestEdge(short_edges, 8 * kind.short_edge, "range"),
        T.RandomCrop_CategoryAreaConstraint("absolute", (_CROP, _CROP), _MAX_AREA, UNLABELLED),
        T.RandomFlip(),
        *(T.RandomApply(colour) for colour in colours),
    ]


def _our_mapper(kind: Kind) -> PropertyDatasetMapper:
    generator = torch.Generator().manual_seed(0)
    return PropertyDatasetMapper(
        is_train=True,
        augmentations=_augmentations(kind),
        label_ids=LabelIds(len(CATEGORIES), UNLABELLED),
        signatures=torch.rand(len(CATEGORIES), _PROPERTIES, generator=generator) < 0.1,
    )


def _mappers(
    title: str,
    kind: Kind,
    entries: list[dict[str, Any]],
    seed: int,
    settings: dict[str, Any],
    pixels: int,
) -> Contest:
    mappers = {
        "ours": _our_mapper(kind),
        "detectron2, same": DatasetMapper(
            True, augmentations=_augmentations(kind), image_format="RGB"
        ),
        "detectron2, own": DatasetMapper(
            True, augmentations=_detectron2_augmentations(kind), image_format="RGB"
        ),
    }

    def map_all(mapper: Any) -> list[dict[str, Any]]:
        np.random.seed(seed)
        return [mapper(entry) for entry in entries]

    def check() -> float:
        ours, theirs = map_all(mappers["ours"]), map_all(mappers["detectron2, same"])
        same = (
            torch.equal(a[key], b[key])
            for a, b in zip(ours, theirs, strict=True)
            for key in ("image", "sem_seg")
        )
        return 0.0 if all(same) else 1.0

    return Contest(
        title,
        {name: Side(lambda m=mapper: map_all(m)) for name, mapper in mappers.items()},
        settings,
        goals=(Goal("time", 1.0),),
        check=check,
        pixels=pixels,
    )


def _loaders(
    title: str,
    kind: Kind,
    entries: list[dict[str, Any]],
    args: argparse.Namespace,
    settings: dict[str, Any],
) -> Contest:
    mapper = _our_mapper(kind)
    loaders = {
        count: iter(
            build_detection_train_loader(
                entries * _BATCH, mapper=mapper, total_batch_size=_BATCH, num_workers=count
            )
        )
        for count in args.workers
    }

    def load(count: int) -> None:
        for _ in range(_BATCHES):
            next(loaders[count])

    return Contest(
        f"{title}, {_BATCHES} batches of {_BATCH}",
        {f"{count} workers": Side(lambda n=count: load(n)) for count in args.workers},
        {**settings, "batch": _BATCH, "batches": _BATCHES},
        pixels=_BATCH * _BATCHES * kind.size[0] * kind.size[1],
    )
