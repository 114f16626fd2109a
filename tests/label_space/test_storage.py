from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.label_space import (
    build_label_space,
    is_label_space,
    shipped_label_spaces,
)
from tests.label_space.conftest import SENTENCES, WordEncoder


def edit_json(folder: Path, change: Callable[[dict], None]) -> None:
    path = folder / "label_space.json"
    document = json.loads(path.read_text("utf-8"))
    change(document)
    path.write_text(json.dumps(document), "utf-8")


@pytest.fixture
def folder(space: LabelSpace, tmp_path: Path) -> Path:
    space.save(tmp_path / "mine")
    return tmp_path / "mine"


def test_the_folder_is_as_documented(space: LabelSpace, folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == [
        "build.log",
        "label_space.json",
        "label_space.safetensors",
    ]
    document = json.loads((folder / "label_space.json").read_text("utf-8"))
    assert document["schema_version"] == 1
    assert document["categories"] == list(space.categories)
    assert document["descriptions"]["car"] == list(space.descriptions["car"])
    first = document["properties"][0]
    assert first["name"] == space.properties[0].name
    assert [tuple(pair) for pair in first["members"]] == list(space.properties[0].descriptions)
    arrays = safetensors.numpy.load_file(folder / "label_space.safetensors")
    assert {name: (array.dtype.name, array.shape) for name, array in arrays.items()} == {
        "bank": ("float32", (4, 24)),
        "signatures": ("uint8", (3, 4)),
        "embeddings": ("float16", (8, 24)),
        "property_of_description": ("int32", (8,)),
    }


def test_a_tree_is_one_array_more(tmp_path: Path, encoder: WordEncoder) -> None:
    space = build_label_space(SENTENCES, encoder, 4, method="ward")
    space.save(tmp_path / "tree")
    arrays = safetensors.numpy.load_file(tmp_path / "tree" / "label_space.safetensors")
    assert arrays["tree"].dtype == np.float64 and arrays["tree"].shape == (7, 4)
    for again in (LabelSpace.load(tmp_path / "tree"), LabelSpace.from_state(space.state())):
        assert again.hash == space.hash
        np.testing.assert_array_equal(again.tree, space.tree)
    assert replace(space, tree=None).hash != space.hash


def test_the_first_label_spaces_keep_their_hashes() -> None:
    """Checkpoints know them by these."""
    assert LabelSpace.load("camvid").hash[:16] == "db3295d0a518d76f"
    assert LabelSpace.load("scenes").hash[:16] == "13f3b9a76027a505"


def test_dates_and_timings_stand_in_the_log_only(space: LabelSpace, folder: Path) -> None:
    assert {"dates", "timings"} <= space.provenance.keys()
    text = (folder / "label_space.json").read_text("utf-8")
    assert "dates" not in text and space.provenance["dates"]["built"] not in text
    assert json.loads((folder / "build.log").read_text())["dates"] == space.provenance["dates"]


def test_the_same_content_gives_the_same_files(space: LabelSpace, tmp_path: Path) -> None:
    space.save(tmp_path / "a")
    later = LabelSpace.load(tmp_path / "a")
    later.provenance["dates"]["built"] = "another day"
    later.save(tmp_path / "b")
    for name in ("label_space.json", "label_space.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a/build.log").read_bytes() != (tmp_path / "b/build.log").read_bytes()


def test_the_log_may_be_missing_or_scribbled_on(folder: Path) -> None:
    (folder / "build.log").write_text("built on a rainy day")
    assert "dates" not in LabelSpace.load(folder).provenance
    (folder / "build.log").unlink()
    assert LabelSpace.load(folder).provenance["seed"] == 0


def test_saving_again_replaces_its_own_files_only(space: LabelSpace, folder: Path) -> None:
    (folder / "descriptions.json").write_text("mine")
    part = space.subset(["car"])
    part.save(folder)
    assert LabelSpace.load(folder).hash == part.hash
    assert (folder / "descriptions.json").read_text() == "mine"
    assert [p.name for p in folder.parent.iterdir()] == ["mine"], "nothing temporary is left"


def test_a_failed_save_leaves_the_old_one(
    space: LabelSpace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(ProLabError, match="no space left on device"):
        space.subset(["car"]).save(folder)
    assert LabelSpace.load(folder).hash == space.hash
    with pytest.raises(ProLabError, match="cannot write"):
        space.save(folder.parent / "new")
    assert [p.name for p in folder.parent.iterdir()] == ["mine"]


def test_saving_where_nothing_can_be_written(space: LabelSpace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ProLabError, match="a file of that name exists"):
        space.save(tmp_path / "file")
    with pytest.raises(ProLabError, match="cannot write .*: choose another output folder"):
        space.save(tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "x"


def test_shipped_names_resolve_from_any_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # A data set folder of the same name is no label space.
    (tmp_path / "camvid" / "images").mkdir(parents=True)
    assert "camvid" in shipped_label_spaces()
    assert LabelSpace.load("camvid").num_categories == 11


def test_a_folder_comes_before_a_shipped_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, folder.parent / "camvid")
    monkeypatch.chdir(folder.parent)
    assert LabelSpace.load("camvid").num_categories == 3
    assert is_label_space("camvid") and not is_label_space(".")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProLabError, match="'nowhere' does not exist: .*camvid"):
        LabelSpace.load("nowhere")
    with pytest.raises(ProLabError, match=r"holds no label_space\.json"):
        LabelSpace.load(tmp_path)
    with pytest.raises(ProLabError, match="does not exist"):
        LabelSpace.load("")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ProLabError, match="is a file, not a folder"):
        LabelSpace.load(tmp_path / "x.json")


JSON_CASES: dict[str, tuple[str, str]] = {
    "cut off": ('{"categories": ["a"', "is not valid JSON"),
    "a list": ("[]", "a JSON object is expected"),
    "another version": ('{"schema_version": 7}', "schema version 7, this program reads 1: update"),
    "no categories": ("{}", "'categories' must be a list"),
    "categories by name": ('{"categories": {}}', "'categories' must be a list"),
    "descriptions in a list": (
        '{"categories": ["a"], "descriptions": []}',
        "'descriptions' must be an object",
    ),
}


@pytest.mark.parametrize("name", JSON_CASES)
def test_broken_json(folder: Path, name: str) -> None:
    text, message = JSON_CASES[name]
    (folder / "label_space.json").write_text(text)
    with pytest.raises(ProLabError, match=message) as caught:
        LabelSpace.load(folder)
    assert str(folder / "label_space.json") in str(caught.value)


def test_json_in_another_encoding(folder: Path) -> None:
    (folder / "label_space.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProLabError, match="cannot read"):
        LabelSpace.load(folder)


def test_a_property_of_another_form(folder: Path) -> None:
    edit_json(folder, lambda d: d["properties"][0].pop("members"))
    with pytest.raises(ProLabError, match="an entry of 'properties' is not of the form"):
        LabelSpace.load(folder)


def test_an_edited_sentence_is_noticed(folder: Path) -> None:
    edit_json(folder, lambda d: d["descriptions"]["car"].__setitem__(0, "wooden body"))
    with pytest.raises(ProLabError, match="is no description of 'car': build the label space"):
        LabelSpace.load(folder)


def test_a_dropped_category_is_noticed(folder: Path) -> None:
    edit_json(folder, lambda d: d["categories"].pop())
    with pytest.raises(ProLabError, match="descriptions of 'bicycle', which is no category"):
        LabelSpace.load(folder)


def test_a_renamed_property_is_allowed(folder: Path) -> None:
    edit_json(folder, lambda d: d["properties"][0].update(name="a better name"))
    assert LabelSpace.load(folder).properties[0].name == "a better name"


def test_missing_arrays(folder: Path) -> None:
    (folder / "label_space.safetensors").unlink()
    with pytest.raises(ProLabError, match=r"safetensors is missing: copy it"):
        LabelSpace.load(folder)


def test_corrupt_arrays(folder: Path) -> None:
    path = folder / "label_space.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ProLabError, match="cannot read .*safetensors"):
        LabelSpace.load(folder)


def test_arrays_of_another_file(folder: Path) -> None:
    safetensors.numpy.save_file({"x": np.zeros(3)}, folder / "label_space.safetensors")
    with pytest.raises(ProLabError, match="the array bank and signatures is missing"):
        LabelSpace.load(folder)


def test_files_of_two_label_spaces(space: LabelSpace, folder: Path) -> None:
    """What an interrupted copy, or a kill between two renames, leaves behind."""
    other = LabelSpace.from_arrays(space.categories, space.bank + 1, space.signatures)
    other.save(folder.parent / "other")
    shutil.copy(folder.parent / "other/label_space.safetensors", folder)
    edit_json(folder, lambda d: d.update(descriptions={}))
    edit_json(folder, lambda d: [entry.update(members=[]) for entry in d["properties"]])
    with pytest.raises(ProLabError, match=r"is not the file that label_space\.json was saved with"):
        LabelSpace.load(folder)
    edit_json(folder, lambda d: d.pop("arrays_sha256"))
    np.testing.assert_array_equal(LabelSpace.load(folder).bank, other.bank)


def test_a_changed_array_is_named_before_its_file(folder: Path) -> None:
    path = folder / "label_space.safetensors"
    arrays = safetensors.numpy.load_file(path)
    arrays["signatures"][1] = 0
    safetensors.numpy.save_file(arrays, path)
    with pytest.raises(ProLabError, match=r"mine: category 'house' has no property"):
        LabelSpace.load(folder)
