"""New categories in old properties."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.label_space import SentenceEncoder, build_label_space, shipped_label_spaces
from prolab_d2.label_space.clustering import CLUSTERINGS, means, unit_rows
from prolab_d2.label_space.growing import describe_extension, far_distance
from tests.label_space.conftest import SENTENCES, WordEncoder

BUS = (
    "long box shape with rows of windows",
    "glass windows all around",
    "painted metal body",
    "drives along the street",
)
NONSENSE = ("quarterly profit margins fell", "the meaning of life")

every_method = pytest.mark.parametrize("method", CLUSTERINGS)
# The others are larger and take long to embed.
every_label_space = pytest.mark.parametrize(
    "name",
    [
        name if name in ("camvid", "scenes") else pytest.param(name, marks=pytest.mark.slow)
        for name in shipped_label_spaces()
    ],
)


def last_record(space: LabelSpace) -> dict[str, Any]:
    return space.provenance["extensions"][-1]


# The real encoder


@every_label_space
def test_own_sentences_give_the_own_row(name: str, minilm: SentenceEncoder) -> None:
    space = LabelSpace.load(name)
    copies = {f"{category} again": lines for category, lines in space.descriptions.items()}
    grown = space.extend(copies, minilm)
    np.testing.assert_array_equal(grown.signatures[space.num_categories :], space.signatures)
    assert last_record(grown)["left_out"] == []


class Recall:
    """Gives embeddings that were made before, so that nothing is embedded twice."""

    def __init__(self, rows: dict[str, np.ndarray], provenance: dict[str, Any]) -> None:
        self._rows = rows
        keys = ("encoder", "encoder_sha256", "pooling", "lower_case")
        self.provenance: dict[str, Any] = {key: provenance[key] for key in keys}

    def encode(self, sentences: Sequence[str]) -> np.ndarray:
        return np.stack([self._rows[line] for line in sentences])


@pytest.mark.parametrize("name", ["camvid", "scenes"])
def test_the_rule_alone_gives_the_own_row(name: str, minilm: SentenceEncoder) -> None:
    """In capitals, no sentence is known, but the encoder reads the same."""
    stored = LabelSpace.load(name)
    sentences = [line for lines in stored.descriptions.values() for line in lines]
    capitals = [line.upper() for line in sentences]
    rows = [*stored.embeddings.astype(np.float32), *minilm.encode(capitals)]
    recall = Recall(dict(zip(sentences + capitals, rows, strict=True)), stored.provenance)
    shouted = {n.upper(): [x.upper() for x in lines] for n, lines in stored.descriptions.items()}
    for method in CLUSTERINGS:
        space = build_label_space(stored.descriptions, recall, 32, method=method)
        grown = space.extend(shouted, recall)
        np.testing.assert_array_equal(grown.signatures[space.num_categories :], space.signatures)


def test_a_new_category_lands_in_fitting_properties(minilm: SentenceEncoder) -> None:
    space = LabelSpace.load("camvid")
    grown = space.extend({"bus": [*BUS, NONSENSE[0]]}, minilm)
    row = grown.signatures[-1]
    names = {grown.properties[k].name for k in np.flatnonzero(row)}
    assert {"rows of glass windows", "drives along the street"} <= names
    record = last_record(grown)
    assert [entry["sentence"] for entry in record["left_out"]] == [NONSENSE[0]]
    assert record["rule"] == "nearest centre"
    assert len(record["distances"]["bus"]) == 4
    assert max(record["distances"]["bus"]) <= record["max_distance"] < 0.6
    assert record["left_out"][0]["distance"] > 0.7
    text = describe_extension(grown)
    assert f"bus: {row.sum()} properties from 4 sentences" in text
    assert f"left out: {NONSENSE[0]!r} of bus" in text


def test_a_category_of_nonsense_is_an_error(minilm: SentenceEncoder) -> None:
    space = LabelSpace.load("scenes")
    with pytest.raises(ProLabError, match=r"'life' is near a property: .* raise max_distance"):
        space.extend({"bus stop": BUS, "life": NONSENSE}, minilm)
    allowed = space.extend({"life": NONSENSE}, minilm, allow_far=True)
    assert allowed.descriptions["life"] == NONSENSE and allowed.signatures[-1].any()
    assert space.extend({"life": NONSENSE}, minilm, max_distance=2.0).hash == allowed.hash


def test_another_pooling_is_another_encoder(minilm: SentenceEncoder) -> None:
    space = LabelSpace.load("camvid")
    with pytest.raises(ProLabError, match="made with the pooling 'cls', not with 'mean'"):
        replace(space, provenance={**space.provenance, "pooling": "cls"}).extend(
            {"bus": BUS}, minilm
        )
    silent = replace(space, embeddings=np.roll(space.embeddings, 5, axis=1), provenance={})
    with pytest.raises(ProLabError, match="embeds .* in another way than the label space has it"):
        silent.extend({"bus": BUS}, minilm)


def test_a_merged_label_space_grows(minilm: SentenceEncoder) -> None:
    both = LabelSpace.load("camvid").merge(LabelSpace.load("scenes"), method="ward")
    assert both.num_properties == 32, "one for every 7 sentences"
    grown = both.extend({"coach": BUS, "another sky": both.descriptions["sky"]}, minilm)
    assert last_record(grown)["rule"] == "nearest sentence"
    sky = both.signatures[both.categories.index("sky")]
    np.testing.assert_array_equal(grown.signatures[-1], sky)


# Extending, with the encoder that needs no model


def test_everything_old_stays(space: LabelSpace, encoder: WordEncoder) -> None:
    grown = space.extend({"lorry": ["painted metal body", "six round wheels"]}, encoder)
    assert grown.categories == (*space.categories, "lorry")
    np.testing.assert_array_equal(grown.bank, space.bank)
    np.testing.assert_array_equal(grown.signatures[:-1], space.signatures)
    np.testing.assert_array_equal(grown.embeddings[:8], space.embeddings)
    np.testing.assert_array_equal(grown.property_of_description[:8], space.property_of_description)
    assert [p.name for p in grown.properties] == [p.name for p in space.properties]
    for old, new in zip(space.properties, grown.properties, strict=True):
        assert new.descriptions[: len(old.descriptions)] == old.descriptions
    assert grown.descriptions["lorry"] == ("painted metal body", "six round wheels")
    expected = encoder.encode(grown.descriptions["lorry"])
    np.testing.assert_allclose(grown.embeddings[8:], expected, atol=1e-3)
    assert last_record(grown)["of"] == space.hash
    assert "extensions" not in space.provenance


def test_far_sentences_are_left_out_and_clustered_ones_never(
    space: LabelSpace, encoder: WordEncoder
) -> None:
    lines = [*SENTENCES["car"], "quarterly profit margins"]
    grown = space.extend({"lorry": lines}, encoder, max_distance=0)
    np.testing.assert_array_equal(grown.signatures[-1], space.signatures[0])
    assert grown.descriptions["lorry"] == SENTENCES["car"] and len(grown.embeddings) == 11
    (left_out,) = last_record(grown)["left_out"]
    assert left_out["sentence"] == "quarterly profit margins" and left_out["distance"] > 0


def test_a_category_of_far_sentences_needs_leave(space: LabelSpace, encoder: WordEncoder) -> None:
    new = {"report": ["quarterly profit margins"]}
    with pytest.raises(ProLabError, match="no sentence of the new category 'report' is near"):
        space.extend(new, encoder, max_distance=0.1)
    grown = space.extend(new, encoder, max_distance=0.1, allow_far=True)
    assert grown.signatures[-1].sum() == 1 and last_record(grown)["left_out"] == []


def test_a_clustered_sentence_keeps_even_a_property_that_is_not_the_nearest(
    encoder: WordEncoder,
) -> None:
    lines = ["red paint", "round wheels", "brick walls", "sloping roof"]
    rows = encoder.encode(lines)
    for method in ("kmeans", "spherical", "ward"):
        space = LabelSpace.from_arrays(
            ["a", "b"],
            rows,
            [[0, 0, 1, 1], [1, 1, 0, 0]],
            descriptions={"a": lines[:2], "b": lines[2:]},
            embeddings=rows,
            property_of_description=[3, 2, 1, 0],
            provenance={**encoder.provenance, "clustering": {"method": method}},
        )
        grown = space.extend({"c": lines[:2], "d": lines[2:]}, encoder)
        np.testing.assert_array_equal(grown.signatures[2:], space.signatures)


@pytest.mark.parametrize("method", ["kmeans", "spherical"])
def test_the_nearest_centre_is_meant_as_the_clustering_means_it(
    method: str, encoder: WordEncoder
) -> None:
    rng = np.random.default_rng(0)
    bank = rng.normal(size=(20, 24)) * rng.uniform(0.05, 0.3, size=(20, 1))
    record = {**encoder.provenance, "clustering": {"method": method}}
    space = LabelSpace.from_arrays(["a"], bank, np.ones((1, 20)), provenance=record)
    lines = [f"word {i}" for i in range(60)]
    rows = encoder.encode(lines)
    centres = bank if method == "kmeans" else unit_rows(bank)
    expected = np.linalg.norm(rows[:, None] - centres, axis=2).argmin(1)
    new = {f"category {i}": [line] for i, line in enumerate(lines)}
    grown = space.extend(new, encoder, max_distance=2)
    np.testing.assert_array_equal(grown.signatures[1:].argmax(1), expected)


def test_an_extended_label_space_is_saved_and_loaded(
    space: LabelSpace, encoder: WordEncoder, tmp_path: Path
) -> None:
    grown = space.extend({"lorry": ["painted metal body"]}, encoder)
    grown.save(tmp_path / "grown")
    loaded = LabelSpace.load(tmp_path / "grown")
    assert loaded.hash == grown.hash and loaded.provenance == grown.provenance
    json.dumps(loaded.provenance)


@every_method
def test_two_steps_give_what_one_gives(method: str, encoder: WordEncoder) -> None:
    space = build_label_space(SENTENCES, encoder, 4, method=method)
    new = {"lorry": ["four metal wheels", "glass body"], "cabin": ["brick body", "roof windows"]}
    once = space.extend(new, encoder, allow_far=True)
    twice = space
    for name, lines in new.items():
        twice = twice.extend({name: lines}, encoder, allow_far=True)
    assert once.hash == twice.hash
    assert len(once.provenance["extensions"]) == 1 and len(twice.provenance["extensions"]) == 2
    assert once.tree is None


def test_the_nearest_clustered_sentence_is_the_rule_of_a_tree(encoder: WordEncoder) -> None:
    """One that came later is no such sentence, however near it is."""
    space = build_label_space(SENTENCES, encoder, 8, method="average")
    body, windows = space.property_of_description[[0, 2]]
    first = {"crane": ["painted metal body with a long yellow arm"]}
    second = {"digger": ["long yellow arm with glass windows"]}
    grown = space.extend(first, encoder, max_distance=2).extend(second, encoder, max_distance=2)
    assert grown.property_of_description[8:].tolist() == [body, windows]
    assert last_record(grown)["rule"] == "nearest sentence"


def test_the_distance_that_is_near_follows_from_sentences_taken_out_of_their_cluster() -> None:
    rng = np.random.default_rng(0)
    rows = unit_rows(rng.normal(size=(40, 6)))
    labels = np.arange(40) % 7
    labels[-1] = 7  # a cluster of one
    expected = []
    for i in range(40):
        rest = np.delete(rows, i, axis=0), np.delete(labels, i)
        centres = [rest[0][rest[1] == k].mean(0) for k in range(8) if (rest[1] == k).any()]
        expected.append(1 - (unit_rows(np.stack(centres)) @ rows[i]).max())
    space = LabelSpace.from_arrays(
        ["a"],
        means(rows, labels, 8),
        np.ones((1, 8)),
        descriptions={"a": [f"{i}" for i in range(40)]},
        embeddings=rows,
        property_of_description=labels,
    )
    assert far_distance(space) == pytest.approx(np.quantile(expected, 0.95), abs=1e-3)


def test_a_label_space_without_sentences_grows_when_told_what_is_near(
    encoder: WordEncoder,
) -> None:
    bank = encoder.encode(["red paint", "round wheels"])
    bare = LabelSpace.from_arrays(["a"], bank, [[1, 0]], provenance=encoder.provenance)
    with pytest.raises(ProLabError, match="no embeddings to learn from .*: give max_distance"):
        bare.extend({"b": ["round wheels"]}, encoder)
    grown = bare.extend({"b": ["round wheels"]}, encoder, max_distance=0.5)
    assert grown.signatures.tolist() == [[True, False], [False, True]]
    assert grown.embeddings is None and grown.property_of_description is None
    assert grown.properties[1].descriptions == (("b", "round wheels"),)
    unknown = replace(bare, provenance={"encoder": None})
    with pytest.raises(ProLabError, match="nor says which encoder made its bank: record"):
        unknown.extend({"b": ["round wheels"]}, encoder, max_distance=0.5)


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ({"car": ["blue paint"]}, "has a category 'car' already: give the new one another name"),
        ({"lorry": []}, "new categories: category 'lorry' has no description"),
        ({}, "new categories: a JSON object"),
    ],
)
def test_new_categories_that_cannot_be(
    new: dict[str, list[str]], message: str, space: LabelSpace, encoder: WordEncoder
) -> None:
    with pytest.raises(ProLabError, match=message):
        space.extend(new, encoder)


def test_an_encoder_of_another_name_or_width(space: LabelSpace) -> None:
    with pytest.raises(ProLabError, match="made with the encoder 'words of 24', not with 'words o"):
        space.extend({"lorry": ["red paint"]}, WordEncoder(25))
    wide = WordEncoder(25)
    wide.provenance = {}
    with pytest.raises(ProLabError, match=r"shape \(9, 25\) .* rows of the bank have 24 numbers"):
        space.extend({"lorry": ["red paint"]}, wide)


def test_an_encoder_that_embeds_stored_sentences_in_another_way(space: LabelSpace) -> None:
    class Other(WordEncoder):
        def encode(self, sentences: Sequence[str]) -> np.ndarray:
            return super().encode(sentences)[:, ::-1]

    with pytest.raises(ProLabError, match="embeds .* in another way than the label space has it"):
        space.extend({"lorry": ["painted metal body"]}, Other())


def test_the_same_weights_under_another_name_are_the_same_encoder(encoder: WordEncoder) -> None:
    encoder.provenance["encoder_sha256"] = "abc"
    space = build_label_space(SENTENCES, encoder, 4)
    encoder.provenance["encoder"] = "a copy elsewhere"
    assert space.extend({"lorry": ["painted metal body"]}, encoder).num_categories == 4
    encoder.provenance["encoder_sha256"] = "def"
    with pytest.raises(ProLabError, match="made with the weights of the encoder 'abc', not with"):
        space.extend({"lorry": ["painted metal body"]}, encoder)
