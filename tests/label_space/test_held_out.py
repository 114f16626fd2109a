"""What seen categories teach about those that are held out."""

from __future__ import annotations

import pytest

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.label_space import build_label_space
from prolab_d2.label_space.held_out import examine_held_out, without_categories
from prolab_d2.label_space.vocabulary import StoredEmbeddings
from tests.label_space.conftest import WordEncoder

SENTENCES = {
    "car": ("painted metal body", "four round wheels", "glass windows", "drives along the street"),
    "bus": ("painted metal body", "four round wheels", "glass windows", "drives along the street"),
    "tower": ("glass windows", "thin steel mast"),
    "cart": ("four round wheels", "wooden boards", "painted metal body", "glass windows"),
    "letter": ("white paper", "black ink"),
}


@pytest.fixture
def whole() -> LabelSpace:
    return build_label_space(SENTENCES, WordEncoder(), 6)


def test_nothing_of_a_held_out_category_is_in_the_label_space(whole: LabelSpace) -> None:
    encoder = StoredEmbeddings(whole)
    seen = without_categories(whole, ["cart"], encoder)
    assert seen.categories == ("car", "bus", "tower", "letter")
    assert seen.num_properties == 6
    text = str(seen.descriptions) + str(seen.properties)
    assert "cart" not in text and "wooden boards" not in text
    assert seen.provenance["held_out"] == ["cart"]
    assert seen.provenance["held_out_of"] == whole.hash
    alone = build_label_space(
        {name: lines for name, lines in SENTENCES.items() if name != "cart"}, encoder, 6
    )
    assert alone.hash == seen.hash, "as if the held-out category had never been described"


def test_the_conditions_are_counted(whole: LabelSpace) -> None:
    encoder = StoredEmbeddings(whole)
    seen = without_categories(whole, ["cart"], encoder)
    (cart,) = examine_held_out(seen, whole, ["cart"], encoder)
    assert (cart.sentences, cart.known_sentences) == (4, 3)
    assert cart.properties == 4 - cart.left_out
    assert set(cart.taught) == {"four round wheels", "painted metal body", "glass windows"}
    assert cart.nearest in ("car", "bus") and cart.fulfils

    seen = without_categories(whole, ["letter"], encoder)
    (letter,) = examine_held_out(seen, whole, ["letter"], encoder)
    assert not letter.fulfils

    # Without the bus, most of what the cart has is taught by the car alone.
    seen = without_categories(whole, ["cart", "bus"], encoder)
    cart, _ = examine_held_out(seen, whole, ["cart", "bus"], encoder)
    assert cart.taught == ("glass windows",)


def test_bad_input(whole: LabelSpace) -> None:
    encoder = StoredEmbeddings(whole)
    for names, words in (
        ([], "no category is held out"),
        (["van"], "'van'"),
        (list(SENTENCES), "every category is held out"),
    ):
        with pytest.raises(ProLabError, match=words):
            without_categories(whole, names, encoder)
    with pytest.raises(ProLabError, match="has sentences of 'car', which is held out"):
        examine_held_out(whole, whole, ["car"], encoder)
