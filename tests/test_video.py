"""Videos as files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from prolab_d2.video import write_video


def test_an_interrupt_keeps_the_video_of_a_webcam(tmp_path: Path) -> None:
    def interrupted() -> Iterator[np.ndarray]:
        yield from [np.zeros((64, 80, 3), dtype=np.uint8)] * 3
        raise KeyboardInterrupt

    write_video(tmp_path / "webcam.avi", interrupted(), 10.0, (80, 64), endless=True)
    capture = cv2.VideoCapture(str(tmp_path / "webcam.avi"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "video.avi", interrupted(), 10.0, (80, 64), endless=False)
