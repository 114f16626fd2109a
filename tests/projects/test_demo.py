"""The demo as a user calls it: options in, files, text and exit codes out."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from projects.ProLab import demo
from tests.conftest import make_tiny_cfg, save_tiny_checkpoint
from tests.refusals import fails


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_one_image_becomes_one_overlay(
    tiny_checkpoint: Path, photos: Path, tmp_path: Path, tuned: list[str]
) -> None:
    output = tmp_path / "new" / "overlay.png"
    image = str(photos / "a.png")
    args = ["--weights", str(tiny_checkpoint), "--input", image, "--output", str(output)]
    tuned.clear()
    assert demo.main(args) == 0
    assert tuned == ["_keep_few_primitives", "_keep_freed_memory"]
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


def test_help_has_an_example_to_paste(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        demo.main(["--help"])
    assert raised.value.code == 0
    assert "demo.py --weights output/model_best.pth --input" in capsys.readouterr().out
