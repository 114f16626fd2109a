from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from prolab_d2 import ProLabError
from prolab_d2.label_space.category_list import CategoryEntry
from prolab_d2.label_space.prompts import (
    MAX_LINE,
    PROMPT_STYLES,
    load_naming_prompt,
    load_prompt,
    shipped_prompts,
)

CRANE = CategoryEntry("crane", "machine, not the bird")

CHAT = {
    "style": "chat",
    "sentences": 3,
    "temperature": 0.5,
    "repeat_penalty": 1.1,
    "system": "Write {sentences} lines.",
    "question": "Describe {category} in {sentences} lines.",
    "examples": [{"category": "sea", "sentences": ["wide", "blue", "waves", "salty"]}],
}
FACETS = {
    "style": "facets",
    "temperature": 0,
    "repeat_penalty": 1.1,
    "facets": [
        {"frame": "a {category} has", "sentence": "has {answer}", "examples": {"cow": "a tail"}},
        {"frame": "{category} is", "sentence": "{answer}", "examples": {"cow": "heavy"}},
    ],
}


def write(path: Path, data: Any) -> Path:
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def test_every_shipped_prompt_is_complete() -> None:
    assert shipped_prompts() == ["facets", "naive", "structured", "visual"]
    for name in shipped_prompts():
        prompt = load_prompt(name)
        assert prompt.name == name and prompt.style in PROMPT_STYLES
        tasks = prompt.tasks(CategoryEntry("zebra"), prompt.sentences)
        assert sum(task.sentences for task in tasks) == prompt.sentences
        for task in tasks:
            assert len(set(task.examples)) == len(task.examples)
            assert all(len(line) < MAX_LINE for line in task.examples)
    for name in ("structured", "visual"):
        lines = load_prompt(name).tasks(CategoryEntry("zebra"), 9)[0].examples
        assert len(lines) == 27 and not any("lighthouse" in line for line in lines)


def test_defaults_by_style() -> None:
    assert load_prompt().name == load_prompt(None, "chat").name == "structured"
    assert load_prompt(None, "facets").name == "facets"
    assert load_prompt("naive", "chat").name == "naive"
    with pytest.raises(ProLabError, match="'naive' is of the style chat, not facets: choose"):
        load_prompt("naive", "facets")
    with pytest.raises(ProLabError, match="unknown prompt style 'poem': choose chat or facets"):
        load_prompt(None, "poem")


def test_chat_solves_examples_first(tmp_path: Path) -> None:
    prompt = load_prompt(write(tmp_path / "mine.yaml", CHAT))
    (task,) = prompt.tasks(CRANE, 2)
    roles = [message.role for message in task.question.prompt]
    assert roles == ["system", "user", "assistant", "user"]
    system, asked, solved, last = (message.content for message in task.question.prompt)
    assert system == "Write 2 lines." and asked == "Describe sea in 2 lines."
    assert solved == "- wide\n- blue\n"
    assert last == "Describe crane (machine, not the bird) in 2 lines."
    assert last[: task.question.shared] == "Describe "
    assert task.examples == ("wide", "blue", "waves", "salty")
    assert task.question.grammar.startswith("root ::= line{2}\n")
    # What was written about the category itself may well come back.
    assert prompt.tasks(CategoryEntry("Sea"), 2)[0].examples == ()


def test_facets_complete_one_sentence_each(tmp_path: Path) -> None:
    prompt = load_prompt(write(tmp_path / "mine.yaml", FACETS))
    assert prompt.sentences == 2
    first, second = (task.question for task in prompt.tasks(CategoryEntry("owl"), 2))
    assert first.prompt == "a cow has a tail\nan owl has"
    assert second.prompt == "cow is heavy\nowl is"
    # The shared part ends before the article, which depends on the category.
    assert first.prompt[: first.shared] == "a cow has a tail\n"
    assert second.prompt[: second.shared] == "cow is heavy\n"
    (task,) = prompt.tasks(CRANE, 1)
    assert task.question.prompt.endswith("\na crane (machine, not the bird) has")
    assert task.frame == "has {answer}" and task.examples == ("has a tail",)


def test_category_names_are_put_in_as_they_are(tmp_path: Path) -> None:
    prompt = load_prompt(write(tmp_path / "mine.yaml", CHAT))
    for name in ("{category}", "{sentences}", r"\1 \g<0>", "%s", "дерево"):
        (task,) = prompt.tasks(CategoryEntry(name), 3)
        assert task.question.prompt[-1].content == f"Describe {name} in 3 lines."


def test_a_copied_and_edited_file_counts_by_its_content(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one.yaml", CHAT), write(tmp_path / "two.yaml", CHAT)
    assert load_prompt(one).sha256 == load_prompt(two).sha256
    assert load_prompt(one).sha256 == hashlib.sha256(one.read_bytes()).hexdigest()
    assert load_prompt(one).name == "one.yaml"
    two.write_text(two.read_text() + "# a comment\n")
    assert load_prompt(one).sha256 != load_prompt(two).sha256


@pytest.mark.parametrize("number", [0, 41, -1])
def test_number_of_sentences(number: int, tmp_path: Path) -> None:
    with pytest.raises(ProLabError, match=f"{number} sentences .* 'mine.yaml' gives 1 to 40"):
        load_prompt(write(tmp_path / "mine.yaml", CHAT)).tasks(CRANE, number)
    with pytest.raises(ProLabError, match="'mine.yaml' gives 1 to 2"):
        load_prompt(write(tmp_path / "mine.yaml", FACETS)).tasks(CRANE, number)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "style": ({**CHAT, "style": "ode"}, "its style is 'ode', not chat or facets"),
    "no style": ({}, "its style is None"),
    "a naming prompt": ({**CHAT, "style": "naming"}, "its style is 'naming', not chat or facets"),
    "unknown key": ({**CHAT, "sytem": "x"}, "the key 'sytem' means nothing here"),
    "facets in chat": ({**CHAT, "facets": []}, "the key 'facets' means nothing here"),
    "no question": ({**CHAT, "question": " "}, "'question' must be a text"),
    "no category": ({**CHAT, "question": "Describe it"}, r"must hold \{category\} once"),
    "typing error": ({**CHAT, "question": "{categroy}"}, r"holds \{categroy\}, which nothing"),
    "temperature": ({**CHAT, "temperature": 7}, "'temperature' is 7, not from 0 to 2"),
    "no number": ({**CHAT, "sentences": "nine"}, "'sentences' must be a number"),
    "example": ({**CHAT, "examples": [{"category": "sea"}]}, "must be a list of sentences"),
    "a word that YAML reads": (
        {**CHAT, "examples": [{"category": "sea", "sentences": [True]}]},
        "'sentences' of an example is True, not a text; put it in quotes",
    ),
    "no facets": ({**FACETS, "facets": []}, "it has no facets"),
    "no frame": ({**FACETS, "facets": [{"sentence": "{answer}"}]}, "a frame must be a text"),
    "no answer": (
        {**FACETS, "facets": [{**FACETS["facets"][0], "sentence": "red"}]},
        r"a sentence must hold \{answer\} once",
    ),
    "no examples": (
        {**FACETS, "facets": [{**FACETS["facets"][0], "examples": None}]},
        r"the frame 'a \{category\} has' has no examples by category",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_prompts(case: str, tmp_path: Path) -> None:
    data, message = BAD[case]
    path = write(tmp_path / "mine.yaml", data)
    with pytest.raises(ProLabError, match=message) as caught:
        load_prompt(path)
    assert str(caught.value).startswith(str(path))
    assert "copy a prompt from" in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ProLabError, match="there is no prompt 'poem': give a file, or one of fac"):
        load_prompt("poem")
    with pytest.raises(ProLabError, match="there is no prompt"):
        load_prompt(tmp_path)
    (tmp_path / "broken.yaml").write_text("style: [chat")
    with pytest.raises(ProLabError, match="cannot read the prompt .*broken.yaml") as caught:
        load_prompt(tmp_path / "broken.yaml")
    assert "\n" not in str(caught.value)
    (tmp_path / "list.yaml").write_text("- chat")
    with pytest.raises(ProLabError, match="it is no list of keys and values"):
        load_prompt(tmp_path / "list.yaml")


def test_naming_prompt_for_both_kinds_of_models() -> None:
    prompt = load_naming_prompt()
    chat = prompt.question(["red bricks", "brick wall"], chat=True)
    assert chat.prompt[-1].content == "Notes: red bricks; brick wall"
    assert [message.role for message in chat.prompt[:3]] == ["system", "user", "assistant"]
    text = prompt.question(["red bricks", "brick wall"], chat=False)
    assert text.prompt.endswith("\nNotes: red bricks; brick wall\nName:")
    assert text.prompt[: text.shared].endswith("\nNotes: ")
    names = prompt.examples[1::2]
    assert "brown crust" in names
    for name in names:
        assert f"\nName: {name}\n" in text.prompt and len(name.split()) <= 6
