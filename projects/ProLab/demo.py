#!/usr/bin/env python3
"""Segments images, videos or a webcam, and says which properties are behind a pixel.

Examples:
    demo.py --weights output/model_best.pth --input street.jpg --output street_overlay.png
    demo.py --weights output/model_best.pth --input photos/ 'more/*.jpg' --output overlays/
    demo.py --weights output/model_best.pth --input street.jpg --explain 120,80 --heatmaps \\
        --output explained/
    demo.py --weights output/model_best.pth --input street.jpg --explain 120,80 --against fence \\
        --sheet --output explained/
    demo.py --weights output/model_best.pth --input street.jpg --output new.png \\
        --vocabulary "a red letter box; a person on a bicycle: sits on two wheels, wears a helmet"
    demo.py --weights output/model_best.pth --input photos/ --report report/
    demo.py --weights output/model_best.pth --video-input drive.mp4 --output drive_overlay.mp4
    demo.py --weights output/model_best.pth --webcam
"""

from __future__ import annotations

import argparse
import glob
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from prolab_d2.canvas import save_picture
from prolab_d2.data import register_folder
from prolab_d2.data.datasets.folder import IMAGE_SUFFIXES
from prolab_d2.device import tune_cpu
from prolab_d2.engine import load_config
from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.evaluation.stacking import choose_stacking
from prolab_d2.files import atomic_path, check_writable
from prolab_d2.label_space.descriptions import Descriptions
from prolab_d2.label_space.growing import describe_extension
from prolab_d2.label_space.vocabulary import parse_vocabulary
from prolab_d2.predictor import Prediction, Predictor
from prolab_d2.report import ReportWriter
from prolab_d2.video import CODECS, open_capture, segmented_frames, write_video

WINDOW = "ProLab"
ESCAPE = 27
# Not names of folders, and no pictures that images become.
OTHER_FORMATS = {*CODECS, *Image.registered_extensions()} - set(IMAGE_SUFFIXES)


def pixel(text: str) -> tuple[int, int]:
    """Reads "X,Y"."""
    try:
        x, y = map(int, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no pixel: write X,Y such as 120,80"
        ) from None
    return x, y


def parser() -> argparse.ArgumentParser:
    """The options of Detectron2's demo where they mean the same, and this project's own."""
    result = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = result.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--input", nargs="+", metavar="PATH", help="images, folders of images, or patterns"
    )
    source.add_argument("--video-input", metavar="FILE", help="a video file")
    source.add_argument("--webcam", action="store_true", help="the webcam, until Esc or Ctrl-C")
    result.add_argument(
        "--weights",
        metavar="FILE",
        help="checkpoint written by train_net.py; it holds config and label space, too "
        "(default: MODEL.WEIGHTS of --opts or of --config-file)",
    )
    result.add_argument(
        "--config-file", metavar="FILE", help="read instead of the config in the checkpoint"
    )
    result.add_argument(
        "--output",
        metavar="PATH",
        help="a file, or a folder that gets a picture for every image; shown in a window without",
    )
    result.add_argument(
        "--explain",
        type=pixel,
        metavar="X,Y",
        help="print the properties behind this pixel (column, row), and draw them beside the image",
    )
    result.add_argument(
        "--against",
        metavar="CATEGORY",
        help="with --explain: say and draw why the pixel's segment is not this category",
    )
    result.add_argument(
        "--sheet",
        action="store_true",
        help="also save <name>_sheet.png: overlay, heat maps, evidence and a contrast on one sheet",
    )
    result.add_argument(
        "--heatmaps",
        action="store_true",
        help="also save <name>_properties.png: property heat maps",
    )
    result.add_argument(
        "--vocabulary",
        metavar="TEXT",
        help="more categories in words: 'category; category: sentence, sentence'; without "
        "sentences the name is the sentence",
    )
    result.add_argument(
        "--only-vocabulary",
        action="store_true",
        help="segment into the categories of --vocabulary alone; trained ones may be among them",
    )
    result.add_argument(
        "--stacking",
        metavar="DATASET",
        help="give new categories a chance against the trained ones by offsets to their scores, "
        "chosen on 100 images that the network was trained on: name their data set, such as "
        "scenes_sem_seg_train, or its folder, whose split train is taken",
    )
    result.add_argument(
        "--encoder",
        metavar="ENCODER",
        help="where the sentence encoder of the label space is now, for --vocabulary (default: "
        "where it was when the label space was made)",
    )
    result.add_argument(
        "--report",
        metavar="DIR",
        help="write DIR/index.html: all images with the reasons for every category, on one page "
        "that needs nothing else; no window opens, and without --output no other file is written",
    )
    result.add_argument("--device", help="cpu, cuda, ... (default: a GPU where there is one)")
    result.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="change config values; must come last",
    )
    return result


@dataclass(frozen=True)
class Job:
    """One image and the place of its picture (None: a window)."""

    image: Path
    output: Path | None


def find_images(inputs: list[str]) -> list[Path]:
    """The image files that paths, folders (without their subfolders) and patterns stand for.

    Raises:
        ProLabError: one that stands for no image.
    """
    found: list[Path] = []
    for text in inputs:
        path = Path(text).expanduser()
        if path.is_dir():
            files = [file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
            if not files:
                raise ProLabError(f"folder {text} holds no images: give another one")
        elif path.is_file():
            files = [path]
        else:
            files = [Path(p) for p in glob.glob(str(path), recursive=True) if os.path.isfile(p)]
            if not files:
                raise ProLabError(f"no image matches {text}: check the path or the pattern")
        found += sorted(files)
    return found


def plan(inputs: list[str], output: str | None) -> list[Job]:
    """Where the picture of every image goes; nothing is written yet.

    Raises:
        ProLabError: no image, two images for one picture, a picture in place of its image, or
            an output that cannot be written.
    """
    images = find_images(inputs)
    if output is None:
        return [Job(image, None) for image in images]
    target = Path(output).expanduser()
    if target.suffix.lower() in OTHER_FORMATS and not target.is_dir():
        raise ProLabError(f"cannot write {output}: use one of {', '.join(IMAGE_SUFFIXES)}")
    is_file = target.suffix.lower() in IMAGE_SUFFIXES and not target.is_dir()
    if is_file and len(images) > 1:
        raise ProLabError(f"{len(images)} images, but --output {output} is one file: name a folder")
    jobs = [Job(image, target if is_file else target / picture_name(image)) for image in images]
    taken: dict[Path, Path] = {}
    for job in jobs:
        if job.output.resolve() == job.image.resolve():
            raise ProLabError(f"--output would overwrite the image {job.image}: name another place")
        other = taken.setdefault(job.output, job.image)
        if other != job.image:
            raise ProLabError(
                f"{other} and {job.image} would both become {job.output}: run them one by one"
            )
    check_writable(target.parent if is_file else target)
    return jobs


def picture_name(image: Path) -> str:
    return image.name if image.suffix.lower() in IMAGE_SUFFIXES else f"{image.name}.png"


def run_images(
    predictor: Predictor, jobs: list[Job], args: argparse.Namespace, report: ReportWriter | None
) -> int:
    """Segments all images; one that cannot be used is reported, and the others are still done.

    Returns:
        How many could not be used.
    Raises:
        ProLabError: the only image could not be used.
    """
    failed = 0
    for job, name in zip(jobs, names_of(jobs), strict=True):
        try:
            go_on = run_image(predictor, job, args, name, report)
        except ProLabError as error:
            if len(jobs) == 1:
                raise
            print(f"error: {error}", file=sys.stderr)
            if report is not None:
                report.add_failure(name, str(error))
            failed += 1
            continue
        if not go_on:
            break
    return failed


def names_of(jobs: list[Job]) -> list[str]:
    """What a report calls the images: file names, paths where files of one name are among them."""
    names = [job.image.name for job in jobs]
    return names if len(set(names)) == len(names) else [str(job.image) for job in jobs]


def run_image(
    predictor: Predictor,
    job: Job,
    args: argparse.Namespace,
    name: str,
    report: ReportWriter | None,
) -> bool:
    """Segments one image; False when the user wants to see no more of them."""
    start = time.perf_counter()
    prediction = predictor(job.image)
    seconds = time.perf_counter() - start
    if report is not None:
        report.add(name, prediction)
        if job.output is None:
            print(f"{job.image}: {seconds:.2f} s; {summary(prediction)}")
            return True
    picture = explained(prediction, args)
    more = {}
    if args.heatmaps:
        more["properties"] = prediction.draw_properties()
    if args.sheet:
        more["sheet"] = prediction.draw_sheet(job.image.name)
    if job.output is None:
        print(f"{job.image}: {seconds:.2f} s; {summary(prediction)}")
        return all(show(p, wait=0) for p in (picture, *more.values()))
    save_picture(picture, job.output)
    for kind, drawn in more.items():
        save_picture(drawn, job.output.with_name(f"{job.output.stem}_{kind}.png"))
    print(f"{job.image} -> {job.output}: {seconds:.2f} s; {summary(prediction)}")
    return True


def explained(prediction: Prediction, args: argparse.Namespace) -> np.ndarray:
    """The overlay, with what --explain and --against ask for, which is also printed."""
    if args.explain is None:
        return prediction.draw()
    x, y = args.explain
    if args.against is None:
        print(prediction.explain(x, y).describe())
        return prediction.draw_explanation(x, y)
    segment = prediction.segment(x, y)
    print(prediction.contrast(segment, other=args.against).describe())
    print(prediction.changes(segment, args.against).describe())
    return prediction.draw_contrast(segment, f"segment at pixel {x}, {y}", other=args.against)


def summary(prediction: Prediction, top: int = 3) -> str:
    """The largest categories, such as "road 41 %, sky 22 %"."""
    counts = np.bincount(prediction.labels.ravel(), minlength=len(prediction.categories))
    largest = np.argsort(-counts, kind="stable")[:top]
    share = 100 / prediction.labels.size
    return ", ".join(f"{prediction.categories[i]} {share * counts[i]:.0f} %" for i in largest)


def check_display() -> None:
    """Raises a `ProLabError` where no window can open."""
    # Without a display server OpenCV's window system ends the process, with no error to catch.
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        raise ProLabError("there is no display to open a window on: add --output PATH")


def show(picture: np.ndarray, wait: int) -> bool:
    """Shows an RGB picture until a key (or for `wait` ms); False after Esc.

    Raises:
        ProLabError: this OpenCV has no windows.
    """
    try:
        cv2.namedWindow(WINDOW, cv2.WINDOW_NORMAL)
        cv2.imshow(WINDOW, picture[:, :, ::-1])
        return cv2.waitKey(wait) != ESCAPE
    except cv2.error as error:
        raise ProLabError(
            "this build of OpenCV opens no windows: add --output PATH, or install opencv-python in "
            "place of opencv-python-headless"
        ) from error


def run_video(
    predictor: Predictor, capture: cv2.VideoCapture, video: str | None, output: Path | None
) -> None:
    """Segments every frame of a video or of the webcam, into a file or a window.

    Raises:
        ProLabError: no frame, or a file that cannot be written.
    """
    frames = segmented_frames(predictor, capture)
    first = next(frames, None)
    if first is None:
        raise ProLabError(f"{video or 'the webcam'} gives no picture: use another one")
    frames = chain([first], frames)
    if output is None:
        all(show(frame, wait=1) for frame in frames)
        return
    rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
    with atomic_path(output) as temporary:
        write_video(temporary, frames, rate, first.shape[1::-1], endless=video is None)
    print(f"{video or 'webcam'} -> {output}")


def video_output(source: str | None, output: str | None) -> Path | None:
    """The file for the video; a folder gets one of the same name.

    Raises:
        ProLabError: an unknown kind of video, or a place that cannot be written to.
    """
    if output is None:
        return None
    path = Path(output).expanduser()
    if path.is_dir() or not path.suffix:
        path = path / f"{Path(source).stem if source else 'webcam'}.mp4"
    if path.suffix.lower() not in CODECS:
        raise ProLabError(f"cannot write {path} as a video: use one of {', '.join(CODECS)}")
    if source and path.resolve() == Path(source).resolve():
        raise ProLabError(f"--output would overwrite the video {source}: name another place")
    check_writable(path.parent)
    return path


def find_weights(args: argparse.Namespace) -> str:
    """The checkpoint that the arguments name.

    Raises:
        ProLabError: none of them does.
    """
    weights = args.weights or load_config(args.config_file, args.opts).MODEL.WEIGHTS
    if not weights:
        raise ProLabError("no checkpoint is named: add --weights FILE, written by train_net.py")
    return weights


def with_vocabulary(predictor: Predictor, new: Descriptions, args: argparse.Namespace) -> Predictor:
    """The predictor with the typed categories; prints what became of their sentences."""
    result = predictor.with_vocabulary(new, args.encoder, only=args.only_vocabulary)
    grown = result.label_space.provenance.get("extensions", ())
    if len(grown) > len(predictor.label_space.provenance.get("extensions", ())):
        print(describe_extension(result.label_space))
    if args.stacking is not None:
        result = stacked(result, args.stacking)
    return result


def stacked(predictor: Predictor, data_set: str) -> Predictor:
    """The predictor with offsets for its new categories; prints them.

    Raises:
        ProLabError: no such data set, or it says nothing about these categories.
    """
    if os.path.isdir(data_set):
        splits = register_folder(data_set)
        if "train" not in splits:
            raise ProLabError(
                f"{data_set} has no folder images/train: give the data set of the training"
            )
        data_set = splits["train"]
    found = choose_stacking(predictor, predictor.trained_as, [data_set])
    print(found.describe())
    return predictor.with_category_offsets(found.for_categories(predictor.label_space.categories))


@exit_cleanly
def main(argv: list[str] | None = None) -> None:
    args = parser().parse_args(argv)
    tune_cpu()
    is_video = args.input is None
    wants_properties = args.explain is not None or args.heatmaps or args.sheet or args.report
    if is_video and wants_properties:
        raise ProLabError(
            "--explain, --heatmaps, --sheet and --report work on images: use --input instead"
        )
    if args.against is not None and args.explain is None:
        raise ProLabError("--against needs a place: add --explain X,Y")
    if args.vocabulary is None and (args.only_vocabulary or args.encoder or args.stacking):
        raise ProLabError(
            "--only-vocabulary, --encoder and --stacking need categories: add --vocabulary TEXT"
        )
    vocabulary = None if args.vocabulary is None else parse_vocabulary(args.vocabulary)
    if args.output is None and args.report is None:
        check_display()
    if args.report is not None:
        check_writable(args.report)
        if args.output is None and (args.explain is not None or args.heatmaps or args.sheet):
            raise ProLabError(
                "--explain, --heatmaps and --sheet draw pictures beside the report: say where with "
                "--output PATH"
            )
    with ExitStack() as stack:
        # All that can be wrong with the arguments comes before the seconds that a model needs.
        if is_video:
            output = video_output(args.video_input, args.output)
            capture = stack.enter_context(open_capture(args.video_input))
        else:
            jobs = plan(args.input, args.output)
        weights = find_weights(args)
        predictor = Predictor.from_checkpoint(
            weights, args.device, args.opts, config_file=args.config_file
        )
        if wants_properties:
            predictor.require_properties()
        if vocabulary is not None:
            predictor = with_vocabulary(predictor, vocabulary, args)
        if is_video:
            run_video(predictor, capture, args.video_input, output)
        else:
            report = None
            if args.report is not None:
                title = f"{len(jobs)} images explained" if len(jobs) > 1 else jobs[0].image.name
                writer = ReportWriter(args.report, title, predictor.label_space, names_of(jobs))
                report = stack.enter_context(writer)
            failed = run_images(predictor, jobs, args, report)
    if args.report is not None:
        print(f"report: {report.path}")
    if not is_video and failed:
        raise ProLabError(
            f"{failed} of {len(jobs)} images could not be used: see above; the others are done"
        )


if __name__ == "__main__":
    sys.exit(main())
