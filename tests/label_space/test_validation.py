"""Every way in which a label space can be wrong gets its own sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from prolab_d2 import LabelSpace, ProLabError, Property

GOOD: dict[str, Any] = {
    "categories": ["kerb", "road"],
    "bank": [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]],
    "signatures": [[1, 0, 1], [0, 1, 0]],
    "properties": ["grey", "flat", "long"],
    "descriptions": {"kerb": ["grey stone", "long edge"], "road": ["flat ground"]},
    "embeddings": [[1.0, 0.0], [0.7, 0.7], [0.0, 1.0]],
    "property_of_description": [0, 2, 1],
    "tree": [[0, 1, 0.5, 2], [2, 3, 0.6, 3]],
}

CASES: dict[str, tuple[dict[str, Any], str]] = {
    "no category": ({"categories": []}, "there are no categories: give at least one"),
    "one string": ({"categories": "kerb"}, "must be a list of names"),
    "nameless category": ({"categories": ["kerb", "  "]}, "category 1 has no name"),
    "category that is no text": ({"categories": ["kerb", 3]}, "category 1 has no name"),
    "category twice": ({"categories": ["road", "road"]}, "category 'road' comes twice: rename"),
    "bank of text": ({"bank": [["a", "b"]]}, "bank is no array of numbers"),
    "ragged bank": ({"bank": [[1.0], [1.0, 2.0]]}, "bank is no array of numbers"),
    "flat bank": ({"bank": [1.0, 2.0, 3.0]}, r"bank has shape \(3,\), but needs 2 axes"),
    "empty bank": ({"bank": np.zeros((0, 2))}, "none of them empty"),
    "NaN in the bank": (
        {"bank": [[1.0, 0.0], [np.nan, 1.0], [1.0, 1.0]]},
        "bank holds NaN or infinite values, first in row 1: check the sentence encoder",
    ),
    "infinite bank": ({"bank": [[1.0, 0], [0, 1], [np.inf, 1]]}, "first in row 2"),
    "zero row": ({"bank": [[1.0, 0], [0, 0], [1, 1]]}, "row 1 of the bank is zero"),
    "signatures of the wrong shape": (
        {"signatures": [[1, 0], [0, 1]]},
        r"signatures have shape \(2, 2\), but 2 categories and 3 rows of the bank need \(2, 3\)",
    ),
    "signatures turned round": (
        {"signatures": [[1, 0], [0, 1], [1, 0]]},
        "transpose them",
    ),
    "signatures in between": (
        {"signatures": [[0.5, 0, 1], [0, 1, 0]]},
        "0 or 1 everywhere: threshold them",
    ),
    "signatures of text": ({"signatures": [["a", "b", "c"]] * 2}, "signatures must be an array"),
    "category without property": (
        {"signatures": [[1, 0, 1], [0, 0, 0]]},
        r"category 'road' has no property: .* LabelSpace.subset\(\)",
    ),
    "too few properties": (
        {"properties": ["grey", "flat"]},
        "2 properties are named, but the bank has 3 rows",
    ),
    "nameless property": ({"properties": ["grey", "", "long"]}, "property 1 has no name"),
    "property twice": (
        {"properties": ["grey", "grey", "long"]},
        "two properties are called 'grey': rename",
    ),
    "description of nothing": (
        {"descriptions": {"car": ["red"]}},
        "descriptions of 'car', which is no category",
    ),
    "description that is no list": (
        {"descriptions": {"kerb": "grey stone"}},
        "descriptions of 'kerb' must be a list of sentences",
    ),
    "empty sentence": ({"descriptions": {"kerb": [" "]}}, "none of them empty"),
    "descriptions in another order": (
        {"descriptions": {"road": ["flat ground"], "kerb": ["grey stone", "long edge"]}},
        "another order than the categories",
    ),
    "too few embeddings": (
        {"embeddings": [[1.0, 0.0]]},
        "embeddings has 1 rows for 3 descriptions",
    ),
    "embeddings of another width": (
        {"embeddings": np.ones((3, 5))},
        "embeddings have 5 numbers, rows of the bank 2: use the same sentence encoder",
    ),
    "embeddings too large for half precision": (
        {"embeddings": np.full((3, 2), 1e6)},
        "embeddings holds NaN or infinite",
    ),
    "too few assignments": (
        {"property_of_description": [0, 2]},
        "property_of_description has 2 rows for 3 descriptions",
    ),
    "assignment outside": (
        {"property_of_description": [0, 3, 1]},
        "names a property outside 0 to 2",
    ),
    "assignment in fractions": (
        {"property_of_description": [0.0, 2.0, 1.0]},
        "must be a list of whole numbers",
    ),
    "assignment against the signature": (
        {"property_of_description": [1, 2, 1]},
        "'grey stone' belongs to property 'flat', which the signature of 'kerb' lacks",
    ),
    "member that is no description": (
        {"properties": [Property("grey", (("kerb", "blue"),)), "flat", "long"]},
        "property 'grey' has the member 'blue', which is no description of 'kerb'",
    ),
    "members against the assignment": (
        {"properties": [Property("grey", (("kerb", "long edge"),)), "flat", "long"]},
        "members of property 'grey' are not the descriptions that property_of_description",
    ),
    "tree of another number of sentences": (
        {"tree": [[0, 1, 0.5, 2]]},
        r"the tree has shape \(1, 4\), but 3 descriptions need \(2, 4\)",
    ),
    "tree that joins a sentence twice": (
        {"tree": [[0, 1, 0.5, 2], [1, 3, 0.6, 3]]},
        "the tree does not join all sentences step by step",
    ),
    "tree that joins what is not there yet": (
        {"tree": [[0, 3, 0.5, 2], [1, 2, 0.6, 3]]},
        "the tree does not join all sentences step by step",
    ),
    "tree that joins far sentences first": (
        {"tree": [[0, 1, 0.5, 2], [2, 3, 0.4, 3]]},
        "the tree does not join all sentences step by step",
    ),
    "tree without numbers": ({"tree": [[0, 1, np.nan, 2], [2, 3, 1, 3]]}, "tree holds NaN"),
    "provenance that is no JSON": (
        {"provenance": {"encoder": object()}},
        "provenance cannot be written as JSON",
    ),
}


def test_the_good_one_is_good() -> None:
    LabelSpace.from_arrays(**GOOD).validate()


@pytest.mark.parametrize("name", CASES)
def test_bad_label_space(name: str) -> None:
    changes, message = CASES[name]
    with pytest.raises(ProLabError, match=message) as caught:
        LabelSpace.from_arrays(**{**GOOD, **changes}, where="spaces/mine")
    text = str(caught.value)
    assert text.startswith("spaces/mine: ")
    assert "\n" not in text and len(text) < 300


def test_validate_sees_what_replace_broke() -> None:
    space = LabelSpace.from_arrays(**GOOD)
    broken = {
        "comes twice": {"categories": ("road", "road")},
        "another order": {"descriptions": dict(reversed(space.descriptions.items()))},
        "NaN": {"bank": np.full((3, 2), np.nan, dtype=np.float32)},
        "has no property": {"signatures": np.zeros((2, 3), dtype=bool)},
        "properties are named": {"properties": space.properties[:2]},
    }
    for message, change in broken.items():
        with pytest.raises(ProLabError, match=message):
            replace(space, **change).validate()
