from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest

from prolab_d2 import LabelSpace, ProLabError, Property
from tests.golden import REPOSITORY
from tests.label_space.conftest import SENTENCES

SIGNATURES = [[1, 0, 1], [0, 1, 1], [1, 0, 1], [0, 1, 0]]
CATEGORIES = ["ant", "bee", "cow", "dog"]


def simple_space(**changes: object) -> LabelSpace:
    bank = np.array([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    arguments = {"categories": CATEGORIES, "bank": bank, "signatures": SIGNATURES, **changes}
    return LabelSpace.from_arrays(**arguments)


def test_from_arrays_gives_the_documented_types() -> None:
    space = simple_space()
    assert space.categories == ("ant", "bee", "cow", "dog")
    assert space.bank.dtype == np.float32 and space.bank.shape == (3, 2)
    assert space.bank.tolist() == [[3, 0], [0, 2], [1, 1]], "the bank is not normalised"
    assert space.signatures.dtype == bool and space.signatures.shape == (4, 3)
    assert [p.name for p in space.properties] == ["property 0", "property 1", "property 2"]
    assert space.descriptions == {name: () for name in CATEGORIES}
    assert (space.num_categories, space.num_properties, space.embedding_dim) == (4, 3, 2)
    assert space.embeddings is None and space.property_of_description is None
    assert space.provenance == {}


def test_properties_are_given_as_names_or_with_members() -> None:
    assert simple_space(properties=["a", "b", "c"]).properties[1] == Property("b", ())
    members = (("ant", "six legs"),)
    space = simple_space(
        properties=[Property("a", members), Property("b"), Property("c")],
        descriptions={"ant": ["six legs"]},
    )
    assert space.properties[0].descriptions == members


def test_members_follow_from_the_property_of_every_description(space: LabelSpace) -> None:
    assert sum(len(p.descriptions) for p in space.properties) == 8
    sentences = [(c, line) for c, lines in SENTENCES.items() for line in lines]
    for (category, line), k in zip(sentences, space.property_of_description, strict=True):
        assert (category, line) in space.properties[k].descriptions
        assert space.signatures[space.categories.index(category), k]


def test_a_label_space_cannot_be_changed(space: LabelSpace) -> None:
    with pytest.raises(FrozenInstanceError):
        space.categories = ()
    for array in (space.bank, space.signatures, space.embeddings, space.property_of_description):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_arrays_given_stay_the_callers_own() -> None:
    bank = np.ones((3, 2), dtype=np.float32)
    space = simple_space(bank=bank)
    bank[0] = 7
    assert space.bank[0].tolist() == [1, 1]


def assert_same(first: LabelSpace, second: LabelSpace) -> None:
    assert first.hash == second.hash
    assert first.categories == second.categories
    assert first.properties == second.properties
    assert first.descriptions == second.descriptions
    assert first.provenance == second.provenance
    for name in ("bank", "signatures", "embeddings", "property_of_description"):
        a, b = getattr(first, name), getattr(second, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_save_and_load_give_the_same(space: LabelSpace, tmp_path: Path) -> None:
    space.save(tmp_path / "deep" / "space")
    assert_same(LabelSpace.load(tmp_path / "deep" / "space"), space)
    assert_same(LabelSpace.load(str(tmp_path / "deep" / "space")), space)


def test_state_goes_through_a_checkpoint(space: LabelSpace, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="checkpoints need torch")
    state = space.state()
    assert isinstance(state["json"], str)
    tensors = {name: torch.from_numpy(array.copy()) for name, array in state["arrays"].items()}
    torch.save({"json": state["json"], "arrays": tensors}, tmp_path / "x.pth")
    loaded = torch.load(tmp_path / "x.pth", weights_only=True)
    assert_same(LabelSpace.from_state(loaded), space)
    assert_same(LabelSpace.from_state(state), space)


def test_state_of_something_else_is_refused(space: LabelSpace) -> None:
    with pytest.raises(ProLabError, match=r"ckpt\.pth: no label space inside"):
        LabelSpace.from_state({"model": {}}, where="ckpt.pth")
    state = space.state()
    del state["arrays"]["bank"]
    with pytest.raises(ProLabError, match="the array bank is missing"):
        LabelSpace.from_state(state)


def test_hash_depends_on_content_and_not_on_provenance(space: LabelSpace) -> None:
    same = LabelSpace.from_state(space.state())
    assert same.hash == space.hash
    assert replace(space, provenance={"dates": {"built": "now"}}).hash == space.hash
    bank = space.bank.copy()
    bank[0, 0] = np.nextafter(bank[0, 0], np.float32(np.inf))
    signatures = space.signatures.copy()
    signatures[0] = True
    renamed = (Property("x", space.properties[0].descriptions), *space.properties[1:])
    others = [
        replace(space, bank=bank),
        replace(space, signatures=signatures),
        replace(space, properties=renamed),
        replace(space, categories=("lorry", *space.categories[1:])),
    ]
    assert len({space.hash, *(other.hash for other in others)}) == 5


def test_hash_is_the_same_everywhere() -> None:
    # A changed hash would make every existing checkpoint refuse its own label space.
    assert simple_space().hash[:16] == "aab42d3c38829798"


def test_confused_categories_are_grouped_in_order() -> None:
    assert simple_space().confused_categories() == [("ant", "cow")]
    assert simple_space(signatures=np.ones((4, 3))).confused_categories() == [tuple(CATEGORIES)]
    two = [[1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 0, 0]]
    assert simple_space(signatures=two).confused_categories() == [("ant", "dog"), ("bee", "cow")]


def test_no_confusion_is_an_empty_list(space: LabelSpace) -> None:
    assert space.confused_categories() == []


def test_subset_keeps_signatures_and_bank(space: LabelSpace) -> None:
    part = space.subset(["bicycle", "car"])
    assert part.categories == ("bicycle", "car")
    np.testing.assert_array_equal(part.signatures, space.signatures[[2, 0]])
    np.testing.assert_array_equal(part.bank, space.bank)
    assert [p.name for p in part.properties] == [p.name for p in space.properties]
    assert part.descriptions == {name: SENTENCES[name] for name in ("bicycle", "car")}
    np.testing.assert_array_equal(part.embeddings, space.embeddings[[6, 7, 0, 1, 2]])
    np.testing.assert_array_equal(
        part.property_of_description, space.property_of_description[[6, 7, 0, 1, 2]]
    )
    assert {c for p in part.properties for c, _ in p.descriptions} == {"bicycle", "car"}
    assert part.provenance["subset_of"] == space.hash


def test_subset_can_drop_properties_that_nobody_has(space: LabelSpace) -> None:
    part = space.subset(["bicycle"], drop_unused=True)
    kept = np.flatnonzero(space.signatures[2])
    assert 0 < len(kept) < space.num_properties
    np.testing.assert_array_equal(part.bank, space.bank[kept])
    assert part.signatures.all()
    assert [p.name for p in part.properties] == [space.properties[k].name for k in kept]
    assert part.property_of_description.tolist() == [
        kept.tolist().index(k) for k in space.property_of_description[6:]
    ]


def test_subset_of_a_space_without_sentences() -> None:
    part = simple_space().subset(["dog", "ant"], drop_unused=True)
    assert part.signatures.tolist() == [[False, True, False], [True, False, True]]
    assert simple_space().subset(["dog"], drop_unused=True).num_properties == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["ant", "cwo"], r"no category 'cwo': did you mean 'cow'\?"),
        (["zebra"], "it has ant, bee, cow, dog"),
        (["ant", "ant"], "category 'ant' comes twice"),
        ([], "there are no categories"),
    ],
)
def test_subset_of_wrong_names(names: list[str], message: str) -> None:
    with pytest.raises(ProLabError, match=message):
        simple_space().subset(names)


def test_loading_is_fast_and_light() -> None:
    code = (
        "import sys; from prolab_d2 import LabelSpace; LabelSpace.load('camvid');"
        "print([m for m in ('torch', 'sklearn', 'detectron2', 'sentence_transformers')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        LabelSpace.load("camvid")
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05


def test_names_of_other_scripts_survive(tmp_path: Path) -> None:
    names = ["Straße", "車", 'a "quoted"\nname', "é" * 300]
    space = simple_space(categories=names, descriptions={names[0]: ["grauer Asphalt"]})
    space.save(tmp_path / "s")
    assert LabelSpace.load(tmp_path / "s").categories == tuple(names)
    assert "車" in (tmp_path / "s" / "label_space.json").read_text("utf-8"), "readable by people"


def test_the_embedding_of_a_category_is_the_mean_direction_of_its_sentences() -> None:
    descriptions = {"road": ["grey", "flat"], "sky": ["blue"]}
    embeddings = np.array([[3.0, 0, 0], [0, 0.5, 0], [0, 0, 2]])
    space = LabelSpace.from_arrays(
        list(descriptions),
        np.eye(3),
        np.array([[1, 1, 0], [0, 0, 1]]),
        descriptions=descriptions,
        embeddings=embeddings,
    )
    half = 2**-0.5
    np.testing.assert_allclose(space.category_embeddings, [[half, half, 0], [0, 0, 1]], atol=1e-6)
    assert space.subset(["sky"]).category_embeddings.tolist() == [[0, 0, 1]]
    bare = LabelSpace.from_arrays(list(descriptions), space.bank, space.signatures)
    with pytest.raises(ProLabError, match="no embeddings of its sentences"):
        _ = bare.category_embeddings
    some = LabelSpace.from_arrays(
        list(descriptions),
        space.bank,
        space.signatures,
        descriptions={"road": ["grey"]},
        embeddings=embeddings[:1],
    )
    with pytest.raises(ProLabError, match="no sentence about 'sky'"):
        _ = some.category_embeddings
