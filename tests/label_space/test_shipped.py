"""The label spaces that come with the project keep what their README promises."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import sklearn
from sklearn.metrics import adjusted_rand_score

from prolab_d2 import LabelSpace
from prolab_d2.label_space import (
    SentenceEncoder,
    build_label_space,
    read_descriptions,
    shipped_label_spaces,
    summarize,
)
from prolab_d2.label_space.category_list import read_category_list
from prolab_d2.label_space.descriptions import Descriptions, variety
from prolab_d2.label_space.naming import shorten
from prolab_d2.label_space.synonyms import shared_name
from prolab_d2.resources import resource_folder

CAMVID = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car",
    "pedestrian", "bicyclist",
)  # fmt: skip

# Name, number of categories, K (as published for those that are in the publication).
SHIPPED = {
    "ade20k": (150, 256),
    "ade20k_847": (847, 512),
    "camvid": (11, 32),
    "cityscapes": (19, 32),
    "coco_stuff_164k": (171, 256),
    "pascal_context_459": (459, 256),
    "pascal_context_59": (59, 128),
    "pascal_voc": (20, 32),
    "scenes": (14, 32),
}
# Embedding all their sentences takes several seconds each.
LARGE = ("ade20k", "ade20k_847", "coco_stuff_164k", "pascal_context_459", "pascal_context_59")
# For testing with an open vocabulary: fewer sentences for each of hundreds of categories.
VOCABULARIES = ("ade20k_847", "pascal_context_459")
# Beside "pot, flowerpot" and "pier, wharf, wharfage, dock", which other data sets call "pot" and
# "pier", these are something else.
HOMONYMS = (("ade20k_847", "pot"), ("ade20k_847", "pier"))

# Its scenes are drawn, and so is what their sentences describe.
DRAWN = "scenes"

every_label_space = pytest.mark.parametrize("name", SHIPPED)


def folder_of(name: str) -> Path:
    return resource_folder("label_spaces") / name


def descriptions_of(name: str) -> Descriptions:
    return read_descriptions(folder_of(name) / "descriptions.json")


def test_there_are_label_spaces() -> None:
    assert shipped_label_spaces() == sorted(SHIPPED)


@every_label_space
def test_size(name: str) -> None:
    space = LabelSpace.load(name)
    assert (space.num_categories, space.num_properties) == SHIPPED[name]
    assert space.bank.shape == (SHIPPED[name][1], 384)


@pytest.mark.parametrize("name", sorted(SHIPPED.keys() - {"camvid", DRAWN}))
def test_categories_are_those_of_the_data_set(name: str) -> None:
    entries = read_category_list(name)
    assert LabelSpace.load(name).categories == tuple(entry.name for entry in entries)


def test_camvid_has_its_categories_in_the_order_of_the_ids() -> None:
    assert LabelSpace.load("camvid").categories == CAMVID


def test_data_sets_share_the_sentences_of_the_categories_they_share() -> None:
    sentences = defaultdict(set)
    for name in SHIPPED.keys() - {DRAWN}:
        for category, lines in descriptions_of(name).items():
            if (name, category) not in HOMONYMS:
                sentences[shared_name(category)].add(lines)
    assert {concept for concept, versions in sentences.items() if len(versions) > 1} == set()
    categories = sum(SHIPPED[name][0] for name in SHIPPED.keys() - {DRAWN})
    assert len(sentences) < categories, "nothing is shared"
    for name, category in HOMONYMS:
        assert descriptions_of(name)[category] not in sentences[category]


def test_camvids_symbols_are_traffic_signs_and_traffic_lights() -> None:
    """Cityscapes has traffic lights as a category of their own, CamVid counts them as symbols."""
    symbols = descriptions_of("camvid")["sign symbol"]
    (light,) = [line for line in symbols if "traffic lights" in line]
    for name, category in {"cityscapes": "traffic sign", "pascal_context_59": "sign"}.items():
        expected = tuple(line for line in symbols if line != light)
        assert descriptions_of(name)[category] == expected


@every_label_space
def test_no_two_categories_have_the_same_sentences(name: str) -> None:
    sentences = descriptions_of(name)
    assert len(set(sentences.values())) == len(sentences)


@every_label_space
def test_no_sentence_names_its_category(name: str) -> None:
    for category, lines in descriptions_of(name).items():
        names = {category, shared_name(category)}
        pattern = "|".join(re.escape(word) for word in names)
        assert not re.search(rf"\b(?:{pattern})(?:e?s)?\b", " ".join(lines)), category


@every_label_space
def test_no_two_categories_look_alike(name: str) -> None:
    summary = summarize(LabelSpace.load(name))
    assert summary.confused == []
    assert summary.closest_distance > 0.1
    assert summary.fewest_properties >= 3


@every_label_space
def test_every_category_shares_a_property(name: str) -> None:
    signatures = LabelSpace.load(name).signatures
    shared = signatures.sum(0) > 1
    assert signatures[:, shared].any(1).all()


@every_label_space
def test_it_was_made_of_the_sentences_beside_it(name: str) -> None:
    space = LabelSpace.load(name)
    sentences = descriptions_of(name)
    assert list(sentences) == list(space.categories)
    assert sentences == space.descriptions
    assert "by hand" in space.provenance["note"]
    for key in ("encoder", "encoder_sha256", "pooling", "clustering", "seed", "versions", "dates"):
        assert space.provenance[key] not in (None, "", {})


@every_label_space
def test_the_sentences_are_written_and_not_filled_in(name: str) -> None:
    sentences = descriptions_of(name)
    fewest = 5 if name in VOCABULARIES else 8
    assert all(fewest <= len(lines) <= 12 for lines in sentences.values())
    words = [len(line.split()) for lines in sentences.values() for line in lines]
    assert max(words) <= 14
    seen = variety(sentences)
    assert seen.distinct >= 0.9
    assert seen.opening_share <= 0.03, seen.opening


@every_label_space
def test_no_sentence_fits_every_category(name: str) -> None:
    """No property is shared by more than two thirds of all categories."""
    space = LabelSpace.load(name)
    assert space.signatures.mean(0).max() <= 2 / 3
    assert space.signatures.any(0).all(), "no property without a category"


@every_label_space
def test_the_readme_states_the_figures(name: str) -> None:
    seen = summarize(LabelSpace.load(name))
    closest = ", ".join(category.partition(",")[0] for category in seen.closest)
    row = (
        f"| `{name}` | {seen.categories} | {seen.sentences} | {seen.properties} "
        f"| {seen.properties_per_category:.2f} "
        f"({seen.fewest_properties} to {seen.most_properties}) "
        f"| {seen.categories_per_property:.2f} | {seen.properties - seen.shared_properties} "
        f"| {closest} ({seen.closest_distance:.3f}) |"
    )
    assert row in (resource_folder("label_spaces") / "README.md").read_text("utf-8").splitlines()


@every_label_space
def test_no_name_of_a_machine_is_in_it(name: str) -> None:
    text = (folder_of(name) / "label_space.json").read_text("utf-8")
    record = json.loads(text)["provenance"]
    assert "dates" not in record and "timings" not in record
    assert not any(str(value).startswith(("/", "~")) for value in record.values())


def test_loading_needs_neither_torch_nor_an_extra() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'sklearn', 'sentence_transformers', 'transformers', 'llama_cpp'):\n"
        "    sys.modules[name] = None\n"
        "from prolab_d2.label_space import LabelSpace, shipped_label_spaces\n"
        "for name in shipped_label_spaces(): LabelSpace.load(name)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@every_label_space
def test_files_are_small(name: str) -> None:
    files = [path for path in folder_of(name).iterdir() if path.is_file()]
    limit = 6_500_000 if name in VOCABULARIES else 2_500_000
    assert sum(path.stat().st_size for path in files) < limit
    assert not list(folder_of(name).glob("*.build"))


@every_label_space
def test_every_sentence_is_nearest_to_its_own_property(name: str) -> None:
    """The stored clusters are where K-Means stops, as far as half precision can tell."""
    space = LabelSpace.load(name)
    embeddings = space.embeddings.astype(np.float32)
    labels = space.property_of_description
    squared = (space.bank**2).sum(1) - 2 * embeddings @ space.bank.T
    assert (squared.argmin(1) == labels).mean() >= 0.995
    for number, centre in enumerate(space.bank):
        np.testing.assert_allclose(embeddings[labels == number].mean(0), centre, atol=1e-3)


@every_label_space
def test_embeddings_are_those_of_the_encoder(name: str, minilm: SentenceEncoder) -> None:
    """Every 40th sentence; the slow test below takes them all."""
    space = LabelSpace.load(name)
    sentences = [line for lines in space.descriptions.values() for line in lines][::40]
    np.testing.assert_allclose(minilm.encode(sentences), space.embeddings[::40], atol=2e-3)


def names_near_centres(space: LabelSpace) -> list[set[str]]:
    """For every property the sentences that may name it: the nearest to the centre, and others as
    near. Of two alone in a cluster, rounding decided while these label spaces were built."""
    sentences = np.array([line for lines in space.descriptions.values() for line in lines])
    found = []
    for number, centre in enumerate(space.bank):
        members = np.flatnonzero(space.property_of_description == number)
        distance = np.linalg.norm(space.embeddings[members] - centre, axis=1)
        found.append(
            {shorten(line) for line in sentences[members[distance < distance.min() + 0.005]]}
        )
    return found


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in SHIPPED],
)
def test_it_can_be_built_again(name: str, minilm: SentenceEncoder) -> None:
    space = LabelSpace.load(name)
    record = space.provenance
    again = build_label_space(
        descriptions_of(name),
        minilm,
        record["clustering"]["num_properties"],
        method=record["clustering"]["method"],
        seed=record["seed"],
    )
    assert again.provenance["encoder_sha256"] == record["encoder_sha256"]
    np.testing.assert_allclose(again.embeddings, space.embeddings, atol=2e-3)
    labels, expected = again.property_of_description, space.property_of_description
    if record["versions"]["scikit-learn"].split(".")[:2] == sklearn.__version__.split(".")[:2]:
        np.testing.assert_array_equal(labels, expected)
        for one, other, near in zip(
            again.properties, space.properties, names_near_centres(space), strict=True
        ):
            assert one.name == other.name or {one.name, other.name} <= near
    else:
        assert adjusted_rand_score(expected, labels) >= 0.95
