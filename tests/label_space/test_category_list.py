from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.label_space import shipped_label_spaces
from prolab_d2.label_space.category_list import (
    CategoryEntry,
    check_entries,
    read_category_list,
    shipped_category_lists,
)


def names(source: Any) -> list[str]:
    return [entry.name for entry in read_category_list(source)]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_text_file_with_hints_colours_and_comments(tmp_path: Path) -> None:
    text = "# mine\n\nroad  #804080\ncrane: machine, not the bird\n traffic \t light \nbox 1:2\n"
    assert read_category_list(write(tmp_path / "mine.txt", text)) == (
        CategoryEntry("road"),
        CategoryEntry("crane", "machine, not the bird"),
        CategoryEntry("traffic light"),
        CategoryEntry("box 1:2"),
    )
    # As some editors save it.
    (tmp_path / "mine.txt").write_bytes(b"\xef\xbb\xbfroad\r\ntree: the plant #00ff00\r\n")
    assert read_category_list(tmp_path / "mine.txt") == (
        CategoryEntry("road"),
        CategoryEntry("tree", "the plant"),
    )


@pytest.mark.parametrize("wrapped", [False, True])
def test_json_file(wrapped: bool, tmp_path: Path) -> None:
    data: Any = ["road", {"name": "crane", "hint": "machine"}, {"name": "tree", "color": "#00ff00"}]
    data = {"categories": data, "ignore_label": 11} if wrapped else data
    assert read_category_list(write(tmp_path / "mine.json", json.dumps(data))) == (
        CategoryEntry("road"),
        CategoryEntry("crane", "machine"),
        CategoryEntry("tree"),
    )


def test_folders_of_data_sets_and_label_spaces(tmp_path: Path, space: LabelSpace) -> None:
    write(tmp_path / "categories.txt", "road  #804080\ntree\n")
    assert names(tmp_path) == ["road", "tree"]
    write(tmp_path / "categories.json", '["road"]')
    with pytest.raises(ProLabError, match="holds both categories.txt and categories.json"):
        read_category_list(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ProLabError, match="empty holds neither categories.txt and"):
        read_category_list(tmp_path / "empty")
    space.save(tmp_path / "space")
    assert names(tmp_path / "space") == list(space.categories)


def test_lists_that_come_with_the_package(tmp_path: Path, monkeypatch) -> None:
    assert {"camvid", "scenes", "cityscapes", "ade20k"} <= set(shipped_category_lists())
    for name in shipped_category_lists():
        assert read_category_list(name)
    for name in shipped_label_spaces():
        assert tuple(names(name)) == LabelSpace.load(name).categories
    assert names("cityscapes")[0] == "road" and len(names("cityscapes")) == 19
    # A folder of that name changes nothing; with "./" in front it is meant.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cityscapes").mkdir()
    write(tmp_path / "cityscapes/categories.txt", "sofa\n")
    assert names("cityscapes")[0] == "road" and names("./cityscapes") == ["sofa"]


def test_names_of_any_kind_are_kept(tmp_path: Path) -> None:
    odd = [
        "wall/floor",
        "the 'big' \"one\"",
        "x" * 300,
        "дерево",
        "木",
        "naïve café",
        "../up",
        "%s",
    ]
    assert names(write(tmp_path / "odd.json", json.dumps(odd))) == odd
    assert names(write(tmp_path / "odd.txt", "\n".join(odd))) == odd
    lines = write(tmp_path / "lines.json", json.dumps(["traffic\nlight", " sky\t"]))
    assert names(lines) == ["traffic light", "sky"]


BAD = {
    "a duplicate": ('["car", "bus", "car"]', "category 3, 'car', is there already as 'car'"),
    "another case": ('["car", "Car"]', "category 2, 'Car', is there already as 'car': rename"),
    "a line break": ('["traffic light", "traffic\\nlight"]', "category 2, 'traffic light', is"),
    "no name": ('["car", " "]', "category 2 has the name '', without a letter"),
    "no letter": ('["--"]', "category 1 has the name '--', without a letter"),
    "a null": ('["a\\u0000b"]', "category 1, 'a.*b', holds control characters"),
    "half a character": ('["a\\ud800b"]', "holds control characters"),
    "a number": ("[7]", "category 1 is 7: write a name"),
    "a number as name": ('[{"name": 7}]', "category 1 is 7, which is no text"),
    "a number as hint": ('[{"name": "car", "hint": 7}]', "which is no text"),
    "nothing": ("[]", "there is no category"),
    "an object": ('{"car": ["red"]}', "a list of names or of"),
    "broken": ('["car"', "is not valid JSON"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_json(case: str, tmp_path: Path) -> None:
    text, message = BAD[case]
    path = write(tmp_path / "mine.json", text)
    with pytest.raises(ProLabError, match=message) as caught:
        read_category_list(path)
    assert str(caught.value).startswith(str(path))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for missing in ("no_such_list", tmp_path / "missing.txt", ""):
        with pytest.raises(ProLabError, match="there is no list of categories .*camvid"):
            read_category_list(missing)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00car")
    with pytest.raises(ProLabError, match="save it as a text file in UTF-8"):
        read_category_list(tmp_path / "binary.txt")
    with pytest.raises(ProLabError, match=r"every line begins with a number \('0: road'\)"):
        read_category_list(write(tmp_path / "numbered.txt", "0: road\n1: tree\n"))
    with pytest.raises(ProLabError, match="there is no category"):
        read_category_list(write(tmp_path / "empty.txt", "# nothing\n"))


def test_entries_given_directly_are_checked_too() -> None:
    assert check_entries([CategoryEntry(" sky ", "the\nair")]) == (CategoryEntry("sky", "the air"),)
    with pytest.raises(ProLabError, match="list of categories: category 2, 'SKY', is there"):
        check_entries([CategoryEntry("sky"), CategoryEntry("SKY")])
