from __future__ import annotations

from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from prolab_d2.data import register_all
from prolab_d2.data.datasets.folder import list_split, register_folder, scan_files
from prolab_d2.errors import ProLabError
from tests.data.folders import CATEGORIES, labels, make_folder, photograph, save


def test_every_split_is_registered_under_the_name_of_the_folder(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "mine", {"train": 3, "val": 1})
    names = register_folder(root)
    assert names == {"train": "mine_sem_seg_train", "val": "mine_sem_seg_val"}
    entries = DatasetCatalog.get("mine_sem_seg_train")
    assert [entry["image_id"] for entry in entries] == ["000", "001", "002"]
    assert entries[1] == {
        "file_name": str(root / "images/train/001.png"),
        "sem_seg_file_name": str(root / "annotations/train/001.png"),
        "image_id": "001",
    }
    metadata = MetadataCatalog.get("mine_sem_seg_val")
    assert metadata.stuff_classes == list(CATEGORIES)
    assert metadata.ignore_label == 255 and metadata.evaluator_type == "sem_seg"
    assert metadata.image_root == str(root / "images/val")
    assert metadata.sem_seg_root == str(root / "annotations/val")


def test_registering_again_takes_the_newest_files_and_categories(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "again")
    register_folder(root)
    save(photograph(7), root / "images/val/new.jpg")
    save(labels(7), root / "annotations/val/new.png")
    (root / "categories.txt").write_text("street\nwood\nair\n")
    names = register_folder(root)
    assert len(DatasetCatalog.get(names["val"])) == 2
    assert MetadataCatalog.get(names["val"]).stuff_classes == ["street", "wood", "air"]


def test_images_are_listed_when_they_are_needed(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "later")
    names = register_folder(root)
    save(photograph(1), root / "images/train/zzz.png")
    with pytest.raises(ProLabError, match="zzz.png"):
        DatasetCatalog.get(names["train"])


def test_two_folders_of_one_name_can_have_names_of_their_own(tmp_path: Path, caplog) -> None:
    first, second = make_folder(tmp_path / "a/data"), make_folder(tmp_path / "b/data", {"train": 5})
    assert len(DatasetCatalog.get(register_folder(first)["train"])) == 2
    assert not caplog.records
    other = register_folder(second, name="other")
    assert len(DatasetCatalog.get(other["train"])) == 5
    assert len(DatasetCatalog.get(register_folder(second)["train"])) == 5
    assert f"not for {first}" in caplog.text


def test_folders_within_splits_and_common_formats_are_found(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "deep", {"train": 1})
    for name in ("city/a.JPG", "city/b.jpeg", "other/a.webp", "c.bmp"):
        save(photograph(0), root / "images/train" / name)
        save(labels(0), (root / "annotations/train" / name).with_suffix(".png"))
    (root / "images/train/.DS_Store").write_text("")
    save(photograph(0), root / "images/train/.hidden/x.png")
    (root / "images/train/notes.txt").write_text("")
    ids = [entry["image_id"] for entry in list_split(root, "train")]
    assert ids == ["000", "c", "city/a", "city/b", "other/a"]


def test_names_with_dots_and_spaces_find_their_masks(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "dots", {"train": 1})
    save(photograph(0), root / "images/train/my photo.v2.jpg")
    save(labels(0), root / "annotations/train/my photo.v2.png")
    assert list_split(root, "train")[1]["image_id"] == "my photo.v2"


def test_a_split_without_masks_has_images_only(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "bare")
    save(photograph(0), root / "images/test/a.png")
    (entry,) = list_split(root, "test")
    assert "sem_seg_file_name" not in entry


def test_what_is_missing_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ProLabError, match="nowhere does not exist"):
        register_folder(tmp_path / "nowhere")
    root = tmp_path / "half"
    root.mkdir()
    with pytest.raises(ProLabError, match="no folder images/<split>"):
        register_folder(root)
    (root / "images/train").mkdir(parents=True)
    with pytest.raises(ProLabError, match="no categories.txt"):
        register_folder(root)
    (root / "categories.txt").write_text("a\n")
    names = register_folder(root)
    with pytest.raises(ProLabError, match="empty split, .*images/train"):
        DatasetCatalog.get(names["train"])


def test_images_without_masks_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "gaps", {"train": 4})
    for index in (1, 3):
        (root / f"annotations/train/00{index}.png").unlink()
    with pytest.raises(ProLabError, match=r"without a mask, .*001\.png: .* \(1 more; tools/check"):
        list_split(root, "train")


def test_masks_of_another_format_are_named(tmp_path: Path) -> None:
    for suffix in (".jpg", ".tif"):
        root = make_folder(tmp_path / suffix[1:])
        (root / "annotations/train/001.png").unlink()
        save(labels(1), root / f"annotations/train/001{suffix}")
        with pytest.raises(ProLabError, match=rf"001\{suffix} is no PNG file.*as 001\.png"):
            list_split(root, "train")


def test_capital_letters_in_the_suffix_of_a_mask_do_not_matter(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "mine")
    (root / "annotations/train/001.png").rename(root / "annotations/train/001.PNG")
    found = scan_files(root / "images/train", root / "annotations/train")
    assert not found.problems and not found.masks_without_image
    assert found.entries[1]["sem_seg_file_name"] == str(root / "annotations/train/001.PNG")


def test_a_file_in_place_of_the_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "data.zip").touch()
    with pytest.raises(ProLabError, match="data.zip is a file"):
        register_folder(tmp_path / "data.zip")


def test_two_images_for_one_mask_are_refused(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "twice", {"train": 1})
    save(photograph(0), root / "images/train/000.jpg")
    with pytest.raises(ProLabError, match=r"two images of one name, .*000\.jpg and .*000\.png"):
        list_split(root, "train")


def test_scanning_finds_masks_without_an_image(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "orphans", {"train": 1})
    extra = save(labels(0), root / "annotations/train/extra.png")
    found = scan_files(root / "images/train", root / "annotations/train")
    assert (len(found.entries), found.problems) == (1, [])
    assert found.masks_without_image == [extra]


def test_registering_the_built_in_data_sets_is_harmless_and_repeatable() -> None:
    register_all()
    before = {name for name in DatasetCatalog if name.startswith(("camvid_", "scenes_"))}
    register_all()
    assert {"camvid_sem_seg_train", "camvid_sem_seg_val", "camvid_sem_seg_test"} <= before
    assert before == {n for n in DatasetCatalog if n.startswith(("camvid_", "scenes_"))}
