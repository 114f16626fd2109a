"""The label spaces that come with the project keep what their README promises."""

from __future__ import annotations

import json
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
from prolab_d2.label_space.descriptions import variety
from prolab_d2.resources import resource_folder

CAMVID = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car",
    "pedestrian", "bicyclist",
)  # fmt: skip

every_label_space = pytest.mark.parametrize("name", shipped_label_spaces())


def folder_of(name: str) -> Path:
    return resource_folder("label_spaces") / name


def test_there_are_label_spaces() -> None:
    assert "camvid" in shipped_label_spaces()


def test_camvid_has_its_categories_in_the_order_of_the_ids() -> None:
    space = LabelSpace.load("camvid")
    assert space.categories == CAMVID
    assert space.bank.shape == (32, 384)


@every_label_space
def test_no_two_categories_look_alike(name: str) -> None:
    summary = summarize(LabelSpace.load(name))
    assert summary.confused == []
    assert summary.closest_distance > 0.1
    assert summary.fewest_properties >= 3


@every_label_space
def test_it_was_made_of_the_sentences_beside_it(name: str) -> None:
    space = LabelSpace.load(name)
    sentences = read_descriptions(folder_of(name) / "descriptions.json")
    assert list(sentences) == list(space.categories)
    assert sentences == space.descriptions
    assert "by hand" in space.provenance["note"]
    for key in ("encoder", "encoder_sha256", "pooling", "clustering", "seed", "versions", "dates"):
        assert space.provenance[key] not in (None, "", {})


@every_label_space
def test_the_sentences_are_written_and_not_filled_in(name: str) -> None:
    sentences = read_descriptions(folder_of(name) / "descriptions.json")
    assert all(8 <= len(lines) <= 12 for lines in sentences.values())
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
    row = (
        f"| `{name}` | {seen.categories} | {seen.sentences} | {seen.properties} "
        f"| {seen.properties_per_category:.2f} "
        f"({seen.fewest_properties} to {seen.most_properties}) "
        f"| {seen.categories_per_property:.2f} | {seen.properties - seen.shared_properties} "
        f"| {', '.join(seen.closest)} ({seen.closest_distance:.3f}) |"
    )
    assert row in (resource_folder("label_spaces") / "README.md").read_text("utf-8").splitlines()


@every_label_space
def test_no_name_of_a_machine_is_in_it(name: str) -> None:
    text = (folder_of(name) / "label_space.json").read_text("utf-8")
    record = json.loads(text)["provenance"]
    assert "dates" not in record and "timings" not in record
    assert not any(str(value).startswith(("/", "~")) for value in record.values())


@every_label_space
def test_it_can_be_built_again(name: str, minilm: SentenceEncoder) -> None:
    space = LabelSpace.load(name)
    record = space.provenance
    again = build_label_space(
        read_descriptions(folder_of(name) / "descriptions.json"),
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
        assert [p.name for p in again.properties] == [p.name for p in space.properties]
    else:
        assert adjusted_rand_score(expected, labels) >= 0.95
