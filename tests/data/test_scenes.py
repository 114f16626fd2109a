"""The built-in scenes on disk: drawn on first use, resumed, shared by processes, read back."""

from __future__ import annotations

import itertools
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from projects.ProLab.explorer import SHIPPED
from prolab_d2 import LabelSpace
from prolab_d2.checkpoint import read_checkpoint
from prolab_d2.colors import seen_distances
from prolab_d2.data.datasets import read_categories
from prolab_d2.data.datasets.scenes import register_scenes, scene_annotations
from prolab_d2.data.property_annotations import annotation_reader
from prolab_d2.errors import ProLabError
from prolab_d2.scenes import CATEGORIES, CATEGORY_COLOURS, draw_scene, write
from prolab_d2.scenes.write import missing_scenes, read_properties, write_scene, write_scenes


def files_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "scenes"
    assert write_scenes(root, {"train": 2, "val": 1}) == 3
    return root


def test_the_folder_holds_what_was_drawn(drawn: Path) -> None:
    scene = draw_scene(1, "train")
    for folder, array in (("images", scene.image), ("annotations", scene.mask)):
        with Image.open(drawn / folder / "train/00001.png") as picture:
            assert (np.asarray(picture) == array).all()
    instances, table = read_properties(drawn, "train", "00001")
    assert instances.dtype == np.uint16 and (instances == scene.instances).all()
    assert table == scene.attributes


def test_the_folder_is_a_data_set_of_its_own(drawn: Path) -> None:
    categories = read_categories(drawn)
    assert categories.names == CATEGORIES
    assert categories.colors == CATEGORY_COLOURS
    assert categories.ignore_label == 255


def test_colours_differ_for_every_kind_of_colour_vision() -> None:
    distances = [seen_distances(a, b) for a, b in itertools.combinations(CATEGORY_COLOURS, 2)]
    normal, *colour_blind = np.min(distances, axis=0)
    assert normal > 18 and min(colour_blind) > 13


def test_the_checkpoint_of_the_project_draws_in_these_colours() -> None:
    assert read_checkpoint(SHIPPED).colors == list(map(list, CATEGORY_COLOURS))


def test_only_what_is_missing_is_drawn(drawn: Path) -> None:
    before = files_of(drawn)
    (drawn / "images/train/00000.png").unlink()
    kept = (drawn / "images/val/00000.png").stat().st_mtime_ns
    assert list(missing_scenes(drawn, {"train": 2, "val": 1})) == [("train", 0)]
    assert write_scenes(drawn, {"train": 2, "val": 1}) == 1
    assert files_of(drawn) == before
    assert (drawn / "images/val/00000.png").stat().st_mtime_ns == kept
    assert write_scenes(drawn, {"train": 2, "val": 1}) == 0


def test_an_interrupted_scene_is_not_taken_for_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = Image.Image.save, []

    def save_two(picture: Image.Image, path: Path, **options: object) -> None:
        calls.append(path)
        if len(calls) > 2:
            raise KeyboardInterrupt
        save(picture, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", save_two)
        with pytest.raises(KeyboardInterrupt):
            write_scenes(tmp_path, {"val": 1})
    assert not list(tmp_path.glob("images/val/*"))
    assert write_scenes(tmp_path, {"val": 1}) == 1
    assert sorted(files_of(tmp_path)) == [
        "annotations/val/00000.png",
        "categories.txt",
        "images/val/00000.png",
        "properties/val/00000.json",
        "properties/val/00000.png",
        "scenes.json",
    ]


def test_several_processes_draw_the_same_scenes(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "_WORTH_WORKERS", 2)
    lines: list[str] = []
    assert write_scenes(tmp_path, {"train": 2, "val": 1}, workers=2, report=lines.append) == 3
    assert files_of(tmp_path) == files_of(drawn)
    assert lines[-1].startswith("3 scenes drawn in")


def test_two_writers_at_once_do_no_harm(drawn: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        counts = {"train": 2, "val": 1}
        for result in [pool.submit(write_scenes, tmp_path, counts) for _ in range(2)]:
            assert result.result() <= 3
    assert files_of(tmp_path) == files_of(drawn)


def test_a_failing_worker_is_named_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "_WORTH_WORKERS", 2)
    (tmp_path / "properties").write_text("in the way")
    with pytest.raises(ProLabError, match="drawing scenes into .* failed") as caught:
        write_scenes(tmp_path, {"train": 2}, workers=2)
    assert "\n" not in str(caught.value)


def test_scenes_of_another_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "scenes.json").write_text(json.dumps({"generator": 0}))
    with pytest.raises(ProLabError, match="another version .* delete that folder"):
        write_scenes(tmp_path, {"val": 1})
    assert os.listdir(tmp_path) == ["scenes.json"]


def test_a_folder_of_other_images_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "images/train").mkdir(parents=True)
    with pytest.raises(ProLabError, match="holds images but no scenes.json"):
        write_scenes(tmp_path, {"val": 1})
    assert os.listdir(tmp_path) == ["images"]


def test_an_unknown_split_is_named() -> None:
    with pytest.raises(ProLabError, match="no split 'training'.*train, val, test"):
        draw_scene(0, "training")


def test_registered_splits_are_drawn_on_first_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    for split, count in {"train": 2, "val": 1, "test": 1}.items():
        monkeypatch.setitem(write.COUNTS, split, count)
    register_scenes()
    assert not list(tmp_path.iterdir())
    entries = DatasetCatalog.get("scenes_sem_seg_train")
    assert [Path(entry["file_name"]).name for entry in entries] == ["00000.png", "00001.png"]
    assert all(Path(entry["sem_seg_file_name"]).is_file() for entry in entries)
    assert not (tmp_path / "scenes/images/val").exists()
    metadata = MetadataCatalog.get("scenes_sem_seg_val")
    assert tuple(metadata.stuff_classes) == CATEGORIES
    assert metadata.ignore_label == 255 and metadata.evaluator_type == "sem_seg"
    assert len(DatasetCatalog.get("scenes_sem_seg_val")) == 1


def test_what_was_drawn_is_read_as_annotations_of_properties(drawn: Path) -> None:
    space = LabelSpace.load("scenes")
    read = annotation_reader("scenes_sem_seg_train")
    entry = {"file_name": str(drawn / "images/train/00001.png")}
    found = read(entry, space)
    scene = draw_scene(1, "train")
    assert (found.regions == scene.instances).all()
    assert (found.truth[0] == -1).all()  # pixels without a label
    names = [item.name for item in space.properties]
    boards, leaves = (
        names.index("vertical boards with gaps between them"),
        names.index("crown of green leaves"),
    )
    for number, thing in scene.attributes.items():
        assert found.truth[number, boards] == (thing["material"] == "wood")
        if thing["category"] != "hedge":
            green_tree = thing["category"] == "tree" and thing["colour"] == "green"
            assert found.truth[number, leaves] == green_tree
    assert (found.truth[:, names.index("long strip along the side of the street")] == -1).all()
    assert annotation_reader("camvid_sem_seg_val") is None


def test_a_scene_without_its_properties_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "images/val").mkdir(parents=True)
    entry = {"file_name": str(tmp_path / "images/val/00000.png")}
    with pytest.raises(ProLabError, match=r"no properties of the scene .*00000\.png .*delete"):
        scene_annotations(entry, LabelSpace.load("scenes"))


def test_a_scene_is_written_whole(tmp_path: Path) -> None:
    write_scene(tmp_path, "test", 5)
    assert len(files_of(tmp_path)) == 4
