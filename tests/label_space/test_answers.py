from __future__ import annotations

import pytest

from prolab_d2.label_space.answers import (
    COPIED,
    EMPTY,
    ENDLESS,
    GENERIC,
    NAMES_ITSELF,
    REFUSED,
    REPEATED,
    judge,
    normalize,
    read_name,
)
from prolab_d2.label_space.llm import Answer, Question
from prolab_d2.label_space.prompts import Task

QUESTION = Question("", 0, 100)
LIST = Task(QUESTION, 4, None, ("broad red and white bands", "tall tower"))
FACET = Task(QUESTION, 1, "made of {answer}", ("made of painted steel and glass", "made of cotton"))


def lines(text: str, category: str = "fence", cut: bool = False) -> list[str]:
    return judge(LIST, Answer(text, cut), category).sentences


def phrase(text: str, category: str = "fence", cut: bool = False) -> list[str]:
    return judge(FACET, Answer(text, cut), category).sentences


def faults(task: Task, text: str, category: str = "fence", cut: bool = False) -> dict[str, int]:
    return dict(judge(task, Answer(text, cut), category).faults)


SAME = ["rows of thin bars", "made of 2 wires"]


@pytest.mark.parametrize(
    "text",
    [
        "- rows of thin bars\n- made of 2 wires\n",
        "Sure! Here are some lines:\n\n* rows of thin bars.\n* made of 2 wires.\n\nHope it helps!",
        "1. Rows of thin bars\n2) made of 2 wires",
        "(1) rows of thin bars\n(2) made of 2 wires",
        "• **Shape**: rows of thin bars\n• **Material and color:** made of 2 wires",
        "rows of thin bars\nmade of 2 wires",
        "Here you are:\nrows of thin bars\nmade of 2 wires",
        '- "rows of thin bars"\n- “made of 2 wires”',
        '["rows of thin bars", "made of 2 wires"]',
        '```json\n{"lines": ["rows of thin bars", "made of 2 wires"]}\n```',
        "<think>\n- wood? steel?\n</think>\n- rows of thin bars\n- made of 2 wires",
    ],
)
def test_lists_of_every_form_are_read(text: str) -> None:
    assert list(map(str.lower, lines(text))) == SAME
    assert faults(LIST, text) == {}


def test_text_of_any_script_stays_and_broken_characters_go() -> None:
    assert lines("- вертикальные прутья\n- 木の柵\n") == ["вертикальные прутья", "木の柵"]
    assert lines("- thin\x00 bars\ud83d in rows\n") == ["thin bars in rows"]
    assert lines("- 3.5 metres wide\n- 4 rows: one above another\n") == [
        "3.5 metres wide",
        "4 rows: one above another",
    ]


def test_known_faults_of_lists() -> None:
    assert faults(LIST, "") == faults(LIST, " \n\n") == faults(LIST, "Sure:") == {EMPTY: 1}
    assert faults(LIST, "<think>\nfor ever and ever") == {EMPTY: 1}
    assert faults(LIST, "- thin bars\n- Thin bars.\n- thin bars") == {REPEATED: 2}
    assert faults(LIST, "- Broad red and white bands.\n- thin bars") == {COPIED: 1}
    assert faults(LIST, "- broad red and white band\n- thin bars") == {COPIED: 1}
    # Two words may be right for two categories.
    assert lines("- tall tower") == ["tall tower"]
    assert faults(LIST, "- a fence\n- Fences\n- thin bars") == {NAMES_ITSELF: 2}
    assert faults(LIST, "I'm sorry, but I am not familiar with that.") == {REFUSED: 1}
    assert faults(LIST, "- " + "very " * 40) == {ENDLESS: 1}
    assert faults(LIST, "- steel, glass, stone, brick, steel, glass, steel") == {ENDLESS: 1}
    assert faults(LIST, "- a wall of a wall of a wall of stone") == {ENDLESS: 1}
    assert faults(LIST, "- thin bars\n- a wall with", cut=True) == {ENDLESS: 1}
    assert lines("- thin bars\n- a wall with", cut=True) == ["thin bars"]
    assert lines("- thin bars\n- a wall\n", cut=True) == ["thin bars", "a wall"]


def test_what_is_said_of_nonsense_says_nothing() -> None:
    generic = {normalize("Smooth and shiny")}
    found = judge(LIST, Answer("- smooth and shiny.\n- thin bars"), "fence", generic)
    assert found.sentences == ["thin bars"] and found.faults == {GENERIC: 1}
    found = judge(FACET, Answer(" a hard thing"), "fence", {"made of a hard thing"})
    assert found.sentences == [] and found.faults == {GENERIC: 1}


def test_phrases_become_sentences() -> None:
    assert phrase(" wood or steel") == ["made of wood or steel"]
    assert phrase(" {answer}, wire and {0}") == ["made of {answer}, wire and {0}"]
    assert phrase(" soft wire,  thin\tbars") == ["made of soft wire, thin bars"]


def test_phrases_lose_items_that_come_again_or_say_the_name() -> None:
    assert phrase(" a door, a window and a door") == ["made of a door and a window"]
    assert phrase(" steel, glass, stone, steel, glass, st", cut=True) == [
        "made of steel, glass and stone"
    ]
    assert phrase(" a fence, a wall and other fences") == ["made of a wall"]
    assert phrase(" fence posts or wire") == ["made of fence posts or wire"]
    assert phrase(" grass and leaves", "grass") == ["made of leaves"]
    assert phrase(" car parks", "car") == ["made of car parks"]


def test_known_faults_of_phrases() -> None:
    assert faults(FACET, "") == {EMPTY: 1}
    assert faults(FACET, " painted steel and glass") == {COPIED: 1}
    # One word says little about where it comes from.
    assert phrase(" cotton") == ["made of cotton"]
    assert faults(FACET, " parts of a fence") == {NAMES_ITSELF: 1}
    assert faults(FACET, " traffic lights", "traffic light") == {NAMES_ITSELF: 1}
    assert faults(FACET, " something that goes on", cut=True) == {ENDLESS: 1}
    assert faults(FACET, " one long thing " + "after another " * 6) == {ENDLESS: 1}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Brick walls", "Brick walls"),
        (' "made of red bricks."\nBecause', "made of red bricks"),
        ("Name: at the roadside", "at the roadside"),
        ("- four wheels", "four wheels"),
        ("", None),
        ("one two three four five six seven", None),
        ("12", None),
        ("I'm sorry", None),
        ("Curved horns", None),
        ("bent backwards", "bent backwards"),
        ("long horns, bent backwards", None),
        ("made of wood", "made of wood"),
    ],
)
def test_names_of_properties(text: str, name: str | None) -> None:
    assert read_name(Answer(text), ("two long horns; bent backwards", "curved horns")) == name


def test_a_name_that_is_cut_is_none() -> None:
    assert read_name(Answer("brick", cut=True)) is None
