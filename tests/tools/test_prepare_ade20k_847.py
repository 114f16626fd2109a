"""ADE20K with 847 categories: colours that code objects, 16-bit masks, pictures made smaller."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from prolab_d2.data import register_all
from prolab_d2.data.reading import LabelIds, read_sem_seg
from tests.tools.downloads import Files, jpeg, png, read, shrink, unpack, write_zip
from tools.check_dataset import main as check
from tools.prepare_datasets import ade20k_847

# Index in the release's list of objects -> name of the category.
OBJECTS = {
    2978: "wall", 312: "building, edifice", 6: "ad, advertisement, advertizement, advertising, "
    "advertizing, advert", 3156: "alga, algae", 1857: "pier", 2315: "shanties",
    3148: "adding machine, totalizer, totaliser",
}  # fmt: skip
NOT_A_CATEGORY = 1  # "-" in the list of objects
TRAIN = "ADE20K_2021_17_01/images/ADE/training/urban/street/ADE_train_0001686{}{}"
VAL = "ADE20K_2021_17_01/images/ADE/validation/home_or_hotel/bedroom/ADE_val_0000015{}{}"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    register_all()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    shrink(monkeypatch, ade20k_847, 2, "SPLITS")
    return tmp_path


def coded(objects: np.ndarray) -> np.ndarray:
    """(H, W) indices -> (H, W, 3) colours: red in tens of 256, green the rest, blue the instance.

    The last digit of red is no part of the index.
    """
    instances = np.arange(objects.size).reshape(objects.shape) % 256
    red = objects // 256 * 10 + instances % 6
    return np.stack([red, objects % 256, instances], axis=-1).astype(np.uint8)


def release(objects: np.ndarray) -> Files:
    files: Files = {"ADE20K_2021_17_01/index_ade20k.pkl": b"", "ADE20K_2021_17_01/objects.txt": b""}
    for form in (TRAIN, VAL):
        for number in (1, 2):
            files[form.format(number, ".jpg")] = jpeg(number, objects.shape)
            files[form.format(number, "_seg.png")] = png(coded(objects))
            files[form.format(number, "_parts_1.png")] = png(coded(objects))
            files[form.format(number, ".json")] = b"{}"
            files[form.format(number, "/instance_000_ADE.png")] = png(coded(objects))
    return files


@pytest.mark.parametrize("unpacked", [False, True], ids=["archive", "unpacked"])
def test_colours_become_16_bit_categories(root: Path, unpacked: bool) -> None:
    objects = np.array([[0, NOT_A_CATEGORY, *OBJECTS]])
    if unpacked:
        unpack(root, release(objects))
    else:
        write_zip(root / "ADE20K_2021_17_01.zip", release(objects))
    assert ade20k_847.main([]) == 0
    for split, stem in (("train", "ADE_train_0001686"), ("val", "ADE_val_0000015")):
        name = f"ade20k_847_sem_seg_{split}"
        entries = DatasetCatalog.get(name)
        assert [entry["image_id"] for entry in entries] == [f"{stem}1", f"{stem}2"]
        categories = MetadataCatalog.get(name).stuff_classes
        with Image.open(entries[0]["sem_seg_file_name"]) as image:
            assert image.format == "PNG" and image.mode == "I;16"
        labels = read(entries[0]["sem_seg_file_name"])
        assert labels[0, :2].tolist() == [65535, 65535]
        assert [categories[label] for label in labels[0, 2:]] == list(OBJECTS.values())
        # 255 is a category here and stays one.
        ids = read_sem_seg(
            entries[0]["sem_seg_file_name"], LabelIds.from_metadata(MetadataCatalog.get(name))
        )
        np.testing.assert_array_equal(ids, labels)
        assert 255 in labels and 256 in labels
        assert Path(entries[1]["file_name"]).read_bytes() == jpeg(2, (1, 9))
    assert check(["ade20k_847"]) == 0


def test_objects_are_847_different_ones() -> None:
    assert len(ade20k_847.OBJECTS) == len(set(ade20k_847.OBJECTS)) == 847
    assert 0 not in ade20k_847.OBJECTS and max(ade20k_847.OBJECTS) == 3156


@pytest.mark.parametrize(
    ("size", "reduced"),
    [
        ((512, 683), (512, 683)),
        ((683, 512), (683, 512)),
        ((1024, 1536), (512, 768)),
        ((1536, 1024), (768, 512)),
        ((600, 600), (512, 512)),
        ((300, 2000), (300, 2000)),
    ],
)
def test_the_shorter_side_is_at_most_512(size, reduced) -> None:
    assert ade20k_847.reduced_size(size) == reduced


def test_large_pictures_and_their_masks_are_made_smaller_alike(root: Path, monkeypatch) -> None:
    monkeypatch.setattr(ade20k_847, "SHORTER_SIDE", 4)
    objects = np.repeat(np.repeat(np.array([[2978, 312, 6], [1857, 0, 3156]]), 4, 0), 4, 1)
    files = release(objects)
    files[VAL.format(1, ".jpg")] = jpeg(np.full((*objects.shape, 3), (200, 80, 20), np.uint8))
    write_zip(root / "ADE20K_2021_17_01.zip", files)
    assert ade20k_847.main(["--splits", "val"]) == 0
    entry = DatasetCatalog.get("ade20k_847_sem_seg_val")[0]
    labels = read(entry["sem_seg_file_name"])
    places = {index: place for place, index in enumerate(ade20k_847.OBJECTS)}
    small = np.repeat(np.repeat(np.array([[2978, 312, 6], [1857, 0, 3156]]), 2, 0), 2, 1)
    np.testing.assert_array_equal(labels, np.vectorize(lambda i: places.get(i, 65535))(small))
    with Image.open(entry["file_name"]) as image:
        assert image.size == (6, 4) and image.mode == "RGB"
        pixels = np.asarray(image).astype(int)
    assert np.abs(pixels - (200, 80, 20)).max() < 8
