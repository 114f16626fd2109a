"""Two label spaces in one, and other numbers of properties."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.label_space import build_label_space
from tests.label_space.conftest import SENTENCES, WordEncoder


def test_camvid_and_scenes_become_one() -> None:
    camvid, scenes = LabelSpace.load("camvid"), LabelSpace.load("scenes")
    both = camvid.merge(scenes, 64)
    shared = [name for name in scenes.categories if name in camvid.categories]
    assert both.categories[:11] == camvid.categories
    assert both.categories[11:] == tuple(n for n in scenes.categories if n not in shared)
    assert both.provenance["united"] == shared
    assert both.num_properties == 64 and both.confused_categories() == []
    for name in shared:
        lines = {*camvid.descriptions[name], *scenes.descriptions[name]}
        assert set(both.descriptions[name]) == lines
        assert len(both.descriptions[name]) == len(lines)
    stored = {
        line: row
        for space in (camvid, scenes)
        for line, row in zip(
            [line for lines in space.descriptions.values() for line in lines],
            space.embeddings,
            strict=True,
        )
    }
    sentences = [line for lines in both.descriptions.values() for line in lines]
    np.testing.assert_array_equal(both.embeddings, np.stack([stored[line] for line in sentences]))
    assert both.subset(scenes.categories).categories == scenes.categories


def test_a_category_of_both_gets_the_sentences_of_both(
    space: LabelSpace, encoder: WordEncoder
) -> None:
    other = build_label_space(
        {"ship": ["painted metal body", "tall mast"], "car": ["Glass windows", "red paint"]},
        encoder,
        2,
        seed=5,
        provenance={"llm": "another"},
    )
    both = space.merge(other, 5, seed=3)
    assert both.categories == ("car", "house", "bicycle", "ship")
    assert both.descriptions["car"] == (*SENTENCES["car"], "red paint")
    assert both.provenance["united"] == ["car"]
    assert both.provenance["clustering"] == {"method": "kmeans", "num_properties": 5}
    assert both.provenance["seed"] == 3 and both.provenance["encoder"] == "words of 24"
    assert "llm" not in both.provenance, "it is not the same for all sentences"
    first, second = both.provenance["merged"]
    assert first["hash"] == space.hash and second["provenance"]["llm"] == "another"
    assert "dates" not in second["provenance"]


def test_merging_forgets_what_was_said_of_one_label_space_only(
    space: LabelSpace, encoder: WordEncoder
) -> None:
    grown = space.extend({"lorry": ["painted metal body"]}, encoder)
    both = grown.merge(grown.subset(["lorry"]), 4)
    assert "extensions" not in both.provenance and "subset_of" not in both.provenance
    assert both.categories == grown.categories and both.descriptions == grown.descriptions


def test_label_spaces_that_do_not_go_together(space: LabelSpace, encoder: WordEncoder) -> None:
    cases = {
        "made with the encoder 'words of 24', not with 'words of 25'": build_label_space(
            SENTENCES, WordEncoder(25), 4
        ),
        "second label space holds no embeddings": replace(space, embeddings=None),
        "second label space does not say which encoder": replace(space, provenance={}),
        "embeddings of 24 and 25 numbers": replace(
            build_label_space(SENTENCES, WordEncoder(25), 4), provenance=space.provenance
        ),
        "'ship' of the second label space has no description": (
            LabelSpace.from_arrays(
                ["ship", "car"],
                space.bank,
                space.signatures[:2],
                descriptions={"car": SENTENCES["car"]},
                embeddings=space.embeddings[:3],
                provenance=space.provenance,
            )
        ),
    }
    for message, other in cases.items():
        with pytest.raises(ProLabError, match=message):
            space.merge(other)
    with pytest.raises(ProLabError, match="9 properties cannot be made of 8 different sentences"):
        space.merge(space, 9)


@pytest.mark.parametrize("method", ["ward", "average"])
def test_a_tree_gives_label_spaces_with_other_numbers_of_properties(
    method: str, encoder: WordEncoder, tmp_path: Path
) -> None:
    by_model = {"property_names": {"llm": "a model"}}
    space = build_label_space(SENTENCES, encoder, 4, method=method, provenance=by_model)
    space.save(tmp_path / "tree")
    loaded = LabelSpace.load(tmp_path / "tree")
    np.testing.assert_array_equal(loaded.tree, space.tree)
    for k in (1, 3, 8):
        part = loaded.cut(k)
        built = build_label_space(SENTENCES, encoder, k, method=method)
        np.testing.assert_array_equal(part.property_of_description, built.property_of_description)
        np.testing.assert_array_equal(part.signatures, built.signatures)
        np.testing.assert_allclose(part.bank, built.bank, atol=1e-3)
        assert part.provenance["clustering"] == {"method": method, "num_properties": k}
        assert part.provenance["cut_of"] == space.hash
        assert "property_names" not in part.provenance
        np.testing.assert_array_equal(part.cut(4).signatures, space.signatures)


def test_what_cannot_be_cut(space: LabelSpace, encoder: WordEncoder) -> None:
    with pytest.raises(ProLabError, match="has no tree .* build it with the clustering 'ward'"):
        space.cut(3)
    twice = {name: (*lines, "red paint") for name, lines in SENTENCES.items()}
    tree = build_label_space(twice, encoder, 4, method="ward")
    assert tree.cut(9).num_properties == 9
    for k in (0, 10):
        with pytest.raises(ProLabError, match=f"{k} properties .* of 9 different sentences"):
            tree.cut(k)


def test_a_part_of_a_label_space_has_no_tree(encoder: WordEncoder) -> None:
    space = build_label_space(SENTENCES, encoder, 4, method="ward")
    assert space.tree is not None and space.subset(["car"]).tree is None
