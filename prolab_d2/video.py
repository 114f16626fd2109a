"""Videos and the webcam: frames in, overlays out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import cv2
import numpy as np
import tqdm

from prolab_d2.errors import ProLabError
from prolab_d2.predictor import Predictor

__all__ = ["CODECS", "open_capture", "segmented_frames", "write_video"]

# Codecs that OpenCV's own builds can write.
CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}


@contextmanager
def open_capture(video: str | None) -> Iterator[cv2.VideoCapture]:
    """A video file; the webcam without one.

    Raises:
        ProLabError: it cannot be opened.
    """
    if video is not None and not Path(video).is_file():
        raise ProLabError(f"video {video} does not exist: check the path")
    # OpenCV and FFmpeg would print lines of their own beside our sentence.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if hasattr(cv2, "setLogLevel"):  # OpenCV 4
        cv2.setLogLevel(0)
    else:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(0 if video is None else video)
    try:
        if not capture.isOpened():
            raise ProLabError(
                "no webcam can be opened: connect one, or use --video-input FILE"
                if video is None
                else f"video {video} cannot be read: it is damaged or of an unknown format"
            )
        yield capture
    finally:
        capture.release()


def segmented_frames(predictor: Predictor, capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Yields the overlay of frame after frame, RGB and of the size of the video."""
    total = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0) or None
    with tqdm.tqdm(total=total, unit=" frames", file=sys.stderr) as progress:
        while True:
            good, frame = capture.read()
            if not good:
                return
            prediction = predictor(np.ascontiguousarray(frame[:, :, ::-1]))
            yield prediction.draw(fit_screen=False, legend=False)
            progress.update()


def write_video(
    path: Path, frames: Iterable[np.ndarray], rate: float, size: tuple[int, int], endless: bool
) -> None:
    """Writes RGB frames of one size (width, height).

    Args:
        endless: an interrupt ends the video as planned, instead of giving it up.
    Raises:
        ProLabError: OpenCV has no encoder for the suffix.
    """
    codec = cv2.VideoWriter_fourcc(*CODECS[path.suffix.lower()])
    writer = cv2.VideoWriter(str(path), codec, rate, size)
    try:
        if not writer.isOpened():
            raise ProLabError(
                f"this build of OpenCV writes no {path.suffix}: let --output end in .avi"
            )
        with suppress(KeyboardInterrupt) if endless else nullcontext():
            for frame in frames:
                writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
    finally:
        writer.release()
