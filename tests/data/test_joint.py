"""Training sets with different categories, in the ids of one label space."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.data import (
    PropertyDatasetMapper,
    build_train_loader,
    in_label_space,
    own_label_space,
    read_mask,
    register_folder,
)
from prolab_d2.data.loading import WeightedSampler

# In another order than the label space, with ids of its own.
OTHER = '{"categories": [{"name": "Car", "id": 7}, {"name": "sky", "id": 3}], "ignore_label": 0}'


@pytest.fixture
def other_folder(tmp_path: Path) -> Path:
    """A data set of two of the tiny categories: left half car, right half sky, a row unlabelled."""
    folder = tmp_path / f"other_{tmp_path.name}"
    for kind in ("images", "annotations"):
        (folder / kind / "train").mkdir(parents=True)
    mask = np.full((64, 80), 3, dtype=np.uint8)
    mask[:, :40] = 7
    mask[0] = 0
    for i in range(2):
        image = np.full((64, 80, 3), 60 * i, dtype=np.uint8)
        Image.fromarray(image).save(folder / "images/train" / f"{i}.png")
        Image.fromarray(mask).save(folder / "annotations/train" / f"{i}.png")
    (folder / "categories.json").write_text(OTHER)
    return folder


@pytest.fixture
def joint_names(
    tiny_dataset_folder: Path, other_folder: Path, tiny_label_space: LabelSpace
) -> tuple[str, str]:
    names = (register_folder(folder)["train"] for folder in (tiny_dataset_folder, other_folder))
    return tuple(in_label_space(name, tiny_label_space) for name in names)


def test_ids_are_those_of_the_label_space(
    joint_names: tuple[str, str], tiny_cfg: CfgNode, tiny_label_space: LabelSpace
) -> None:
    name = joint_names[1]
    metadata = MetadataCatalog.get(name)
    assert metadata.stuff_classes == list(tiny_label_space.categories)
    assert len(metadata.stuff_colors) == 5 and metadata.ignore_label == 255
    tiny_cfg.INPUT.CROP.ENABLED = False
    mapper = PropertyDatasetMapper(tiny_cfg, False, name)
    entry = DatasetCatalog.get(name)[0]
    assert entry["dataset_name"] == name
    mask = read_mask(entry["sem_seg_file_name"])
    sample = mapper(entry)
    expected = np.select(
        [mask == 7, mask == 3],
        [tiny_label_space.categories.index("car"), tiny_label_space.categories.index("sky")],
        255,
    )
    assert (sample["sem_seg"].numpy() == expected).all()
    targets = sample["property_targets"]
    assert (targets.multi_hot()[:, 5, 5].numpy() == tiny_label_space.signatures[3]).all()
    assert targets.multi_hot()[:, 0].sum() == 0


def test_a_data_set_is_registered_once_and_unknown_file_ids_stay_an_error(
    joint_names: tuple[str, str],
    tiny_cfg: CfgNode,
    tiny_label_space: LabelSpace,
    other_folder: Path,
) -> None:
    assert in_label_space(joint_names[1], tiny_label_space) == joint_names[1]
    # 1 is a category of the label space, but no id of these files.
    mask = np.ones((64, 80), dtype=np.uint8)
    Image.fromarray(mask).save(other_folder / "annotations/train/0.png")
    mapper = PropertyDatasetMapper(tiny_cfg, True, joint_names[1])
    with pytest.raises(ProLabError, match="label id 1"):
        mapper(DatasetCatalog.get(joint_names[1])[0])


def test_a_category_that_the_label_space_lacks_is_named(
    other_folder: Path, tiny_label_space: LabelSpace
) -> None:
    (other_folder / "categories.json").unlink()
    (other_folder / "categories.txt").write_text("car\nlighthouse\n")
    name = register_folder(other_folder)["train"]
    with pytest.raises(ProLabError, match="'lighthouse'.*--merge"):
        in_label_space(name, tiny_label_space)


def test_own_label_space_keeps_bank_and_properties_in_the_order_of_the_data_set(
    other_folder: Path, tiny_dataset_folder: Path, tiny_label_space: LabelSpace
) -> None:
    own = own_label_space(register_folder(other_folder)["train"], tiny_label_space)
    assert own.categories == ("car", "sky")
    assert (own.bank == tiny_label_space.bank).all()
    assert (own.signatures == tiny_label_space.signatures[[3, 0]]).all()
    whole = register_folder(tiny_dataset_folder)["train"]
    assert own_label_space(whole, tiny_label_space) is tiny_label_space


def test_the_loader_mixes_the_data_sets_by_weight(
    joint_names: tuple[str, str], tiny_cfg: CfgNode
) -> None:
    tiny_cfg.DATASETS.TRAIN = joint_names
    tiny_cfg.DATASETS.SAMPLING_WEIGHTS = [1.0, 3.0]
    batches = itertools.islice(build_train_loader(tiny_cfg), 40)
    samples = [sample for batch in batches for sample in batch]
    share = np.mean([sample["dataset_name"] == joint_names[1] for sample in samples])
    assert 0.55 < share < 0.95
    for sample in samples:
        ids = set(sample["sem_seg"].unique().tolist())
        assert ids <= (
            {0, 3, 255} if sample["dataset_name"] == joint_names[1] else {*range(5), 255}
        )


def test_without_weights_all_images_come_equally_often(
    joint_names: tuple[str, str], tiny_cfg: CfgNode
) -> None:
    tiny_cfg.DATASETS.TRAIN = joint_names
    batches = itertools.islice(build_train_loader(tiny_cfg), 6)  # 12 of 4 + 2 images
    files = [sample["file_name"] for batch in batches for sample in batch]
    assert sorted(files[:6]) == sorted(files[6:]) and len(set(files)) == 6


def test_the_sampler_goes_through_each_data_set_before_it_repeats_and_shares_the_work() -> None:
    indices = list(itertools.islice(WeightedSampler([3, 50], [1, 0], seed=4), 9))
    assert [sorted(indices[i : i + 3]) for i in (0, 3, 6)] == [[0, 1, 2]] * 3
    drawn = list(itertools.islice(WeightedSampler([4, 8], [1, 3], seed=0), 4000))
    assert np.mean(np.array(drawn) >= 4) == pytest.approx(0.75, abs=0.03)
    assert np.bincount(drawn, minlength=12)[4:].std() < 2


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0]])
def test_weights_that_do_not_fit_are_refused(
    weights: list[float], joint_names: tuple[str, str], tiny_cfg: CfgNode
) -> None:
    tiny_cfg.DATASETS.TRAIN = joint_names
    tiny_cfg.DATASETS.SAMPLING_WEIGHTS = weights
    with pytest.raises(ProLabError, match="SAMPLING_WEIGHTS"):
        build_train_loader(tiny_cfg)
