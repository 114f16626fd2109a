"""Pascal Context: its annotation file and its label maps, for 59 and for 459 categories."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from pycocotools import mask as rle
from scipy.io import savemat

from prolab_d2.data import register_all
from prolab_d2.data.preparation import pascal_context
from tests.tools.downloads import Files, jpeg, read, shrink, unpack, write_tar
from tools.check_dataset import main as check
from tools.prepare_datasets import pascal_context_59, pascal_context_459

# The numbers that everybody's conversion of the annotation file uses for the 59 categories, in
# order (Detail API, "eval_orders").
NUMBERS_59 = [
    2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113,
    115, 144, 158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326,
    347, 349, 354, 355, 360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458,
]  # fmt: skip
NAMES = {"train": ("2008_000002", "2008_000008"), "val": ("2008_000003", "2008_000007")}
MAP = np.array([[0, 1, 2, 18, 256, 257, 431, 454, 458, 459]], np.uint16)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    register_all()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    shrink(monkeypatch, pascal_context_59, 2, "SPLITS_59")
    shrink(monkeypatch, pascal_context_459, 2, "SPLITS_459")
    return tmp_path


def voc_2010(size: tuple[int, int] = MAP.shape) -> Files:
    files: Files = {}
    for split, names in NAMES.items():
        text = "".join(f"{name}\n" for name in names)
        files[f"VOCdevkit/VOC2010/ImageSets/Main/{split}.txt"] = text.encode()
        for name in names:
            files[f"VOCdevkit/VOC2010/JPEGImages/{name}.jpg"] = jpeg(0, size)
    return files


def label_maps(labels: np.ndarray = MAP) -> Files:
    """Members of trainval.tar.gz: compressed MATLAB files with a uint16 matrix."""
    buffer = io.BytesIO()
    savemat(buffer, {"LabelMap": labels}, do_compression=True)
    return {f"trainval/{name}.mat": buffer.getvalue() for names in NAMES.values() for name in names}


def segment(image_id: int, number: int, pixels: np.ndarray) -> dict[str, Any]:
    """An entry of annos_segmentation, as Detail API reads it."""
    code = rle.encode(np.asfortranarray(pixels.astype(np.uint8)))
    return {
        "id": image_id * 100 + number,
        "image_id": image_id,
        "category_id": number,
        "segmentation": {"size": list(code["size"]), "counts": code["counts"].decode()},
        "area": int(pixels.sum()),
        "iscrowd": 0,
        "bbox": [0, 0, 1, 1],
        "parts": [],
    }


def detail(labels: np.ndarray, extra: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """trainval_merged.json: the same labels for every image."""
    images, segments = [], []
    for split, names in NAMES.items():
        for name in names:
            image_id = int(name.replace("_", ""))
            images.append(
                {
                    "file_name": f"{name}.jpg",
                    "phase": split,
                    "height": labels.shape[0],
                    "width": labels.shape[1],
                    "date_captured": "31-Oct-2017 17:55:46",
                    "image_id": image_id,
                }
            )
            segments += [
                segment(image_id, int(number), labels == number)
                for number in np.unique(labels[labels > 0])
            ]
    # The file's order of keys: what is needed comes before and after what is not.
    return {
        "info": {"description": "[trainval] of {PASCAL in Detail}, 1.0", "year": 2017},
        "annos_segmentation": segments + (extra or []),
        "images": images,
        "annos_boundary": [{"image_id": 2008000002, "boundary_mask": {"counts": "]},{["}}],
        "parts": [{"part_id": 1, "name": "head"}],
        "categories": [{"category_id": 2, "name": "aeroplane", "onlysemantic": 0}],
        "annos_joints": [],
    }


def write_detail(root: Path, content: dict[str, Any], **options: Any) -> Path:
    path = root / "trainval_merged.json"
    path.write_text(json.dumps(content, **options))
    return path


def labels_59() -> np.ndarray:
    """All 59 numbers, and 0 at the end."""
    return np.array([[*NUMBERS_59, 0]], np.uint16)


def test_numbers_of_the_59_categories_are_those_of_the_literature() -> None:
    ids = pascal_context.label_ids("pascal_context_59")
    labels = ids.decode(np.arange(460, dtype=np.uint16)[None], "")[0]
    assert np.flatnonzero(labels != 255).tolist() == NUMBERS_59
    assert labels[NUMBERS_59].tolist() == list(range(59))


@pytest.mark.parametrize("options", [{}, {"indent": 2}, {"separators": (",", ":")}])
def test_the_annotation_file_gives_59_categories_and_the_split(root: Path, options) -> None:
    write_tar(root / "VOCtrainval_03-May-2010.tar", voc_2010((1, 60)))
    write_detail(root, detail(labels_59()), **options)
    assert pascal_context_59.main([]) == 0
    for split, names in NAMES.items():
        entries = DatasetCatalog.get(f"pascal_context_59_sem_seg_{split}")
        assert [entry["image_id"] for entry in entries] == list(names)
        for entry in entries:
            assert read(entry["sem_seg_file_name"])[0].tolist() == [*range(59), 255]
    assert check(["pascal_context_59"]) == 0


def test_later_segments_lie_on_top(root: Path) -> None:
    write_tar(root / "VOCtrainval_03-May-2010.tar", voc_2010((1, 4)))
    labels = np.array([[2, 2, 2, 0]], np.uint16)
    late = segment(2008000002, 458, np.array([[0, 1, 0, 1]]))
    write_detail(root, detail(labels, [late]))
    assert pascal_context_59.main([]) == 0
    (first, second) = DatasetCatalog.get("pascal_context_59_sem_seg_train")
    assert read(first["sem_seg_file_name"])[0].tolist() == [0, 58, 0, 58]
    assert read(second["sem_seg_file_name"])[0].tolist() == [0, 0, 0, 255]


def test_label_maps_do_as_well_and_say_the_same(root: Path) -> None:
    write_tar(root / "VOCtrainval_03-May-2010.tar", voc_2010())
    write_tar(root / "trainval.tar.gz", label_maps(), "w:gz")
    assert pascal_context_59.main([]) == 0
    entry = DatasetCatalog.get("pascal_context_59_sem_seg_val")[0]
    labels = read(entry["sem_seg_file_name"])[0].tolist()
    names = MetadataCatalog.get("pascal_context_59_sem_seg_val").stuff_classes
    found = {int(n): names[i] for n, i in zip(MAP[0], labels, strict=True) if i != 255}
    assert found == {2: "aeroplane", 18: "bed", 454: "window", 458: "wood"}


@pytest.mark.parametrize("unpacked", [False, True], ids=["archive", "unpacked"])
def test_459_categories_are_16_bit_with_65535_for_unlabelled(root: Path, unpacked: bool) -> None:
    if unpacked:
        unpack(root, voc_2010())
        unpack(root / "VOCdevkit/VOC2010", label_maps())
    else:
        write_tar(root / "VOCtrainval_03-May-2010.tar", voc_2010())
        write_tar(root / "trainval.tar.gz", label_maps(), "w:gz")
    assert pascal_context_459.main([]) == 0
    for split, names in NAMES.items():
        entries = DatasetCatalog.get(f"pascal_context_459_sem_seg_{split}")
        assert [entry["image_id"] for entry in entries] == list(names)
        with Image.open(entries[0]["sem_seg_file_name"]) as image:
            assert image.format == "PNG" and image.mode == "I;16"
        labels = read(entries[0]["sem_seg_file_name"])[0].tolist()
        assert labels == [65535, 0, 1, 17, 255, 256, 430, 453, 457, 458]
    names = MetadataCatalog.get("pascal_context_459_sem_seg_val").stuff_classes
    assert (names[0], names[430], names[458]) == ("accordion", "unknown", "wool")
    assert check(["pascal_context_459"]) == 0


def test_nothing_there_names_both_forms_of_the_annotations(root: Path, capsys) -> None:
    write_tar(root / "VOCtrainval_03-May-2010.tar", voc_2010())
    assert pascal_context_59.main([]) == 2
    out, err = capsys.readouterr()
    assert "neither trainval.tar.gz nor" in err and "or trainval_merged.json from" in err
    assert f"VOCtrainval_03-May-2010.tar (found: {root}" in out
    assert pascal_context_459.main([]) == 2
    assert "trainval_merged.json" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    ['{"images": [{"image_id": 1}]}', '{"images": [', "[1, 2]", "", '{"images": 3 "a": 4}'],
    ids=["other keys", "cut off", "no object", "empty", "no comma"],
)
def test_another_json_file_is_refused(root: Path, capsys, text: str) -> None:
    write_tar(root / "VOCtrainval_03-May-2010.tar", voc_2010())
    path = root / "trainval_merged.json"
    path.write_text(text)
    assert pascal_context_59.main([]) == 2
    err = capsys.readouterr().err
    assert f"{path}: download" in err and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"no MATLAB file", "no readable LabelMap"),
        (label_maps(np.array([[460]], np.uint16))["trainval/2008_000003.mat"], "label id 460"),
    ],
    ids=["damaged", "other numbers"],
)
def test_a_wrong_label_map_is_named(root: Path, capsys, content: bytes, sentence: str) -> None:
    write_tar(root / "VOCtrainval_03-May-2010.tar", voc_2010())
    maps = label_maps() | {"trainval/2008_000003.mat": content}
    write_tar(root / "trainval.tar.gz", maps, "w:gz")
    assert pascal_context_459.main([]) == 2
    err = capsys.readouterr().err
    assert sentence in err and "trainval/2008_000003.mat" in err
