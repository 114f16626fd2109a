from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.label_space.inspection_page import page_data, render_page, write_page
from tests.label_space.pages import NASTY, Page, nasty_space


@pytest.fixture(scope="module")
def nasty() -> LabelSpace:
    return nasty_space()


@pytest.fixture(scope="module")
def source(nasty: LabelSpace) -> str:
    return render_page(nasty, NASTY[1])


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_the_page_is_well_formed(source: str, page: Page) -> None:
    assert source.startswith("<!DOCTYPE html>\n")
    assert not page.faults and not page.open
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for key in ("aria-controls", "aria-labelledby", "for"):
            assert attributes.get(key, ids[0]) in ids
    labels = [attributes for tag, attributes in page.elements if attributes.get("role")]
    assert all(a.get("tabindex") == "0" for a in labels if a["role"] == "application")


def test_the_page_has_what_the_script_looks_for(page: Page) -> None:
    ids = {attributes.get("id") for _, attributes in page.elements}
    wanted = set(re.findall(r"\$\(\"([\w-]+)\"\)", page.scripts[1]))
    assert "query" in wanted and wanted <= ids


def test_no_text_of_the_label_space_becomes_markup(source: str, page: Page) -> None:
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert not {"img", "b"} & {tag for tag, _ in page.elements}
    assert "window.hurt = 1</script>" not in source.lower()
    assert "<" not in page.scripts[0] and ">" not in page.scripts[0] and "&" not in page.scripts[0]
    assert page.scripts[0].isascii(), "U+2028 among them"
    titles = [text for text in page.text if "quoted" in text]
    assert [title.removesuffix(" – label space") for title in titles] == [NASTY[1]] * 2


def test_the_script_writes_text_only(page: Page) -> None:
    script = page.scripts[1]
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(",
                "Function(", "srcdoc", "DOMParser"):  # fmt: skip
        assert way not in script


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    for tag, attributes in page.elements:
        assert (
            not {"src", "href", "srcset", "action", "background", "poster"} & attributes.keys()
        ), tag
        assert not any(key.startswith("on") for key in attributes)
    for content in (page.style, page.scripts[1]):
        assert not re.search(r"https?:|//[a-z]+\.[a-z]|url\(|@import|@font-face", content)
        assert not re.search(r"\bfetch\(|XMLHttpRequest|import\(|WebSocket|new Worker", content)


def test_the_policy_allows_the_page_itself_alone(page: Page) -> None:
    (policy,) = [
        attributes["content"]
        for _, attributes in page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for rule, content in (("script-src", page.scripts[1]), ("style-src", page.style)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    # The policy would refuse them; the script may set styles of elements.
    assert not any("style" in attributes for _, attributes in page.elements)


def test_the_data_come_back_as_they_were(nasty: LabelSpace, page: Page) -> None:
    data = page.data
    assert data["categories"] == list(nasty.categories)
    assert data["properties"] == [entry.name for entry in nasty.properties]
    signatures = np.zeros_like(nasty.signatures)
    for row, numbers in zip(signatures, data["signatures"], strict=True):
        row[numbers] = True
    assert np.array_equal(signatures, nasty.signatures)
    sentences = [[line for line, _ in entries] for entries in data["sentences"]]
    assert sentences == [list(lines) for lines in nasty.descriptions.values()]
    numbers = [k for entries in data["sentences"] for _, k in entries]
    assert numbers == nasty.property_of_description.tolist()
    assert dict(data["provenance"]) == {
        "llm": "<img src=x onerror=alert(1)>",
        "clustering.</script>": '["<b>", 1, null]',
    }


def test_orders_map_and_neighbours_are_complete() -> None:
    space = LabelSpace.load("camvid")
    data = page_data(space)
    assert sorted(data["categoryOrder"]) == list(range(11))
    assert sorted(data["propertyOrder"]) == list(range(32))
    assert len(data["map"]) == 32 and all(0 <= v <= 1000 for point in data["map"] for v in point)
    assert all(len(near) == 8 for near in data["nearest"])
    assert all(k not in dict(near) for k, near in enumerate(data["nearest"]))
    distances = [[value for _, value in near] for near in data["nearest"]]
    assert all(values == sorted(values) for values in distances)
    first, second = (space.categories[i] for i in data["alike"][0])
    assert {first, second} == {"pedestrian", "bicyclist"}


@pytest.mark.parametrize(("n", "nearest"), [(1, [[]]), (2, [[[1, 1000]], [[0, 1000]]])])
def test_the_smallest_label_spaces_have_a_page(n: int, nearest: list[list[list[int]]]) -> None:
    space = LabelSpace.from_arrays(["a", "b"][:n], np.eye(n), np.eye(n), descriptions={"a": ["s"]})
    data = Page(render_page(space, "small")).data
    assert data["nearest"] == nearest
    assert data["sentences"][0] == [["s", -1]] and data["alike"] == []


def test_a_folder_name_that_is_no_text_is_written(nasty: LabelSpace, tmp_path: Path) -> None:
    write_page(nasty, tmp_path / "page.html", "name \udcff")
    assert "<title>name \ufffd – " in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_page_of_the_size_of_ade20k_is_below_2_mb() -> None:
    rng = np.random.default_rng(0)
    names = [f"category {i}" for i in range(150)]
    sentences = {name: [f"{name} {'words ' * 12}{j}" for j in range(10)] for name in names}
    assigned = np.concatenate([np.arange(256), rng.integers(256, size=1500 - 256)])
    signatures = np.zeros((150, 256), dtype=bool)
    signatures[np.repeat(np.arange(150), 10), assigned] = True
    space = LabelSpace.from_arrays(
        names,
        rng.normal(size=(256, 384)),
        signatures,
        [f"property {'words ' * 8}{k}" for k in range(256)],
        sentences,
        property_of_description=assigned,
    )
    assert len(render_page(space, "large").encode()) < 0.5e6


def test_a_page_that_cannot_be_written_leaves_the_old_one(
    nasty: LabelSpace, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ProLabError, match="a folder of that name exists"):
        write_page(nasty, tmp_path / "folder", "x")
    write_page(nasty, tmp_path / "new/page.html", "x")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]


def test_the_same_label_space_gives_the_same_page(nasty: LabelSpace, source: str) -> None:
    assert render_page(nasty, NASTY[1]) == source
