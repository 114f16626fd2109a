from __future__ import annotations

import numpy as np
import pytest

from prolab_d2 import LabelSpace, ProLabError, Property
from prolab_d2.label_space.inspection import (
    categories_of,
    compare_spaces,
    difference,
    find_category,
    find_property,
    flat_provenance,
    nearest_categories,
    nearest_properties,
    properties_of,
    signature_distances,
    unassigned_sentences,
)

SENTENCES = {
    "car": ["metal body", "four wheels", "dark wheels"],
    "bus": ["large metal body", "six wheels", "rows of windows"],
    "house": ["windows above windows", "brick walls"],
}
#           metal wheels windows brick
ASSIGNED = [0, 1, 1, 0, 1, 2, 2, 3]
NAMES = ["metal body", "wheels", "rows of windows", "brick walls"]


@pytest.fixture
def small() -> LabelSpace:
    return make()


def make(
    sentences: dict[str, list[str]] = SENTENCES,
    assigned: list[int] = ASSIGNED,
    names: list[str] = NAMES,
    **provenance: object,
) -> LabelSpace:
    owner = np.repeat(np.arange(len(sentences)), [len(lines) for lines in sentences.values()])
    signatures = np.zeros((len(sentences), len(names)), dtype=bool)
    signatures[owner, assigned] = True
    return LabelSpace.from_arrays(
        list(sentences),
        np.eye(len(names)) + 0.1 * np.arange(len(names)),
        signatures,
        names,
        sentences,
        provenance,
        property_of_description=assigned,
    )


def test_names_are_found_in_any_case_and_by_number(small: LabelSpace) -> None:
    assert find_category(small, "bus") == find_category(small, "BUS") == 1
    assert find_category(small, "2") == 2
    assert find_property(small, "Brick Walls") == find_property(small, "3") == 3
    assert find_property(small, "indow") == 2, "a part that only one has"


def test_a_name_comes_before_a_number_and_a_case() -> None:
    space = LabelSpace.from_arrays(
        ["1", "Car", "car", "0"], np.eye(2), np.ones((4, 2), bool), ["2", "1"]
    )
    assert [find_category(space, name) for name in ("1", "0", "car", "Car", "2")] == [0, 3, 2, 1, 2]
    assert find_property(space, "1") == 1 and find_property(space, "2") == 0
    with pytest.raises(ProLabError, match="no category 'CAR': did you mean"):
        find_category(space, "CAR")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cat", r"the label space has no category 'cat': did you mean 'car'\?"),
        ("zebra", "no category 'zebra': it has car, bus, house$"),
        ("7", "no category 7: its categories are 0 to 2$"),
        ("9" * 5000, "its categories are 0 to 2$"),
        ("-1", "no category '-1'"),
        ("", "no category '': it has"),
    ],
)
def test_unknown_categories_are_answered_in_one_sentence(
    small: LabelSpace, name: str, message: str
) -> None:
    with pytest.raises(ProLabError, match=message) as error:
        find_category(small, name)
    assert "\n" not in str(error.value)


def test_unknown_properties_are_answered_with_those_that_hold_the_word(small: LabelSpace) -> None:
    # "w" is in three names.
    with pytest.raises(ProLabError, match="no property 'w': did you mean 'wheels' or 'rows of wi"):
        find_property(small, "w")
    with pytest.raises(ProLabError, match="no property 4: its properties are 0 to 3"):
        find_property(small, "4")


def test_properties_of_a_category_begin_with_its_own(small: LabelSpace) -> None:
    house = properties_of(small, 2)
    assert [(entry.number, entry.others) for entry in house] == [(3, ()), (2, (1,))]
    assert house[1].sentences == ("windows above windows",)
    assert properties_of(small, 0)[1].sentences == ("four wheels", "dark wheels")


def test_categories_of_a_property(small: LabelSpace) -> None:
    entries = [(entry.number, entry.sentences) for entry in categories_of(small, 1)]
    assert entries == [(0, ("four wheels", "dark wheels")), (1, ("six wheels",))]


def test_without_members_there_are_properties_but_no_sentences() -> None:
    space = LabelSpace.from_arrays(["a", "b"], np.eye(2), [[1, 1], [0, 1]], None, {"a": ["one"]})
    assert [entry.sentences for entry in properties_of(space, 0)] == [(), ()]
    assert categories_of(space, 1)[1].sentences == ()
    assert unassigned_sentences(space, 0) == ("one",) and unassigned_sentences(space, 1) == ()


def test_every_sentence_of_a_built_label_space_is_assigned(small: LabelSpace) -> None:
    assert all(not unassigned_sentences(small, i) for i in range(3))


def test_nearest_categories(small: LabelSpace) -> None:
    car = nearest_categories(small, 0)
    assert [(near.number, near.shared) for near in car] == [(1, (0, 1)), (2, ())]
    assert car[0].distance == pytest.approx(1 - 2 / np.sqrt(6)) and car[1].distance == 1
    assert nearest_categories(small, 0, 1) == car[:1]
    distances = signature_distances(small)
    assert distances[0, 1] == car[0].distance and np.array_equal(distances, distances.T)
    assert not distances.diagonal().any()


def test_equal_signatures_are_at_distance_0() -> None:
    space = LabelSpace.from_arrays(["a", "b"], np.eye(7), np.ones((2, 7), bool))
    assert nearest_categories(space, 0)[0].distance == 0
    assert difference(space, 0, 1).distance == 0 and not signature_distances(space).any()


def test_nearest_properties_go_by_the_direction_of_the_bank() -> None:
    bank = [[1, 0], [9, 1], [0, 2], [-1, 0]]
    space = LabelSpace.from_arrays(["a"], bank, [[1, 1, 1, 1]])
    near = nearest_properties(space, 0)
    assert [entry.number for entry in near] == [1, 2, 3]
    assert [entry.distance for entry in near] == pytest.approx([0.00612, 1, 2], abs=1e-5)


def test_the_difference_of_two_categories(small: LabelSpace) -> None:
    result = difference(small, 1, 2)
    assert (result.shared, result.only_first, result.only_second) == ((2,), (0, 1), (3,))
    assert result.distance == pytest.approx(1 - 1 / np.sqrt(6))


def test_flat_provenance_leaves_out_dates() -> None:
    provenance = {"dates": {"built": 1}, "clustering": {"method": "ward", "x": {"y": 2}}, "a": {}}
    assert flat_provenance(provenance) == {
        "clustering.method": "ward",
        "clustering.x.y": 2,
        "a": {},
    }


def test_a_label_space_does_not_differ_from_itself(small: LabelSpace) -> None:
    result = compare_spaces(small, make(dates={"built": "later"}))
    assert result.same and not result.settings and not result.reordered
    assert result.agreement == 1 and all(change.same for change in result.changes)
    assert [pair[:2] for pair in result.pairs] == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert not (result.moved or result.only_first or result.only_second or result.new_first)


def test_other_provenance_alone_is_the_same_content(small: LabelSpace) -> None:
    result = compare_spaces(small, make(seed=1, clustering={"method": "ward"}))
    assert result.same
    assert result.settings == (("seed", None, 1), ("clustering.method", None, "ward"))


def test_properties_in_another_order_are_found_again(small: LabelSpace) -> None:
    turned = make(assigned=[3 - k for k in ASSIGNED], names=["d", "c", "b", "a"])
    result = compare_spaces(small, turned)
    assert not result.same and result.agreement == 1
    assert {pair[:2] for pair in result.pairs} == {(0, 3), (1, 2), (2, 1), (3, 0)}
    assert {pair[2] for pair in result.pairs} == {1.0}
    assert all(change.same for change in result.changes) and not result.moved


def test_a_parted_property_shows_in_what_categories_have_lost_and_gained(
    small: LabelSpace,
) -> None:
    # "six wheels" of the bus becomes a property of its own.
    other = make(assigned=[0, 1, 1, 0, 4, 2, 2, 3], names=[*NAMES, "six wheels"])
    result = compare_spaces(small, other)
    assert (1, 1, 2 / 3) in result.pairs and result.pairs[-1] == (1, 1, 2 / 3)
    assert result.new_first == () and result.new_second == (4,)
    bus, *others = result.changes
    assert (bus.category, bus.kept, bus.lost, bus.gained) == ("bus", 2, (1,), (4,))
    assert all(change.same for change in others)
    assert result.moved[0][:2] == ("car", "bus")
    assert result.moved[0][2:] == pytest.approx([0.1835, 0.5918], abs=1e-4)
    assert 0 < result.agreement < 1


@pytest.mark.parametrize(
    ("grouping", "other", "expected"),
    [
        # As scikit-learn's adjusted_rand_score gives it.
        ([0, 0, 1, 2], [0, 0, 1, 1], 4 / 7),
        ([0, 0, 1, 1, 2, 2], [0, 1, 2, 0, 1, 2], -0.25),
        ([0, 0, 0, 0], [0, 1, 2, 2], 0.0),
        ([0, 1, 2, 2], [1, 2, 0, 0], 1.0),
    ],
)
def test_the_agreement_is_the_adjusted_rand_index(
    grouping: list[int], other: list[int], expected: float
) -> None:
    sentences = {"a": [f"sentence {i}" for i in range(len(grouping))]}
    spaces = [make(sentences, numbers, ["p", "q", "r"]) for numbers in (grouping, other)]
    assert compare_spaces(*spaces).agreement == pytest.approx(expected)


def test_other_categories_and_sentences_are_listed(small: LabelSpace) -> None:
    sentences = {"house": SENTENCES["house"], "tree": ["brown wood"], "bus": ["six wheels", "red"]}
    other = make(sentences, [0, 1, 2, 3, 4], ["w", "b", "t", "s", "r"])
    result = compare_spaces(small, other)
    assert (result.only_first, result.only_second) == (("car",), ("tree",))
    assert result.reordered, "bus came before house"
    change = next(change for change in result.changes if change.category == "bus")
    assert change.sentences_lost == ("large metal body", "rows of windows")
    assert change.sentences_gained == ("red",)


def test_without_common_sentences_names_tell_counterparts(small: LabelSpace) -> None:
    bare = LabelSpace.from_arrays(
        ["car"], np.eye(2), [[1, 1]], [Property("wheels"), Property("lamps")]
    )
    result = compare_spaces(small, bare)
    assert result.pairs == ((1, 0, 1.0),) and result.agreement is None
    (change,) = result.changes
    assert (change.kept, change.lost, change.gained) == (1, (0,), (1,))


def test_nothing_in_common_is_no_error(small: LabelSpace) -> None:
    other = LabelSpace.from_arrays(["moon"], np.eye(1), [[1]], ["pale"])
    result = compare_spaces(small, other)
    assert not (result.changes or result.moved or result.pairs)
    assert result.new_first == (0, 1, 2, 3) and result.new_second == (0,)


def test_one_common_sentence_gives_no_agreement(small: LabelSpace) -> None:
    result = compare_spaces(small, make({"car": ["metal body"]}, [0], ["m"]))
    assert result.agreement is None and result.pairs == ((0, 0, 1.0),)
