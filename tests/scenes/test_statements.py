"""What is true of drawn things, by their attributes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prolab_d2.scenes import Scene
from prolab_d2.scenes.statements import _RULES, UNKNOWN, is_true

LABEL_SPACE = Path(__file__).resolve().parents[2] / "label_spaces/scenes"
METAL = {"material": "metal", "orientation": "upright"}


@pytest.mark.parametrize(
    ("sentence", "attributes", "expected"),
    [
        ("red or yellow leaves in autumn", {"material": "leaves", "colour": "red"}, 1),
        ("red or yellow leaves in autumn", {"material": "leaves", "colour": "green"}, 0),
        ("red or yellow leaves in autumn", {"material": "metal", "colour": "red"}, 0),
        ("bright red, yellow, blue or green", {"category": "bus", **METAL, "colour": "blue"}, 1),
        ("bright red, yellow, blue or green", {"category": "car", **METAL, "colour": "black"}, 0),
        # Brick is red, and not bright.
        ("bright red, yellow, blue or green", {"material": "brick", "colour": "red"}, UNKNOWN),
        ("bright red, yellow, blue or green", {"material": "brick", "colour": "grey"}, 0),
        (
            "bright red, yellow, blue or green",
            {"material": "cloth", "colour": "red", "second_colour": "black"},
            UNKNOWN,
        ),
        ("rough dark grey asphalt", {"category": "road", "material": "asphalt"}, 1),
        ("rough dark grey asphalt", {"category": "pavement", "material": "asphalt"}, UNKNOWN),
        ("rough dark grey asphalt", {"category": "road", "material": "brick"}, 0),
        ("round shadows on the ground", {"category": "road", "material": "asphalt"}, UNKNOWN),
        ("no sentence of any label space", {}, UNKNOWN),
    ],
)
def test_truth_follows_from_the_attributes(
    sentence: str, attributes: dict[str, str], expected: int
) -> None:
    assert is_true(sentence, attributes) == expected


def test_every_rule_is_about_a_sentence_and_things_that_exist(
    train_scenes: list[Scene], val_scenes: list[Scene]
) -> None:
    descriptions = json.loads((LABEL_SPACE / "descriptions.json").read_text(encoding="utf-8"))
    assert set(_RULES) <= {sentence for own in descriptions.values() for sentence in own}
    drawn: dict[str, set[str]] = {}
    things = [
        thing for scene in (*train_scenes, *val_scenes) for thing in scene.attributes.values()
    ]
    for thing in things:
        for name, value in thing.items():
            drawn.setdefault(name, set()).add(value)
    for sentence, rule in _RULES.items():
        for condition in (*rule.true, *rule.unknown):
            for name, values in condition.items():
                assert values <= drawn[name], (sentence, name, values - drawn[name])
        # Of these many things it is true of some, and false of others.
        assert {is_true(sentence, thing) for thing in things} >= {0, 1}, sentence
