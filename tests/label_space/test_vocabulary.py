"""New categories and those of other data sets in the properties of a trained label space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.label_space import build_label_space
from prolab_d2.label_space.synonyms import concept
from prolab_d2.label_space.vocabulary import (
    StoredEmbeddings,
    check_swap,
    encoder_of,
    in_trained_properties,
    nearest_categories,
    parse_vocabulary,
    trained_names,
)
from tests.label_space.conftest import SENTENCES, WordEncoder

VAN = {"van": ("painted metal body", "four round wheels with tyres")}


def test_vocabulary_as_it_is_typed() -> None:
    text = " a red letter  box; a person on a bicycle: sits on two wheels,wears a helmet ;"
    assert parse_vocabulary(text) == {
        "a red letter box": ("a red letter box",),
        "a person on a bicycle": ("sits on two wheels", "wears a helmet"),
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the vocabulary is empty"),
        (" ; ;", "the vocabulary is empty"),
        (": two wheels", "has no name"),
        ("bus:", "'bus:' has no sentence"),
        ("bus: , ,", "has no sentence"),
        ("bus; bus", "'bus' comes twice"),
        ("bus: long, Long", "'long' twice"),
    ],
)
def test_a_vocabulary_that_says_nothing(text: str, words: str) -> None:
    with pytest.raises(ProLabError, match=words):
        parse_vocabulary(text)


def test_synonyms_are_one_concept() -> None:
    assert concept("Sofa") == concept("couch") != concept("chair")
    assert concept("pedestrian") == concept("person")
    assert concept("sign  symbol") == concept("sign") == concept("traffic sign")


def test_of_a_list_of_names_the_first_counts() -> None:
    assert concept("windowpane, window") == concept("window")
    assert concept("postbox, mailbox, letter box") == concept("post box") == concept("mailbox")
    assert concept("bag, handbag, pocketbook, purse") == "handbag" != concept("bag")


def test_several_of_a_category_are_seen_where_it_is() -> None:
    names, seen = trained_names(["buckets", "bucket, pail", "spotlights"], ["bucket"])
    assert names == ("bucket", None, None)
    assert seen == (True, True, False)


def test_a_name_beside_a_list_that_begins_with_it_is_something_else() -> None:
    """ADE20K's "pot" of 150 categories is the "pot, flowerpot" of 847, which has a "pot", too."""
    full = ("pot, flowerpot", "pot", "car, auto")
    assert trained_names(full, ["car", "pot"]) == (("pot", None, "car"), (True, False, True))
    assert trained_names(["pot", "car"], full) == (("pot, flowerpot", "car, auto"), (True, True))
    assert trained_names(["pot"], ["pot"]) == (("pot",), (True,))
    assert trained_names(full, full) == (full, (True, True, True))


def test_the_same_name_comes_before_a_synonym_and_each_is_given_once() -> None:
    names, seen = trained_names(
        ["motorbike", "Motorcycle", "minibike", "kite"], ["car", "motorcycle", "motorbike"]
    )
    assert names == ("motorbike", "motorcycle", None, None)
    assert seen == (True, True, True, False), "a third word for what was seen is not new"


def test_trained_categories_keep_their_signature_and_new_ones_get_one(
    space: LabelSpace, encoder: WordEncoder
) -> None:
    asked = {"Bicycle": ("anything at all",), **VAN, "house": ("whatever",)}
    vocabulary = in_trained_properties(space, asked, encoder)
    assert vocabulary.trained_as == ("bicycle", None, "house")
    result = vocabulary.label_space
    assert result.categories == tuple(asked)
    np.testing.assert_array_equal(result.bank, space.bank)
    np.testing.assert_array_equal(result.signatures[0], space.signatures[2])
    np.testing.assert_array_equal(result.signatures[2], space.signatures[1])
    np.testing.assert_array_equal(result.signatures[1], space.extend(VAN, encoder).signatures[-1])
    assert result.descriptions["Bicycle"] == SENTENCES["bicycle"]
    assert ("Bicycle", "two round wheels") in {
        pair for one in result.properties for pair in one.descriptions
    }
    assert vocabulary.describe_new().startswith("van: ")


def test_a_new_category_may_have_the_name_of_a_trained_one_that_is_asked_for_under_another(
    encoder: WordEncoder,
) -> None:
    """As the "pot" beside the "pot, flowerpot" of ADE20K's 847 categories, 150 of which have it."""
    trained = build_label_space({"pot": VAN["van"], "house": SENTENCES["house"]}, encoder, 4)
    trained = trained.extend({"kettle": ("painted metal body",)}, encoder)
    asked = {"pot": SENTENCES["house"][:1], "pot, flowerpot": VAN["van"], "kettle": ("-",)}
    vocabulary = in_trained_properties(trained, asked, encoder)
    assert vocabulary.trained_as == (None, "pot", "kettle")
    result = vocabulary.label_space
    assert result.categories == tuple(asked)
    assert result.descriptions == {**asked, "kettle": ("painted metal body",)}
    np.testing.assert_array_equal(result.signatures[1:], trained.signatures[[0, 2]])
    assert not (result.signatures[0] & ~trained.signatures[1]).any()
    assert vocabulary.describe_new().startswith("pot: 1 properties from 1 sentences")
    again = result.extend({"shed": SENTENCES["house"][:1]}, encoder)
    np.testing.assert_array_equal(again.signatures[-1], result.signatures[0])


@pytest.mark.parametrize("trained", ["ade20k", "pascal_context_459"])
def test_networks_of_the_shipped_label_spaces_answer_ade20k_847(trained: str) -> None:
    own, asked = LabelSpace.load(trained), LabelSpace.load("ade20k_847")
    vocabulary = in_trained_properties(own, asked.descriptions, encoder_of(own, asked))
    assert vocabulary.label_space.categories == asked.categories
    np.testing.assert_array_equal(vocabulary.label_space.bank, own.bank)


def test_without_new_categories_nothing_is_embedded(
    space: LabelSpace, encoder: WordEncoder
) -> None:
    encoder.seen.clear()
    vocabulary = in_trained_properties(space, {"car": (), "house": ()}, encoder)
    assert vocabulary.label_space.hash == space.subset(["car", "house"]).hash
    assert encoder.seen == [] and vocabulary.describe_new() == ""
    with pytest.raises(ProLabError, match="'lorry' has no description"):
        in_trained_properties(space, {"lorry": ()}, encoder)


def test_stored_embeddings_take_the_place_of_the_encoder(
    space: LabelSpace, encoder: WordEncoder
) -> None:
    other = build_label_space({**VAN, "house": SENTENCES["house"]}, encoder, 3)
    stored = encoder_of(space, space, other)
    assert isinstance(stored, StoredEmbeddings)
    by_store = in_trained_properties(space, other.descriptions, stored).label_space
    by_model = in_trained_properties(space, other.descriptions, encoder).label_space
    np.testing.assert_array_equal(by_store.signatures, by_model.signatures)
    with pytest.raises(ProLabError, match="'unheard' is not stored"):
        stored.encode(["unheard"])
    elsewhere = build_label_space(VAN, WordEncoder(12), 2)
    with pytest.raises(ProLabError, match="different sentence encoders .*'words of 12'"):
        StoredEmbeddings(space, elsewhere)
    with pytest.raises(ProLabError, match="holds no embeddings"):
        StoredEmbeddings(replace(space, embeddings=None))


def test_an_encoder_that_cannot_be_loaded(space: LabelSpace) -> None:
    with pytest.raises(ProLabError, match="encoder of the label space, 'words of 24': there is no"):
        encoder_of(space)
    with pytest.raises(ProLabError, match="'words of 24': there is no folder './none'"):
        encoder_of(space, name="./none")
    with pytest.raises(ProLabError, match="does not say which sentence encoder"):
        encoder_of(replace(space, provenance={}))


def test_the_shipped_encoder_is_found_by_its_record(minilm: object) -> None:
    space = LabelSpace.load("scenes")
    loaded = encoder_of(space)
    assert loaded.provenance["encoder_sha256"] == space.provenance["encoder_sha256"]
    assert space.extend({"lorry": ("large round wheels",)}, loaded).num_categories == 15


def test_banks_are_swapped_only_between_equal_encoders(space: LabelSpace) -> None:
    other = build_label_space(VAN, WordEncoder(), 2)
    check_swap(space, other)
    assert check_swap(LabelSpace.load("camvid"), LabelSpace.load("pascal_voc")) is None
    for changed, words in (
        ({"encoder": "another"}, "the encoder 'words of 24', not with 'another'"),
        ({"pooling": "cls"}, "the pooling 'mean', not with 'cls'"),
        ({"encoder": None}, "label space of the test does not say"),
    ):
        with pytest.raises(ProLabError, match=words):
            check_swap(space, replace(other, provenance={**other.provenance, **changed}))
    wide = LabelSpace.from_arrays(["van"], np.ones((2, 30)), [[1, 1]], provenance=other.provenance)
    with pytest.raises(ProLabError, match="embeddings of 24, here 30"):
        check_swap(space, wide)


def test_the_nearest_category_is_itself_or_that_of_the_nearest_sentences(
    space: LabelSpace, encoder: WordEncoder
) -> None:
    asked = {"bicycle": (), **VAN, "hut": ("sloping roof", "wooden walls")}
    assert nearest_categories(space, asked, encoder) == (2, 0, 1)
    with pytest.raises(ProLabError, match="'lorry' has no description"):
        nearest_categories(space, {"lorry": ()}, encoder)
