from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prolab_d2 import ProLabError
from prolab_d2.label_space import read_descriptions
from prolab_d2.label_space.descriptions import check_descriptions, variety


def test_order_and_text_are_kept(tmp_path: Path) -> None:
    data = {"zebra": ["black  stripes ", "four legs"], "ant": ["sechs Füße"]}
    (tmp_path / "d.json").write_text(json.dumps(data, ensure_ascii=False), "utf-8")
    read = read_descriptions(tmp_path / "d.json")
    assert list(read) == ["zebra", "ant"]
    assert read == {"zebra": ("black stripes", "four legs"), "ant": ("sechs Füße",)}


BAD: dict[str, tuple[Any, str]] = {
    "a list": (["car"], r'a JSON object of the form \{"category": \["sentence", ...\], ...\}'),
    "nothing": ({}, "at least one category"),
    "no name": ({" ": ["red"]}, "a category has no name"),
    "a sentence alone": ({"car": "red"}, "descriptions of 'car' must be a list of sentences"),
    "a number": ({"car": 3}, "must be a list of sentences"),
    "an empty list": ({"bus": ["red"], "car": []}, "category 'car' has no description: add"),
    "an empty sentence": ({"car": ["red", " "]}, "category 'car' has the description ' '"),
    "no text": ({"car": [None]}, "category 'car' has the description None"),
    "half a character": ({"car": ["red \ud800"]}, r"description 'red \\ud800' with half a char"),
    "a sentence twice": ({"car": ["red", "Red"]}, "'car' has the description 'red' twice"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_descriptions(name: str, tmp_path: Path) -> None:
    data, message = BAD[name]
    with pytest.raises(ProLabError, match=message):
        check_descriptions(data)
    (tmp_path / "d.json").write_text(json.dumps(data))
    with pytest.raises(ProLabError, match=message) as caught:
        read_descriptions(tmp_path / "d.json")
    assert str(caught.value).startswith(f"{tmp_path / 'd.json'}: ")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ProLabError, match="cannot read the descriptions .*missing.json"):
        read_descriptions(tmp_path / "missing.json")
    with pytest.raises(ProLabError, match="cannot read the descriptions"):
        read_descriptions(tmp_path)
    (tmp_path / "d.json").write_text('{"car": ["red"')
    with pytest.raises(ProLabError, match="is not valid JSON .*line 1.*: correct it there"):
        read_descriptions(tmp_path / "d.json")
    (tmp_path / "d.json").write_bytes(b'{"car": ["\xff"]}')
    with pytest.raises(ProLabError, match="give a JSON file in UTF-8"):
        read_descriptions(tmp_path / "d.json")
    (tmp_path / "d.json").write_text('{"car": ["red"], "car": ["blue"]}')
    with pytest.raises(ProLabError, match="category 'car' comes twice"):
        read_descriptions(tmp_path / "d.json")


def test_variety_sees_through_a_template() -> None:
    names = ("car", "bus", "traffic light", "dish")
    template = {name: [f"a photo of {name}s", f"The {name} is a thing"] for name in names}
    seen = variety(template)
    assert seen.sentences == 8
    assert seen.distinct == 2 / 8
    assert seen.opening == "a photo of category" and seen.opening_share == 0.5
    # The two words of a name are masked alone, too.
    assert variety({"traffic light": ["bright lights"], "lamp": ["bright lamp"]}).distinct == 0.5


def test_variety_of_written_sentences() -> None:
    written = {"car": ["four wheels", "glass windows in a row"], "bus": ["glass windows in pairs"]}
    seen = variety(written)
    assert seen.distinct == 1 and seen.opening_share == pytest.approx(1 / 3)
    same = variety({"car": ["one two three four five six"], "bus": ["One two three four, five!"]})
    assert same.opening == "one two three four five" and same.opening_share == 1
