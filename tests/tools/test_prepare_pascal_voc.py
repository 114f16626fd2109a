"""Pascal VOC: background and the border of 255, in both forms."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from prolab_d2.data import register_all
from tests.tools.downloads import Files, ids, jpeg, png, read, shrink, unpack, write_tar
from tools.check_dataset import main as check
from tools.prepare_datasets import pascal_voc

TRAIN, VAL = ("2007_000032", "2007_000039"), ("2007_000033", "2007_000042")
MASK = ids(*range(21), 255)


def color_map() -> list[int]:
    """The data set's palette: the bits of an index, dealt out to red, green and blue."""
    palette = []
    for index in range(256):
        color = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                color[channel] |= ((index >> (3 * (bit // 3) + channel)) & 1) << (7 - bit // 3)
            if bit % 3 == 2:
                continue
        palette += color
    return palette


def release() -> Files:
    files: Files = {
        f"VOCdevkit/VOC2012/JPEGImages/{name}.jpg": jpeg(0)
        for name in (*TRAIN, *VAL, "2007_000027")
    }
    for name in (*TRAIN, *VAL):
        files[f"VOCdevkit/VOC2012/SegmentationClass/{name}.png"] = png(MASK, color_map())
        files[f"VOCdevkit/VOC2012/SegmentationObject/{name}.png"] = png(MASK, color_map())
    for split, names in (("train", TRAIN), ("val", VAL), ("trainval", TRAIN + VAL)):
        text = "".join(f"{name}\n" for name in names)
        files[f"VOCdevkit/VOC2012/ImageSets/Segmentation/{split}.txt"] = text.encode()
    return files


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    register_all()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    for name in ("SPLITS_20", "SPLITS_21"):
        shrink(monkeypatch, pascal_voc, 2, name)
    return tmp_path


def test_the_miniature_has_a_palette_as_the_masks_of_the_release() -> None:
    with Image.open(io.BytesIO(png(MASK, color_map()))) as image:
        assert image.mode == "P"
        palette = image.getpalette()
    colors = MetadataCatalog.get("voc_21_sem_seg_val").stuff_colors
    assert [palette[3 * i : 3 * i + 3] for i in range(21)] == colors


@pytest.mark.parametrize("unpacked", [False, True], ids=["archive", "unpacked"])
def test_background_is_left_out_or_category_0_and_the_border_unlabelled(
    root: Path, unpacked: bool
) -> None:
    if unpacked:
        unpack(root, release())
    else:
        write_tar(root / "VOCtrainval_11-May-2012.tar", release())
    assert pascal_voc.main([]) == 0
    for split, names in (("train", TRAIN), ("val", VAL)):
        for form, expected in (
            ("voc_20", ids(255, *range(20), 255)),
            ("voc_21", ids(*range(21), 255)),
        ):
            entries = DatasetCatalog.get(f"{form}_sem_seg_{split}")
            assert [entry["image_id"] for entry in entries] == list(names)
            for entry in entries:
                np.testing.assert_array_equal(read(entry["sem_seg_file_name"]), expected)
                assert Path(entry["file_name"]).read_bytes() == jpeg(0)
    assert check(["voc_20"]) == check(["voc_21"]) == 0
    # An image without a mask is taken from the archive by no split.
    assert (root / "VOCdevkit/VOC2012/JPEGImages/2007_000027.jpg").exists() == unpacked


def test_a_truncated_archive_is_named(root: Path, capsys) -> None:
    path = write_tar(root / "VOCtrainval_11-May-2012.tar", release())
    path.write_bytes(path.read_bytes()[:-20_000])
    assert pascal_voc.main([]) == 2
    err = capsys.readouterr().err
    assert str(path) in err and ("download" in err) and len(err.strip().splitlines()) == 1
