"""The demo on videos, and its windows."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from projects.ProLab import demo
from tests.refusals import fails


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_a_video_becomes_a_video_of_the_same_size_and_length(
    tiny_checkpoint: Path, video: Path, tmp_path: Path, suffix: str
) -> None:
    output = tmp_path / "out" / f"overlay{suffix}"
    args = ["--weights", str(tiny_checkpoint), "--video-input", str(video)]
    assert demo.main([*args, "--output", str(output)]) == 0
    capture = cv2.VideoCapture(str(output))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    assert len(frames) == 5
    assert frames[0].shape == (64, 80, 3)
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(12.0)
    original = cv2.VideoCapture(str(video)).read()[1]
    assert np.abs(frames[0].astype(int) - original).mean() > 5  # colours lie over it
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_a_video_into_a_folder_keeps_its_name(
    tiny_checkpoint: Path, video: Path, tmp_path: Path
) -> None:
    args = ["--weights", str(tiny_checkpoint), "--video-input", str(video)]
    assert demo.main([*args, "--output", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "drive.mp4").stat().st_size > 0


def test_pictures_are_shown_in_a_window_until_escape(
    tiny_checkpoint: Path,
    photos: Path,
    video: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[np.ndarray] = []
    keys = iter([ord("n"), 27] * 2)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(demo.cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(demo.cv2, "imshow", lambda _, picture: shown.append(picture))
    monkeypatch.setattr(demo.cv2, "waitKey", lambda _: next(keys))
    assert demo.main(["--weights", str(tiny_checkpoint), "--input", str(photos)]) == 0
    assert len(shown) == 2
    assert demo.main(["--weights", str(tiny_checkpoint), "--video-input", str(video)]) == 0
    assert [picture.shape for picture in shown[2:]] == [(64, 80, 3)] * 2


def test_without_display_and_output_the_demo_says_what_to_do(
    tiny_checkpoint: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(demo.sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    args = ["--weights", str(tiny_checkpoint), "--input", str(photos)]
    fails(capsys, demo.main(args), "no display", "--output")


def test_an_opencv_without_windows_is_one_sentence(
    tiny_checkpoint: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no_window(*_: object) -> None:
        raise cv2.error("The function is not implemented")

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(demo.cv2, "namedWindow", no_window)
    args = ["--weights", str(tiny_checkpoint), "--input", str(photos / "a.png")]
    fails(capsys, demo.main(args), "opens no windows", "--output")


def test_videos_that_cannot_be_used_are_one_sentence(
    tiny_checkpoint: Path,
    video: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    kept = tmp_path / "kept.mp4"
    kept.write_text("kept")
    start = ["--weights", str(tiny_checkpoint), "--video-input"]
    for args, words in (
        ([str(tmp_path / "missing.mp4"), "--output", str(kept)], ["does not exist"]),
        ([str(broken), "--output", str(kept)], ["broken.mp4", "cannot be read"]),
        ([str(video), "--output", str(tmp_path / "out.txt")], [".mp4, .avi"]),
        ([str(video), "--output", str(video)], ["would overwrite"]),
        ([str(video), "--output", str(kept / "out.avi")], ["cannot write"]),
        ([str(video), "--output", str(kept), "--explain", "1,1"], ["use --input"]),
    ):
        fails(capsys, demo.main([*start, *args]), *words)
    assert kept.read_text() == "kept"
