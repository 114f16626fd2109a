from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from detectron2.data.catalog import Metadata

from prolab_d2.data.datasets.categories import check_categories, read_categories
from prolab_d2.errors import ProLabError


def read(tmp_path: Path, content: Any) -> Any:
    if isinstance(content, str):
        (tmp_path / "categories.txt").write_text(content)
    else:
        (tmp_path / "categories.json").write_text(json.dumps(content))
    return read_categories(tmp_path)


def test_text_has_a_name_per_line_with_an_optional_colour(tmp_path: Path) -> None:
    found = read(tmp_path, "# my list\nroad  #804080\nsign #7\ntree\n\n")
    assert found.names == ("road", "sign #7", "tree")
    assert found.colors[0] == (128, 64, 128)
    assert len(set(found.colors)) == 3
    assert (found.ignore_label, found.label_map) == (255, {})


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "categories.txt").write_bytes("\ufeffroad\r\nárbol\r\n".encode())
    assert read_categories(tmp_path).names == ("road", "árbol")


def test_json_may_be_a_list_of_names_or_of_entries(tmp_path: Path) -> None:
    assert read(tmp_path, ["road", "tree"]).names == ("road", "tree")
    found = read(
        tmp_path, [{"name": "road", "color": "#010203"}, {"name": "tree", "color": [4, 5, 6]}]
    )
    assert found.colors == ((1, 2, 3), (4, 5, 6))


def test_above_255_categories_unlabelled_is_65535(tmp_path: Path) -> None:
    found = read(tmp_path, [f"category {index}" for index in range(256)])
    assert found.ignore_label == 65535


def test_ignore_label_and_label_map_can_be_given(tmp_path: Path) -> None:
    found = read(tmp_path, {"categories": ["a", "b"], "ignore_label": 11})
    assert (found.ignore_label, found.label_map) == (11, {})
    found = read(tmp_path, {"categories": ["a", "b"], "label_map": {"11": 255, "12": 0}})
    assert (found.ignore_label, found.label_map) == (255, {11: 255, 12: 0})


def test_ids_replace_the_order_and_make_other_values_unknown(tmp_path: Path) -> None:
    entries = [{"name": "a", "id": 7}, {"name": "b", "id": 1}, {"name": "c", "id": 30}]
    assert read(tmp_path, entries).label_map == {0: -1, 7: 0, 2: -1, 30: 2}


def test_ids_from_one_leave_zero_for_unlabelled(tmp_path: Path) -> None:
    entries = [{"name": "a", "id": 1}, {"name": "b", "id": 2}]
    found = read(tmp_path, {"categories": entries, "ignore_label": 0})
    assert (found.ignore_label, found.label_map) == (255, {0: 255, 1: 0, 2: 1})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no category"),
        ("road\n\ntree\n", "line 2 is empty"),
        ("road\nroad\n", "'road' is there twice"),
        ("0: road\n1: tree\n", "every line begins with a number"),
        ({"names": ["road"]}, "unexpected content"),
        ({"categories": "road"}, "unexpected content"),
        ([3], "category 0 has no name"),
        ([{"name": "a", "colour": 3}], "unexpected keys colour"),
        ([{"name": " "}], "empty name"),
        ([{"name": "a", "color": "red"}], "colour 'red'"),
        ([{"name": "a", "color": [0, 0, 256]}], "colour"),
        ([{"name": "a", "id": 1}, {"name": "b"}], "'b' has the id None"),
        ([{"name": "a", "id": 1}, {"name": "b", "id": 1}], "has the id 1"),
        ({"categories": ["a", "b"], "ignore_label": 1}, "ignore_label 1"),
        ({"categories": ["a"], "ignore_label": "none"}, "whole numbers"),
        ({"categories": ["a"], "label_map": [1]}, "whole numbers"),
        ({"categories": ["a"], "label_map": {"3": 9}}, "label_map entry 3 -> 9"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_file(tmp_path: Path, content, message) -> None:
    with pytest.raises(ProLabError, match=f"{message}.*{tmp_path}"):
        read(tmp_path, content)


def test_a_missing_doubled_or_broken_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProLabError, match="no categories.txt or categories.json"):
        read_categories(tmp_path)
    (tmp_path / "categories.json").write_text("[")
    with pytest.raises(ProLabError, match="no valid JSON"):
        read_categories(tmp_path)
    (tmp_path / "categories.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProLabError, match="both categories.txt and categories.json"):
        read_categories(tmp_path)
    (tmp_path / "categories.json").unlink()
    with pytest.raises(ProLabError, match="save it as UTF-8"):
        read_categories(tmp_path)


def test_metadata_has_what_detectron2_expects(tmp_path: Path) -> None:
    metadata = read(tmp_path, "road #804080\n").metadata()
    assert metadata["stuff_classes"] == ["road"]
    assert metadata["stuff_colors"] == [[128, 64, 128]]
    assert (metadata["ignore_label"], metadata["evaluator_type"]) == (255, "sem_seg")


def test_categories_must_be_those_of_the_label_space_in_the_same_order() -> None:
    metadata = Metadata(name="mine_val", stuff_classes=["Road", "sign  symbol"])
    check_categories(metadata, SimpleNamespace(categories=("road", "sign symbol")))
    with pytest.raises(ProLabError, match="category 0 is 'Road' in data set mine_val and 'sign'"):
        check_categories(metadata, SimpleNamespace(categories=("sign", "road")))
    with pytest.raises(ProLabError, match="mine_val has 2 categories and the label space 3"):
        check_categories(metadata, SimpleNamespace(categories=("road", "sign symbol", "sky")))
    with pytest.raises(ProLabError, match="no stuff_classes"):
        check_categories(Metadata(name="boxes"), SimpleNamespace(categories=("road",)))


def test_a_background_is_expected_in_front_only_where_one_is_evaluated() -> None:
    space = SimpleNamespace(categories=("road", "sky"))
    with_background = Metadata(name="mine21", stuff_classes=["Background", "road", "sky"])
    check_categories(with_background, space, background=True)
    with pytest.raises(ProLabError, match="mine21 has a category 'background'.* set it"):
        check_categories(with_background, space)
    without = Metadata(name="mine20", stuff_classes=["road", "sky"])
    with pytest.raises(ProLabError, match="mine20 has no category 'background'.* set it to 0"):
        check_categories(without, space, background=True)
    other = Metadata(name="mine21b", stuff_classes=["background", "road", "tree"])
    with pytest.raises(ProLabError, match="category 2 is 'tree' in data set mine21b and 'sky'"):
        check_categories(other, space, background=True)
    learnt = SimpleNamespace(categories=("background", "road", "sky"))
    check_categories(with_background, learnt)
