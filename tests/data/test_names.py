"""The lists of category names that come with the project are those of the data sets."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from prolab_d2.data.datasets import Categories, read_categories

ROOT = Path(__file__).resolve().parents[2]
NAMES = ROOT / "prolab_d2/data/datasets/names"
RELEASE = ROOT.parent / "shared/reference/prolab_release/descriptors"

NUMBER = {
    "ade20k": 150,
    "ade20k_847": 847,
    "cityscapes": 19,
    "coco_stuff_164k": 171,
    "pascal_context_459": 459,
    "pascal_context_59": 59,
    "pascal_voc": 20,
}
RELEASED = {
    "ade20k": "ade20k",
    "cityscapes": "cityscapes_bdd",
    "coco_stuff_164k": "coco_stuff_164k",
    "pascal_context_59": "pascal_context_59",
}
# The release has a space too many, and the second name of "tank, storage tank".
OURS = {"bed ": "bed", "storage tank": "tank"}


@pytest.fixture(params=sorted(NUMBER))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def read(name: str, folder: Path) -> Categories:
    """Read as the list of a data set folder would be."""
    shutil.copy(NAMES / f"{name}.txt", folder / "categories.txt")
    return read_categories(folder)


def test_every_list_is_known() -> None:
    assert {path.name for path in NAMES.iterdir()} == {f"{name}.txt" for name in NUMBER}


def test_number_and_unlabelled_value(name: str, tmp_path: Path) -> None:
    categories = read(name, tmp_path)
    assert len(categories.names) == NUMBER[name]
    assert categories.ignore_label == (255 if NUMBER[name] < 256 else 65535)


def test_every_category_has_its_color_in_the_list(name: str) -> None:
    """Choosing 847 colours takes half a second, which importing the package shall not."""
    lines = (NAMES / f"{name}.txt").read_text("utf-8").splitlines()
    assert all(line[0] == "#" or re.search(r"\S +#[0-9a-f]{6}$", line) for line in lines)


@pytest.mark.parametrize("category", ["wall", "building, edifice", "screen, crt screen"])
def test_synonyms_tell_categories_of_one_name_apart(category: str, tmp_path: Path) -> None:
    assert category in read("ade20k_847", tmp_path).names


def test_it_says_where_the_names_come_from(name: str) -> None:
    first = (NAMES / f"{name}.txt").read_text("utf-8").splitlines()[0]
    assert first.startswith("# ")


@pytest.mark.parametrize(
    ("name", "category", "color"),
    [
        ("cityscapes", "road", (128, 64, 128)),
        ("cityscapes", "bicycle", (119, 11, 32)),
        ("pascal_voc", "aeroplane", (128, 0, 0)),
        ("pascal_voc", "person", (192, 128, 128)),
        ("pascal_voc", "tvmonitor", (0, 64, 128)),
        ("ade20k", "wall", (120, 120, 120)),
        ("ade20k", "flag", (92, 0, 255)),
    ],
)
def test_colors_of_the_data_set(
    name: str, category: str, color: tuple[int, int, int], tmp_path: Path
) -> None:
    categories = read(name, tmp_path)
    assert categories.colors[categories.names.index(category)] == color


@pytest.mark.parametrize("name", sorted(RELEASED))
def test_names_and_order_are_those_of_the_release(name: str, tmp_path: Path) -> None:
    path = RELEASE / f"descriptors_{RELEASED[name]}_gpt3.5_cluster.json"
    if not path.is_file():
        pytest.skip(f"needs the published descriptors: {path}")
    released = [OURS.get(name, name) for name in json.loads(path.read_text("utf-8"))]
    assert list(read(name, tmp_path).names) == released
