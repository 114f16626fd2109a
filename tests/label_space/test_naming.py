from __future__ import annotations

import numpy as np
import pytest

from prolab_d2 import LabelSpace
from prolab_d2.label_space import shipped_label_spaces
from prolab_d2.label_space.clustering import Clusters
from prolab_d2.label_space.naming import property_names, shorten


def test_equal_names_are_told_apart() -> None:
    sentences = ["Red paint.", "red paint", "red wall", "RED PAINT"]
    embeddings = np.array([[0.0], [10.0], [10.5], [20.0]])
    clusters = Clusters(np.array([0, 1, 1, 2]), np.array([[0.0], [10.0], [20.0]]))
    assert property_names(sentences, embeddings, clusters) == [
        "Red paint",
        "red wall",
        "RED PAINT (2)",
    ]


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
