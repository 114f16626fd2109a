from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prolab_d2 import LabelSpace
from prolab_d2.label_space import Property, shipped_label_spaces
from prolab_d2.label_space.clustering import Clusters
from prolab_d2.label_space.llm import Question, Sampling
from prolab_d2.label_space.naming import name_properties, property_names, shorten
from tests.label_space.conftest import ScriptedModel


def test_equal_names_are_told_apart() -> None:
    sentences = ["Red paint.", "red paint", "red wall", "RED PAINT"]
    embeddings = np.array([[0.0], [10.0], [10.5], [20.0]])
    clusters = Clusters(np.array([0, 1, 1, 2]), np.array([[0.0], [10.0], [20.0]]))
    assert property_names(sentences, embeddings, clusters) == [
        "Red paint",
        "red wall",
        "RED PAINT (2)",
    ]


def test_of_two_in_a_cluster_the_first_names_it_however_a_processor_rounds() -> None:
    sentences = ["a white sail", "a long hull", "a tall mast"]
    embeddings = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    clusters = Clusters(np.array([0, 0, 1]), np.array([[0.5, 0.5], [0.6, 0.8]]))
    for noise in (-1e-6, 0, 1e-6):
        moved = embeddings + np.array([[noise], [0], [0]])
        assert property_names(sentences, moved, clusters) == ["a white sail", "a tall mast"]


def test_names_stay_unique_when_they_are_shortened() -> None:
    start = "a surface of grey concrete with wide cracks and old stains"
    sentences = [f"{start}, dry", f"{start}, wet"]
    clusters = Clusters(np.array([0, 1]), np.array([[0.0], [1.0]]))
    names = property_names(sentences, np.array([[0.0], [1.0]]), clusters)
    assert names == [f"{start}…", f"{start}… (2)"]


@pytest.mark.parametrize(
    ("sentence", "name"),
    [
        ("Four round wheels.", "Four round wheels"),
        ("  grey \n asphalt ...", "grey asphalt"),
        (
            "Common colors include white, beige, gray, or painted in various shades",
            "Common colors include white, beige, gray…",
        ),
        (
            "Surface can be smooth, rough or textured depending on the finish and the age of it",
            "Surface can be smooth…",
        ),
        (
            "a long sentence without any stop that goes on and on until nobody reads it",
            "a long sentence without any stop that goes on and on until…",
        ),
        (
            "Large panels of glass (clear, tinted or mirrored) that cover the whole front of it",
            "Large panels of glass…",
        ),
        (
            "So, in the very beginning of everything there was a narrow strip of grass",
            "So, in the very beginning of everything there was a narrow…",
        ),
        ("x" * 100, "x" * 59 + "…"),
        ("車" * 100, "車" * 59 + "…"),
    ],
)
def test_a_name_is_short_and_begins_as_its_sentence(sentence: str, name: str) -> None:
    assert shorten(sentence) == name
    assert len(name) <= 60


@pytest.mark.parametrize("name", shipped_label_spaces())
def test_every_name_is_that_of_a_member(name: str) -> None:
    for entry in LabelSpace.load(name).properties:
        assert entry.name in {shorten(line) for _, line in entry.descriptions}


PROPERTIES = [
    Property("red brick walls", (("house", "walls of red brick"), ("wall", "rows of bricks"))),
    Property("four wheels", (("car", "four wheels"), ("bus", "wheels with tyres"))),
    Property("leaves", (("tree", "green leaves"),)),
]


def namer_of(names: dict[str, list[str]]) -> ScriptedModel:
    def script(question: Question, sampling: Sampling) -> str:
        given = next(value for key, value in names.items() if key in question.prompt[-1].content)
        return given.pop(0) if given else "a name that has many more than six words"

    return ScriptedModel(script)


def test_names_of_properties(tmp_path: Path) -> None:
    names = {"rows of bricks": ["brick"], "tyres": ["wheels"], "leaves": ["green leaves"]}
    model = namer_of(names)
    assert name_properties(PROPERTIES, model, work=tmp_path) == ["brick", "wheels", "green leaves"]
    assert model.asked[0][0].prompt[-1].content == "Notes: walls of red brick; rows of bricks"
    assert len(model.asked) == 3
    # Kept for the next run, which asks nothing.
    assert name_properties(PROPERTIES, namer_of({}), work=tmp_path) == [
        "brick",
        "wheels",
        "green leaves",
    ]


def test_unusable_names_are_asked_for_again_and_then_left() -> None:
    names = {
        # None at all, then that of an example in the prompt.
        "rows of bricks": ["", "Curved horns."],
        # One that another property keeps, then its own.
        "tyres": ["Red Brick Walls", "round wheels"],
        "leaves": ["foliage"],
    }
    model = namer_of(names)
    named = name_properties(PROPERTIES, model, workers=2)
    assert named == ["red brick walls", "round wheels", "foliage"]
    assert len(model.asked) == 5
    # Its own name may be given to it.
    names = {"rows of bricks": ["Red brick walls"], "tyres": ["wheels"], "leaves": ["leaves"]}
    model = namer_of(names)
    assert name_properties(PROPERTIES, model) == ["Red brick walls", "wheels", "leaves"]
    assert len(model.asked) == 3
    # Of two that are given the same name, the second is asked again.
    names = {
        "rows of bricks": ["thing"],
        "tyres": ["Thing", "wheels"],
        "leaves": ["Thing", "thing"],
    }
    assert name_properties(PROPERTIES, namer_of(names)) == ["thing", "wheels", "leaves"]


def test_large_properties_are_shown_in_part() -> None:
    members = tuple((f"thing {i}", f"sentence {i}") for i in range(100))
    model = ScriptedModel(lambda question, sampling: "many things")
    assert name_properties([Property("x", members)], model) == ["many things"]
    shown = model.asked[0][0].prompt[-1].content.split("; ")
    assert len(shown) == 12 and shown[-1] == "sentence 91"
