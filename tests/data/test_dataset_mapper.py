from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import (
    DatasetCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
)
from PIL import Image

from prolab_d2.config import add_prolab_config
from prolab_d2.data import LabelIds, PropertyDatasetMapper, PropertyTargets, register_folder
from prolab_d2.errors import ProLabError
from prolab_d2.label_space import LabelSpace
from tests.data.folders import CATEGORIES, labels, make_folder, photograph, save

SIGNATURES = np.array([[1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]], dtype=bool)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "mapped", {"train": 4, "val": 2})


@pytest.fixture
def cfg(folder: Path, tmp_path: Path) -> CfgNode:
    """A config for the folder and a label space of four properties."""
    names = register_folder(folder)
    space = LabelSpace.from_arrays(CATEGORIES, np.eye(4, 5, dtype=np.float32), SIGNATURES)
    space.save(tmp_path / "space")
    cfg = get_cfg()
    add_prolab_config(cfg)
    cfg.MODEL.PROLAB.LABEL_SPACE = str(tmp_path / "space")
    cfg.DATASETS.TRAIN = (names["train"],)
    cfg.DATASETS.TEST = (names["val"],)
    cfg.INPUT.MIN_SIZE_TRAIN = (24,)
    cfg.INPUT.MIN_SIZE_TEST = 48
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.CROP.TYPE = "absolute"
    cfg.INPUT.CROP.SIZE = [16, 16]
    cfg.DATALOADER.NUM_WORKERS = 0
    return cfg


def plain_mapper(is_train: bool = True, **options: Any) -> PropertyDatasetMapper:
    """No augmentation; works without a config."""
    options = {"label_ids": LabelIds(3, 255), "augmentations": [], **options}
    return PropertyDatasetMapper(is_train=is_train, **options)


def entry_of(folder: Path, stem: str = "000") -> dict[str, Any]:
    return {
        "file_name": str(folder / f"images/train/{stem}.png"),
        "sem_seg_file_name": str(folder / f"annotations/train/{stem}.png"),
        "image_id": stem,
    }


def test_training_samples_have_image_labels_and_targets(cfg: CfgNode) -> None:
    entry = DatasetCatalog.get(cfg.DATASETS.TRAIN[0])[1]
    before = dict(entry)
    np.random.seed(0)
    sample = PropertyDatasetMapper(cfg, True)(entry)
    assert entry == before
    assert sample["image"].shape[0] == 3 and sample["image"].dtype == torch.uint8
    assert max(sample["image"].shape[1:]) <= 16
    assert sample["sem_seg"].shape == sample["image"].shape[1:]
    assert sample["sem_seg"].dtype == torch.int64
    assert (sample["height"], sample["width"]) == (24, 32)
    assert sample["file_name"] == entry["file_name"]
    targets = sample["property_targets"]
    assert isinstance(targets, PropertyTargets)
    assert torch.equal(targets.mask, sample["sem_seg"])
    expected = torch.zeros(4, *sample["sem_seg"].shape)
    for category, row in enumerate(SIGNATURES):
        expected[torch.tensor(row)] += (sample["sem_seg"] == category).float()
    assert torch.equal(targets.multi_hot(), expected)


def test_test_samples_have_the_test_size_and_labels_of_the_original_size(cfg: CfgNode) -> None:
    entry = DatasetCatalog.get(cfg.DATASETS.TEST[0])[0]
    sample = PropertyDatasetMapper(cfg, False)(entry)
    assert sample["image"].shape == (3, 48, 64)
    assert (sample["height"], sample["width"]) == (24, 32)
    assert np.array_equal(sample["sem_seg"].numpy(), labels(0))
    cfg.INPUT.MIN_SIZE_TEST = 0
    kept = PropertyDatasetMapper(cfg, False)(entry)
    assert np.array_equal(kept["image"].numpy(), photograph(0).transpose(2, 0, 1))


def test_test_time_augmentation_gives_scaled_and_mirrored_views(cfg: CfgNode) -> None:
    cfg.merge_from_list(["TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", (12, 36)])
    cfg.merge_from_list(["INPUT.MIN_SIZE_TEST", 24, "INPUT.MAX_SIZE_TEST", 30])
    entry = DatasetCatalog.get(cfg.DATASETS.TEST[0])[0]
    sample = PropertyDatasetMapper(cfg, False)(entry)
    assert sample["image"].shape == (3, 23, 30)
    # The long side is bounded by MAX_SIZE_TEST times the scale.
    assert [tuple(view["image"].shape) for view in sample["views"]] == [
        (3, 11, 15), (3, 11, 15), (3, 34, 45), (3, 34, 45)
    ]  # fmt: skip
    assert [view["flip"] for view in sample["views"]] == [False, True, False, True]
    assert torch.equal(sample["views"][0]["image"].flip(2), sample["views"][1]["image"])
    cfg.merge_from_list(["TEST.AUG.FLIP", False, "TEST.AUG.MAX_SIZE", 40])
    views = PropertyDatasetMapper(cfg, False)(entry)["views"]
    assert [tuple(view["image"].shape) for view in views] == [(3, 11, 15), (3, 30, 40)]
    assert "views" not in PropertyDatasetMapper(cfg, True)(entry)
    cfg.TEST.AUG.MIN_SIZES = ()
    with pytest.raises(ProLabError, match="TEST.AUG.MIN_SIZES is empty"):
        PropertyDatasetMapper(cfg, False)


def test_without_augmentation_nothing_changes_and_bgr_is_reversed(folder: Path) -> None:
    sample = plain_mapper()(entry_of(folder))
    assert np.array_equal(sample["image"].numpy(), photograph(0).transpose(2, 0, 1))
    assert np.array_equal(sample["sem_seg"].numpy(), labels(0))
    assert "property_targets" not in sample
    reversed_sample = plain_mapper(image_format="BGR")(entry_of(folder))
    assert torch.equal(reversed_sample["image"], sample["image"].flip(0))


def test_samples_repeat_with_the_seed(cfg: CfgNode) -> None:
    mapper = PropertyDatasetMapper(cfg, True)
    entry = DatasetCatalog.get(cfg.DATASETS.TRAIN[0])[0]

    def draw() -> torch.Tensor:
        np.random.seed(5)
        return torch.stack([mapper(entry)["image"][:, :12, :12].float().mean() for _ in range(4)])

    first = draw()
    assert torch.equal(first, draw())
    assert len(first.unique()) > 1


def test_file_ids_become_data_set_ids(folder: Path) -> None:
    public = plain_mapper(label_ids=LabelIds(3, 255, {11: 255}))
    entry = entry_of(folder)
    mask = labels(0)
    mask[mask == 255] = 11
    save(mask, Path(entry["sem_seg_file_name"]))
    assert np.array_equal(public(entry)["sem_seg"].numpy(), labels(0))


def test_16_bit_masks_of_many_categories(folder: Path) -> None:
    entry = entry_of(folder)
    mask = np.arange(24 * 32).reshape(24, 32).astype(np.uint16) % 300
    mask[0, 0] = 65535
    save(mask, Path(entry["sem_seg_file_name"]))
    signatures = torch.rand(300, 6) > 0.5
    sample = plain_mapper(label_ids=LabelIds(300, 65535), signatures=signatures)(entry)
    assert np.array_equal(sample["sem_seg"].numpy(), mask.astype(np.int64))
    assert (~sample["property_targets"].valid).sum() == 1


def test_images_turned_by_exif_need_masks_of_the_turned_size(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    entry = entry_of(folder)
    Image.fromarray(photograph(0)).save(entry["file_name"], exif=exif)
    with pytest.raises(ProLabError, match="EXIF"):
        plain_mapper()(entry)
    save(np.rot90(labels(0), -1), Path(entry["sem_seg_file_name"]))
    sample = plain_mapper()(entry)
    assert (sample["height"], sample["width"]) == (32, 24)


def test_every_bad_file_is_named(folder: Path) -> None:
    def message(entry: dict[str, Any], is_train: bool = True) -> str:
        with pytest.raises(ProLabError) as caught:
            plain_mapper(is_train)(entry)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    entry = entry_of(folder)
    mask, image = Path(entry["sem_seg_file_name"]), Path(entry["file_name"])
    save(labels(0)[:, :-3], mask)
    assert "29 x 24" in message(entry) and str(mask) in message(entry, is_train=False)
    save(np.full((24, 32), 3, np.uint8), mask)
    assert "label id 3" in message(entry) and str(mask) in message(entry)
    save(photograph(0), mask)
    assert "mask with colours" in message(entry) and str(mask) in message(entry)
    mask.write_bytes(b"")
    assert "unreadable mask" in message(entry) and str(mask) in message(entry)
    mask.unlink()
    assert "missing mask" in message(entry) and str(mask) in message(entry)
    image.write_bytes(b"GIF89a")
    assert "unreadable image" in message(entry) and str(image) in message(entry)
    image.unlink()
    assert "missing image" in message(entry) and str(image) in message(entry)


def test_sizes_of_the_entry_must_be_true(folder: Path) -> None:
    plain_mapper()(entry_of(folder) | {"height": 24, "width": 32})
    with pytest.raises(ProLabError, match="32 x 24 pixels where the data set says 24 x 32"):
        plain_mapper()(entry_of(folder) | {"height": 32, "width": 24})


def test_images_without_a_mask_can_be_predicted_but_not_trained_on(folder: Path) -> None:
    entry = entry_of(folder)
    del entry["sem_seg_file_name"]
    assert "sem_seg" not in plain_mapper(is_train=False)(entry)
    with pytest.raises(ProLabError, match="image without a mask in a training set, .*000.png"):
        plain_mapper()(entry)


def test_a_label_space_of_another_size_is_refused() -> None:
    with pytest.raises(ProLabError, match="label space of 5 categories for a data set of 3"):
        plain_mapper(signatures=torch.ones(5, 4, dtype=torch.bool))


def test_without_a_label_space_there_are_no_targets(cfg: CfgNode) -> None:
    cfg.MODEL.PROLAB.LABEL_SPACE = ""
    sample = PropertyDatasetMapper(cfg, True)(DatasetCatalog.get(cfg.DATASETS.TRAIN[0])[0])
    assert "sem_seg" in sample and "property_targets" not in sample


def test_a_config_without_data_sets_is_refused(cfg: CfgNode) -> None:
    cfg.DATASETS.TEST = ()
    with pytest.raises(ProLabError, match=r"DATASETS\.TEST is empty"):
        PropertyDatasetMapper(cfg, False)
    PropertyDatasetMapper(cfg, False, cfg.DATASETS.TRAIN[0])


def test_training_sets_whose_ids_mean_something_else_are_refused(
    cfg: CfgNode, folder: Path, tmp_path: Path
) -> None:
    (train,) = cfg.DATASETS.TRAIN
    same = register_folder(folder, "same_ids")["train"]
    cfg.DATASETS.TRAIN = (train, same)
    assert PropertyDatasetMapper(cfg, True).label_ids.ignore_label == 255
    other = make_folder(tmp_path / "other_ids", {"train": 1})
    (other / "categories.txt").unlink()
    (other / "categories.json").write_text(
        '{"categories": ["road", "tree", "sky"], "label_map": {"7": 0}}'
    )
    cfg.DATASETS.TRAIN = (train, register_folder(other)["train"])
    with pytest.raises(ProLabError, match="mapped_sem_seg_train and other_ids_sem_seg_train"):
        PropertyDatasetMapper(cfg, True)


def test_detectron2_loads_batches_with_workers_and_one_shared_table(cfg: CfgNode) -> None:
    cfg.DATALOADER.NUM_WORKERS = 1
    cfg.SOLVER.IMS_PER_BATCH = 2
    mapper = PropertyDatasetMapper(cfg, True)
    loader = iter(build_detection_train_loader(cfg, mapper=mapper))
    batch = next(loader)
    assert len(batch) == 2
    for sample in batch:
        table = sample["property_targets"].signatures
        assert table.is_shared()
        assert np.array_equal(table.numpy(), SIGNATURES)


def test_detectron2_test_loader_gives_every_image_once(cfg: CfgNode) -> None:
    mapper = PropertyDatasetMapper(cfg, False)
    loader = build_detection_test_loader(cfg, cfg.DATASETS.TEST[0], mapper=mapper)
    assert [sample["image_id"] for batch in loader for sample in batch] == ["000", "001"]
