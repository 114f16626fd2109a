"""What is in a data set and what is wrong with it: counts, label histogram, problems, pictures.

Shapes: N categories, H x W image size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata
from tabulate import tabulate

from prolab_d2.canvas import Canvas, contact_sheet, line_height, size_at_width, text_width
from prolab_d2.colors import distinct_colors
from prolab_d2.data.datasets.folder import register_folder, scan_files, split_folders
from prolab_d2.data.datasets.prepared import NotPrepared
from prolab_d2.data.reading import LabelIds, check_mask_size, read_image, read_mask, stuff_classes
from prolab_d2.errors import ProLabError

__all__ = [
    "Split",
    "SplitReport",
    "check_split",
    "draw_sheet",
    "find_dataset",
    "format_report",
]


@dataclass
class Split:
    """One split of a data set, before its files are opened."""

    name: str
    metadata: Metadata
    entries: list[dict[str, Any]]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class SplitReport:
    """What the files of a split hold.

    Attributes:
        pixels: (N,) int64, labelled pixels of each category.
        images_with: (N,) int64, in how many images each category occurs.
        unlabelled: pixels without a label.
        sizes: (width, height) of the images -> how many.
        unknown_ids: id in mask files -> in how many files.
        problems: one sentence for everything that must be mended.
        notes: what may be as it is, but is worth knowing.
    """

    name: str
    pixels: np.ndarray
    images_with: np.ndarray
    images: int = 0
    masks: int = 0
    unlabelled: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    unknown_ids: Counter[int] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class _Checked(NamedTuple):
    size: tuple[int, int] | None = None
    counts: np.ndarray | None = None  # (N + 1,), unlabelled last
    unknown: tuple[int, ...] = ()
    full_of_255: bool = False
    problems: tuple[str, ...] = ()


def find_dataset(folder_or_name: str) -> list[Split]:
    """The splits of a data set folder, or of a registered data set.

    Args:
        folder_or_name: a folder, a registered name ("camvid_sem_seg_val") or what several of them
            begin with ("camvid"); of those, splits that have not been prepared become a note.
    Raises:
        ProLabError: there is no such data set, or its files are not there.
    """
    if Path(folder_or_name).is_dir():
        root = Path(folder_or_name)
        names = register_folder(root)
        splits = [_folder_split(root, split, name) for split, name in names.items()]
        splits[0].notes += _missing_splits(names)
        return splits
    names = [name for name in DatasetCatalog if name == folder_or_name]
    names = names or [n for n in DatasetCatalog if n.startswith(f"{folder_or_name}_sem_seg_")]
    if not names:
        known = sorted(n for n in DatasetCatalog if "_sem_seg_" in n)
        raise ProLabError(
            f"{folder_or_name} is neither a folder nor a data set: give a folder with images/ and "
            f"annotations/, or one of {', '.join(known)}"
        )
    splits: list[Split] = []
    absent: list[NotPrepared] = []
    for name in names:
        try:
            splits.append(_registered_split(name))
        except NotPrepared as error:
            absent.append(error)
    if not splits:
        raise absent[0]
    splits[0].notes += map(str, absent)
    return splits


def _folder_split(root: Path, split: str, name: str) -> Split:
    images, masks = split_folders(root, split)
    found = scan_files(images, masks)
    problems = list(found.problems)
    problems += [
        f"mask without an image, {mask}: add the image or remove the mask"
        for mask in found.masks_without_image
    ]
    notes = []
    if masks is None:
        notes.append(
            f"no folder annotations/{split}: good for prediction only, train_net.py needs masks to "
            "train and to evaluate"
        )
    return Split(split, MetadataCatalog.get(name), found.entries, problems, notes)


def _missing_splits(names: Iterable[str]) -> list[str]:
    """What train_net.py asks for when a folder has no split of the name that it looks for."""
    return [
        f"no split {split}: name the one that takes its place, DATASETS.{key} "
        f"\"('<folder>_sem_seg_<split>',)\", or rename images/<split> and annotations/<split>"
        for split, key in (("train", "TRAIN"), ("val", "TEST"))
        if split not in names
    ]


def _registered_split(name: str) -> Split:
    metadata = MetadataCatalog.get(name)
    stuff_classes(metadata)  # without any there is nothing to check
    try:
        entries = DatasetCatalog.get(name)
    except (OSError, AssertionError) as error:
        raise NotPrepared(
            f"data set {name} cannot be listed ({error}): put its files where Detectron2 expects "
            "them, below DETECTRON2_DATASETS"
        ) from None
    return Split(name.rpartition("_sem_seg_")[2] or name, metadata, entries)


def check_split(
    split: Split,
    *,
    workers: int = 4,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> SplitReport:
    """Opens every file of a split.

    Args:
        workers: threads; decoding runs outside Python's lock.
        progress: wraps the iteration over the images.
    """
    label_ids = LabelIds.from_metadata(split.metadata)
    number = label_ids.num_categories
    report = SplitReport(
        split.name, np.zeros(number, dtype=np.int64), np.zeros(number, dtype=np.int64)
    )
    report.problems = list(split.problems)
    report.notes = list(split.notes)
    full_of_255 = 0
    pool = ThreadPoolExecutor(workers)
    try:
        checked = pool.map(lambda entry: _check_entry(entry, label_ids), split.entries)
        for entry, one in zip(progress(split.entries), checked, strict=True):
            report.problems += one.problems
            report.images += one.size is not None
            report.masks += "sem_seg_file_name" in entry
            report.unknown_ids.update(one.unknown)
            full_of_255 += one.full_of_255
            if one.size is not None:
                report.sizes[one.size] += 1
            if one.counts is not None:
                report.pixels += one.counts[:-1]
                report.images_with += one.counts[:-1] > 0
                report.unlabelled += int(one.counts[-1])
    finally:
        # After an interrupt nobody waits for the files that are left.
        pool.shutdown(cancel_futures=True)
    if full_of_255:
        report.notes.append(
            f"{full_of_255} 8-bit masks hold 255, which is a category here; unlabelled pixels need "
            f"16-bit masks with {label_ids.ignore_label}"
        )
    absent = [split.metadata.stuff_classes[i] for i in np.flatnonzero(report.pixels == 0)]
    if report.masks and absent:
        shown = ", ".join(absent[:10]) + (", ..." if len(absent) > 10 else "")
        report.notes.append(f"{len(absent)} of {number} categories never occur: {shown}")
    return report


def _check_entry(entry: dict[str, Any], label_ids: LabelIds) -> _Checked:
    problems: list[str] = []
    size = counts = None
    unknown: tuple[int, ...] = ()
    full_of_255 = False
    try:
        image = read_image(entry["file_name"])
        size = (image.shape[1], image.shape[0])
    except ProLabError as error:
        problems.append(str(error))
    mask_file = entry.get("sem_seg_file_name")
    if mask_file is not None:
        try:
            mask = read_mask(mask_file)
            if size is not None:
                check_mask_size(mask, size[::-1], mask_file)
            unknown = tuple(label_ids.unknown_ids(mask).tolist())
            if mask.dtype == np.uint8 and label_ids.num_categories > 255:
                full_of_255 = bool((mask == 255).any())
            counts = _count(label_ids.decode(mask, mask_file), label_ids)
        except ProLabError as error:
            problems.append(str(error))
    return _Checked(size, counts, unknown, full_of_255, tuple(problems))


def _count(labels: np.ndarray, label_ids: LabelIds) -> np.ndarray:
    """(H, W) data-set ids -> (N + 1,) pixels of every category, the unlabelled ones last."""
    counts = np.bincount(labels.ravel(), minlength=label_ids.ignore_label + 1)
    return np.append(counts[: label_ids.num_categories], counts[label_ids.ignore_label])


def format_report(reports: Sequence[SplitReport], metadata: Metadata, limit: int = 20) -> str:
    """The report as text: counts, histogram, notes, and at most `limit` problems of each split."""
    rows = [
        (
            report.name, report.images, report.masks, _sizes(report.sizes),
            _percent(report.unlabelled, report.unlabelled + report.pixels.sum()),
            len(report.problems),
        )
        for report in reports
    ]  # fmt: skip
    parts = [
        tabulate(rows, ["split", "images", "masks", "width x height", "unlabelled", "problems"])
    ]
    annotated = [report for report in reports if report.masks]
    if annotated:
        parts.append(_histogram(annotated, metadata.stuff_classes))
    for report in reports:
        lines = [f"{report.name}, note: {note}" for note in report.notes]
        lines += [f"{report.name}, problem: {problem}" for problem in report.problems[:limit]]
        if len(report.problems) > limit:
            lines.append(f"{report.name}: {len(report.problems) - limit} more problems (--limit)")
        if report.unknown_ids:
            ids = ", ".join(f"{i} ({n} files)" for i, n in sorted(report.unknown_ids.items()))
            lines.append(f"{report.name}, unknown ids: {ids}")
        if lines:
            parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _histogram(reports: Sequence[SplitReport], names: Sequence[str]) -> str:
    """Share of the labelled pixels and number of images of every category."""
    header = ["id", "category"]
    for report in reports:
        header += [f"{report.name} pixels", "images"]
    rows = []
    for index, name in enumerate(names):
        row = [index, name]
        for report in reports:
            share = _percent(report.pixels[index], report.pixels.sum())
            row += [share, int(report.images_with[index])]
        rows.append(row)
    return tabulate(rows, header, colalign=("right", "left", *["right"] * (len(header) - 2)))


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"


def _sizes(sizes: Counter[tuple[int, int]]) -> str:
    if not sizes:
        return "-"
    if len(sizes) <= 2:
        return ", ".join(f"{width} x {height}" for width, height in sizes)
    widths, heights = zip(*sizes, strict=True)
    return f"{min(widths)}-{max(widths)} x {min(heights)}-{max(heights)} ({len(sizes)} sizes)"


def draw_sheet(
    splits: Sequence[Split], *, number: int = 12, columns: int = 4, tile_width: int = 360
) -> np.ndarray:
    """Evenly chosen images of all splits under their labels, with a legend: (H, W, 3) uint8 RGB.

    Files that cannot be read are left out.

    Raises:
        ProLabError: none can be read.
    """
    pictures, titles = [], []
    share = max(1, number // max(len(splits), 1))
    for split in splits:
        label_ids = LabelIds.from_metadata(split.metadata)
        colors = category_colors(split.metadata)
        for entry in _spread(split.entries, share):
            tile = _tile(entry, label_ids, colors, tile_width)
            if tile is not None:
                pictures.append(tile)
                titles.append(f"{split.name}: {entry.get('image_id', entry['file_name'])}")
    if not pictures:
        raise ProLabError("no image can be read, contact sheet: mend the data set first")
    sheet = contact_sheet(pictures, titles, columns=columns, tile_width=tile_width)
    legend = _legend(splits[0].metadata, sheet.shape[1])
    return np.concatenate([sheet, legend])


def category_colors(metadata: Metadata) -> np.ndarray:
    """(N, 3) uint8 RGB: the data set's own colours, or distinct ones."""
    colors = metadata.get("stuff_colors", None) or distinct_colors(len(metadata.stuff_classes))
    return np.asarray(colors, dtype=np.uint8)


def _spread(entries: Sequence[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """`number` entries at even distances (all where there are fewer)."""
    places = np.linspace(0, len(entries) - 1, min(number, len(entries))).round().astype(int)
    return [entries[place] for place in places]


def _tile(
    entry: dict[str, Any], label_ids: LabelIds, colors: np.ndarray, width: int
) -> np.ndarray | None:
    """The image under its labels with their borders drawn; the plain image without a mask."""
    try:
        image = read_image(entry["file_name"])
        size = size_at_width(image, width)
        picture = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        if "sem_seg_file_name" not in entry:
            return picture
        labels = label_ids.decode(read_mask(entry["sem_seg_file_name"]), "")
    except ProLabError:
        return None
    labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
    labelled = labels != label_ids.ignore_label
    overlay = picture // 2 + colors[np.where(labelled, labels, 0)] // 2
    border = np.zeros(labels.shape, dtype=bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    picture = np.where(labelled[..., None], overlay, picture)
    return np.where(border[..., None], picture // 3, picture).astype(np.uint8)


def _legend(metadata: Metadata, width: int) -> np.ndarray:
    """Colour and name of every category in rows as wide as the sheet."""
    size, gap, patch = 14, 16, 18
    places: list[tuple[int, int]] = []
    x, y = gap, 0
    for name in metadata.stuff_classes:
        needed = patch + 6 + text_width(name, size)
        if x > gap and x + needed > width - gap:
            x, y = gap, y + line_height(size) + 8
        places.append((x, y))
        x += needed + gap
    canvas = Canvas(width, y + line_height(size) + gap)
    colors = category_colors(metadata).tolist()
    for name, color, (x, y) in zip(metadata.stuff_classes, colors, places, strict=True):
        canvas.rectangle(x, y, patch, patch, tuple(color))
        canvas.text(x + patch + 6, y + patch // 2, name, size, anchor="lm")
    return canvas.picture()
