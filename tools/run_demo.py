#!/usr/bin/env python3
"""The main job from nothing: draw street scenes, train on them, evaluate, explain predictions.

Everything lands in the output folder: the checkpoint model_best.pth, the log, the evaluation,
pictures/ and report/index.html. Each step is a command of this project and is printed, so that it
can be repeated with other options. When the program is stopped, the next call goes on where it was.

Examples:
    run_demo.py
    run_demo.py --output output/longer --pictures 8 SOLVER.MAX_ITER 2000
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# First, because it keeps Detectron2's import from printing a warning.
from prolab_d2.errors import ProLabError, exit_cleanly  # isort: skip

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.logger import setup_logger

from prolab_d2.canvas import contact_sheet, save_picture, size_at_width
from prolab_d2.data import LabelIds, read_sem_seg
from prolab_d2.engine import load_config
from prolab_d2.engine.setup import resolve_datasets
from prolab_d2.files import atomic_path, check_writable
from prolab_d2.predictor import Prediction, Predictor
from prolab_d2.visualizer import draw_segmentation

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIG = "scenes/lite0_property.yaml"
TRAIN_NET, DEMO = "projects/ProLab/train_net.py", "projects/ProLab/demo.py"
# A category has to cover this share of a picture to count as shown in it.
SHOWN = 0.004
TILE_WIDTH = 420


@dataclass
class Steps:
    """Runs and announces the parts of the job, and keeps their times."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        print(f"== {name}", flush=True)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


@dataclass(frozen=True)
class Sample:
    """An image of the data set with its labels, truth and prediction."""

    name: str
    truth: np.ndarray
    prediction: Prediction


def run_command(arguments: Sequence[str]) -> None:
    """Runs a script of this repository with this interpreter.

    Raises:
        ProLabError: it failed; its own message stands above.
    """
    print("$ python " + shlex.join(arguments), flush=True)
    script, *rest = arguments
    code = subprocess.run([sys.executable, str(REPOSITORY / script), *rest], check=False).returncode
    if code:
        raise ProLabError(
            f"{script} ended with code {code}: its message stands above; when the output folder "
            "holds a run with other settings, name another one with --output"
        )


def read_metrics(output: Path, dataset: str) -> dict[str, Any]:
    """What the evaluation has written."""
    return json.loads((output / "inference" / dataset / "sem_seg_metrics.json").read_text())


def richest_entries(
    entries: Sequence[dict[str, Any]], label_ids: LabelIds, number: int
) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Images with many categories from all parts of a data set, and their (H, W) masks."""
    masks = [read_sem_seg(entry["sem_seg_file_name"], label_ids) for entry in entries]
    shown = np.array([len(shown_categories(mask, label_ids)) for mask in masks])
    # Neighbours may be frames of one video: each part of the list gives one image.
    parts = np.array_split(np.arange(len(entries)), min(number, len(entries)))
    chosen = [int(part[shown[part].argmax()]) for part in parts]
    return [(entries[i], masks[i]) for i in chosen]


def shown_categories(mask: np.ndarray, label_ids: LabelIds) -> list[int]:
    ids, counts = np.unique(mask, return_counts=True)
    return [
        int(i)
        for i, count in zip(ids, counts, strict=True)
        if i != label_ids.ignore_label and count >= SHOWN * mask.size
    ]


def pick_pixel(sample: Sample, seen: set[int], rarity: Sequence[int]) -> tuple[int, int, int]:
    """A pixel worth explaining: deep inside a region of a rare category that is not yet explained.

    Args:
        seen: categories that other pictures explain already.
        rarity: categories, those with the fewest pixels first.
    Returns:
        x, y and the category there, as predicted.
    """
    labels = sample.prediction.labels
    for category in [c for c in rarity if c not in seen] + list(rarity):
        right = (labels == category) & (sample.truth == category)
        if right.mean() >= SHOWN / 2:
            depth = cv2.distanceTransform(np.pad(right, 1).astype(np.uint8), cv2.DIST_L2, 3)
            y, x = np.unravel_index(int(depth.argmax()), depth.shape)
            return int(x) - 1, int(y) - 1, category
    height, width = labels.shape
    return width // 2, height // 2, int(labels[height // 2, width // 2])


def tile(image: np.ndarray, labels: np.ndarray, predictor: Predictor) -> np.ndarray:
    """An overlay for the overview, with names that can be read at its size."""
    size = size_at_width(image, TILE_WIDTH)
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    labels = cv2.resize(labels.astype(np.int32), size, interpolation=cv2.INTER_NEAREST_EXACT)
    return draw_segmentation(image, labels, predictor.metadata, fit_screen=False)


def draw_pictures(
    predictor: Predictor, cfg: CfgNode, folder: Path, number: int, rarity: Sequence[int]
) -> list[Path]:
    """Overlays, explanations and heat maps of some images, and an overview of all of them.

    Returns:
        The images.
    """
    dataset = cfg.DATASETS.TEST[0]
    label_ids = LabelIds.from_metadata(MetadataCatalog.get(dataset))
    entries = richest_entries(DatasetCatalog.get(dataset), label_ids, number)
    rows, titles, texts = [], [], []
    seen: set[int] = set()
    for entry, truth in entries:
        file_name = Path(entry["file_name"])
        sample = Sample(file_name.stem, truth, predictor(file_name))
        prediction = sample.prediction
        x, y, category = pick_pixel(sample, seen, rarity)
        seen.add(category)
        pictures = {
            "overlay": prediction.draw(),
            "explained": prediction.draw_explanation(x, y),
            "properties": prediction.draw_properties(),
        }
        for kind, picture in pictures.items():
            save_picture(picture, folder / f"{sample.name}_{kind}.png")
        texts.append(f"{file_name}, pixel {x},{y}\n{prediction.explain(x, y).describe()}\n")
        image = prediction.image
        rows += [image, *(tile(image, m, predictor) for m in (truth, prediction.labels))]
        titles += [file_name.name, "truth", "prediction"]
    overview = contact_sheet(rows, titles, columns=3, tile_width=TILE_WIDTH)
    save_picture(overview, folder / "overview.png")
    with atomic_path(folder / "explanations.txt") as temporary:
        temporary.write_text("\n".join(texts))
    print("\n" + texts[0])
    return [Path(entry["file_name"]) for entry, _ in entries]


def summary(metrics: dict[str, Any], seconds: dict[str, float], output: Path) -> str:
    """The last thing that the user reads."""
    percent = metrics["percent"]
    lines = [f"{'step':<34}seconds"]
    lines += [f"{name:<34}{value:7.0f}" for name, value in seconds.items()]
    lines += [f"{'altogether':<34}{sum(seconds.values()):7.0f}", ""]
    lines += [f"{'category':<34}    IoU"]
    for entry in metrics["categories"]:
        value = f"{entry['iou'] * 100:7.1f}" if entry["iou"] is not None else "      -"
        lines.append(f"{entry['name']:<34}{value}")
    lines += [
        f"{'mean (mIoU)':<34}{percent['mIoU']:7.1f}",
        f"{'pixel accuracy':<34}{percent['pACC']:7.1f}",
        f"on {metrics['images']} images of {metrics['data_set']}",
        "",
        f"Pictures with explanations: {output / 'pictures'} (overview.png first)",
        f"The same to browse: {output / 'report/index.html'}",
        "Your own image:",
        f"  python projects/ProLab/demo.py --weights {output / 'model_best.pth'} \\",
        "      --input IMAGE --explain 120,80 --heatmaps --output output/mine",
    ]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--config-file", default=CONFIG, help=f"default: {CONFIG}")
    result.add_argument("--output", type=Path, default=Path("output/demo"), metavar="FOLDER")
    result.add_argument("--pictures", type=int, default=4, help="images to explain (default: 4)")
    result.add_argument("opts", nargs="*", metavar="KEY VALUE", help="change config values")
    return result


@exit_cleanly
def main(argv: list[str] | None = None) -> None:
    args = parser().parse_args(argv)
    if args.pictures < 1:
        raise ProLabError(f"--pictures {args.pictures}: at least one image is explained")
    check_writable(args.output)
    setup_logger(name="prolab_d2")  # shows how far the drawing of scenes is
    cfg = load_config(args.config_file, args.opts)
    steps = Steps()
    with steps.step("draw or find the images"):
        resolve_datasets(cfg)
        for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
            print(f"{name}: {len(DatasetCatalog.get(name))} images")

    common = [TRAIN_NET, "--config-file", args.config_file]
    settings = ["OUTPUT_DIR", str(args.output), *args.opts]
    best = args.output / "model_best.pth"
    with steps.step("train"):
        run_command([*common, "--resume", *settings])
    with steps.step("evaluate the best checkpoint"):
        run_command([*common, "--eval-only", "MODEL.WEIGHTS", str(best), *settings])

    metrics = read_metrics(args.output, cfg.DATASETS.TEST[0])
    pixels = [entry["labelled_pixels"] for entry in metrics["categories"]]
    with steps.step("explain"):
        predictor = Predictor.from_checkpoint(best)
        predictor.require_properties()
        rarity = np.argsort(pixels, kind="stable").tolist()
        images = draw_pictures(predictor, cfg, args.output / "pictures", args.pictures, rarity)
        report = ["--input", *map(str, images), "--report", str(args.output / "report")]
        run_command([DEMO, "--weights", str(best), *report])
    print(summary(metrics, steps.seconds, args.output))


if __name__ == "__main__":
    sys.exit(main())
