"""With a model whose answers are written here; tests/label_space/llm has a real one."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from prolab_d2 import ProLabError
from prolab_d2.label_space.category_list import CategoryEntry
from prolab_d2.label_space.describing import DescribingResult, describe_categories
from prolab_d2.label_space.descriptions import check_descriptions
from prolab_d2.label_space.llm import Answer, Question, Sampling
from prolab_d2.label_space.progress import Progress
from prolab_d2.label_space.prompts import Prompt, load_prompt
from tests.label_space.conftest import ScriptedModel

ANSWERS = {
    "fence": ["thin upright bars", "wood or wire", "along a garden"],
    "sky": ["blue and wide", "white clouds", "above everything"],
    "car": ["four wheels", "glass windows", "painted metal"],
    "crane (machine)": ["tall steel mast", "long arm", "hook on a rope"],
    "blorvax": ["strange thing", "hard to say", "smooth and shiny"],
}
ENTRIES = [CategoryEntry(*key.rstrip(")").split(" (")) for key in ANSWERS if key != "blorvax"]
EXAMPLE = ["broad red and white bands", "glass room at the top", "rocks and waves around it"]

Script = Callable[[str, Sampling], "str | Answer"]


@pytest.fixture
def prompt(tmp_path: Path) -> Prompt:
    data = {
        "style": "chat",
        "sentences": 3,
        "temperature": 0.2,
        "repeat_penalty": 1.1,
        "question": "about {category}",
        "examples": [{"category": "lighthouse", "sentences": EXAMPLE}],
    }
    (tmp_path / "prompt.yaml").write_text(yaml.safe_dump(data))
    return load_prompt(tmp_path / "prompt.yaml")


def listed(lines: list[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)


def model_of(script: Script) -> ScriptedModel:
    """`script` gets the category with its hint; None means the answer in `ANSWERS`."""

    def answer(question: Question, sampling: Sampling) -> str | Answer:
        category = question.prompt[-1].content.removeprefix("about ")
        given = script(category, sampling)
        return listed(ANSWERS[category]) if given is None else given

    return ScriptedModel(answer)


def good_model() -> ScriptedModel:
    return model_of(lambda category, sampling: None)


def asked(model: ScriptedModel) -> list[str]:
    return [question.prompt[-1].content.removeprefix("about ") for question, _ in model.asked]


def test_descriptions_in_the_order_of_the_list(prompt: Prompt) -> None:
    model = good_model()
    result = describe_categories(ENTRIES, model, prompt)
    assert result.descriptions == {
        entry.name: tuple(ANSWERS[key]) for entry, key in zip(ENTRIES, ANSWERS, strict=False)
    }
    assert list(result.descriptions) == ["fence", "sky", "car", "crane"]
    check_descriptions(result.descriptions)
    assert result.faults == {}
    assert sorted(asked(model)) == sorted(ANSWERS)
    assert result.provenance == {
        "llm": "scripted",
        "llm_sha256": None,
        "prompt": "prompt.yaml",
        "prompt_hash": prompt.sha256,
        "prompt_style": "chat",
        "sentences": 3,
        "temperature": 0.2,
        "llm_seed": 0,
        "attempts": 3,
        "hints": {"crane": "machine"},
    }
    assert str(result) == "12 sentences about 4 categories"


def test_faults_are_asked_for_again_and_reported(prompt: Prompt) -> None:
    attempts: list[Sampling] = []

    def script(category: str, sampling: Sampling) -> str | None:
        if category != "fence":
            return None
        attempts.append(sampling)
        bad = listed(["thin upright bars", EXAMPLE[0], "thin upright bars"])
        return [bad, "", listed(["thin upright bars", "wood or wire", "Smooth and shiny"])][
            len(attempts) - 1
        ]

    result = describe_categories(ENTRIES, model_of(script), prompt)
    assert result.descriptions["fence"] == ("thin upright bars", "wood or wire")
    assert result.faults == {
        "fence": {
            "example copied": 1,
            "sentence repeated": 1,
            "no sentence in the answer": 1,
            "same as for a word without meaning": 1,
        }
    }
    assert len({sampling.seed for sampling in attempts}) == 3
    # At the low temperature of the first attempt, the others would hardly differ.
    assert [sampling.temperature for sampling in attempts] == [0.2, 0.5, 0.5]
    assert "'fence': 2 sentences kept; example copied (1), sentence rep" in str(result)


def test_enough_usable_sentences_are_not_asked_for_again(prompt: Prompt) -> None:
    model = model_of(lambda category, _: listed([f"{category} {i}" for i in "xy"] + [EXAMPLE[0]]))
    result = describe_categories(ENTRIES[:2], model, prompt)
    assert result.descriptions["sky"] == ("sky x", "sky y")
    assert result.faults["sky"] == {"example copied": 1} and len(model.asked) == 3


def test_a_category_without_a_usable_sentence_is_an_error(prompt: Prompt, tmp_path: Path) -> None:
    def script(category: str, sampling: Sampling) -> str | None:
        return listed(EXAMPLE) if category in ("sky", "car") else None

    model = model_of(script)
    with pytest.raises(ProLabError) as caught:
        describe_categories(ENTRIES, model, prompt, work=tmp_path / "work", attempts=2)
    assert str(caught.value) == (
        "category 'sky': the language model gave no usable sentence in 2 attempts (as for 1 more): "
        "example copied; add a hint to the list ('sky: what it is'), or try another prompt, seed "
        "or model"
    )
    # What the others said is kept.
    again = good_model()
    describe_categories([ENTRIES[0], ENTRIES[3]], again, prompt, work=tmp_path / "work", attempts=2)
    assert again.asked == []


def test_categories_with_the_same_answer_are_asked_for_again(prompt: Prompt) -> None:
    def script(category: str, sampling: Sampling) -> str | None:
        confused = category == "sky" and sampling.temperature == 0.2
        return listed(ANSWERS["fence"]) if confused else None

    model = model_of(script)
    result = describe_categories(ENTRIES, model, prompt)
    assert result.descriptions["sky"] == tuple(ANSWERS["sky"])
    assert result.descriptions["fence"] == tuple(ANSWERS["fence"])
    assert result.faults == {
        "fence": {"same answer as for 'sky'": 1},
        "sky": {"same answer as for 'fence'": 1},
    }
    assert sorted(asked(model)) == sorted([*ANSWERS, "fence", "sky"])


def test_a_category_does_not_depend_on_the_others(prompt: Prompt) -> None:
    def script(category: str, sampling: Sampling) -> str:
        return listed([f"{category} number {(sampling.seed >> i) % 10}" for i in range(9)])

    together = describe_categories(ENTRIES, model_of(script), prompt).descriptions
    for entry in ENTRIES:
        alone = describe_categories([entry], model_of(script), prompt).descriptions
        assert alone[entry.name] == together[entry.name]
    other = describe_categories(ENTRIES, model_of(script), prompt, seed=1).descriptions
    assert all(other[name] != lines for name, lines in together.items())


class Killed(BaseException):
    pass


def run_until_killed(
    script: Script, questions: int, prompt: Prompt, work: Path
) -> tuple[DescribingResult | None, ScriptedModel]:
    """The process dies at the question after so many."""

    def dying(category: str, sampling: Sampling) -> str | Answer:
        if len(model.asked) > questions:
            raise Killed
        return script(category, sampling)

    model = model_of(dying)
    try:
        return describe_categories(ENTRIES, model, prompt, work=work), model
    except Killed:
        return None, model


def test_killed_anywhere_it_goes_on_and_ends_in_the_same(prompt: Prompt, tmp_path: Path) -> None:
    def script(category: str, sampling: Sampling) -> str | Answer | None:
        if category == "fence" and sampling.temperature == 0.2:
            return Answer("- thin upright bars\n- wood a", cut=True)
        return listed(ANSWERS["fence"]) if category == "car" else None

    whole = describe_categories(ENTRIES, model_of(script), prompt)
    assert set(whole.faults) == {"fence", "car"}
    total = run_until_killed(script, 99, prompt, tmp_path / "all")[1].asked
    assert len(total) == 5 + 1 + 2
    for questions in range(len(total)):
        work = tmp_path / str(questions)
        first, model = run_until_killed(script, questions, prompt, work)
        assert first is None
        last, other = run_until_killed(script, 99, prompt, work)
        assert last == whole and str(last) == str(whole)
        # Only the answer that was on its way is asked for again.
        assert model.asked[:questions] + other.asked == total
    # Killed in every run, after one more answer.
    work = tmp_path / "often"
    for _ in total:
        run_until_killed(script, 1, prompt, work)
    assert run_until_killed(script, 0, prompt, work)[0] == whole


def test_answers_are_reused_only_for_the_same_question(prompt: Prompt, tmp_path: Path) -> None:
    work = tmp_path / "work"

    def count(**changes: Any) -> int:
        model = good_model()
        model.provenance = {**model.provenance, **changes.pop("model", {})}
        options = {"entries": ENTRIES, "prompt": prompt, "work": work, **changes}
        describe_categories(options.pop("entries"), model, options.pop("prompt"), **options)
        return len(model.asked)

    assert count() == 5 and count() == 0
    assert count(entries=ENTRIES[::-1]) == 0 and count(entries=ENTRIES[1:2]) == 0
    assert count(workers=3) == 0
    for changes in (
        {"seed": 1},
        {"temperature": 0.3},
        {"sentences": 2},
        {"model": {"llm_sha256": "another"}},
    ):
        assert count(**changes) == 5, changes
        assert count(**changes) == 0
    hinted = [CategoryEntry("fence", "sport"), *ENTRIES[1:]]
    ANSWERS_WITH_HINT = {**ANSWERS, "fence (sport)": ANSWERS["fence"]}
    model = model_of(lambda category, _: listed(ANSWERS_WITH_HINT[category]))
    describe_categories(hinted, model, prompt, work=work)
    assert asked(model) == ["fence (sport)"]
    # Another prompt with the same text is the same question, whatever its comments.
    edited = tmp_path / "edited.yaml"
    edited.write_text((tmp_path / "prompt.yaml").read_text() + "# a comment\n")
    assert count(prompt=load_prompt(edited)) == 0
    edited.write_text(edited.read_text().replace("about {category}", "about a {category}"))

    def script(question: Question, sampling: Sampling) -> str:
        category = question.prompt[-1].content.removeprefix("about a ")
        return listed([f"{category} {i}" for i in "xyz"])

    model = ScriptedModel(script)
    describe_categories(ENTRIES[:1], model, load_prompt(edited), work=work)
    assert len(model.asked) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"answers": [{"text": 3, "cut": false}]}'])
def test_damaged_files_are_made_again(content: str, prompt: Prompt, tmp_path: Path) -> None:
    whole = describe_categories(ENTRIES, good_model(), prompt, work=tmp_path / "work")
    for path in (tmp_path / "work").iterdir():
        path.write_text(content)
    model = good_model()
    assert describe_categories(ENTRIES, model, prompt, work=tmp_path / "work") == whole
    assert len(model.asked) == 5


def test_names_of_any_kind(prompt: Prompt, tmp_path: Path) -> None:
    names = ["wall/floor", "../../up", "the 'big' \"one\"", "y" * 300, "дерево", "木", ".", "CON"]
    names = [name for name in names if any(map(str.isalnum, name))] + ["two\nlines"]
    model = model_of(lambda category, _: listed([f"{category[:20]} {i}x" for i in range(3)]))
    entries = [CategoryEntry(name) for name in names]
    result = describe_categories(entries, model, prompt, work=tmp_path / "work")
    assert list(result.descriptions) == [*names[:-1], "two lines"]
    files = [path.name for path in (tmp_path / "work").iterdir()]
    assert len(files) == len(names) + 1 and all(len(name) == 69 for name in files)
    assert {path.name for path in tmp_path.iterdir()} == {"work", "prompt.yaml"}
    titles = [json.loads(path.read_text())["category"] for path in (tmp_path / "work").iterdir()]
    assert {"дерево", "wall/floor", "blorvax"} <= set(titles)
    with pytest.raises(ProLabError, match="category 2, 'Sky', is there already as 'sky'"):
        describe_categories([CategoryEntry("sky"), CategoryEntry("Sky")], model, prompt)


def test_many_workers_give_the_same(prompt: Prompt, tmp_path: Path) -> None:
    entries = [CategoryEntry(f"thing {i}") for i in range(40)]
    model = model_of(lambda category, _: listed([f"{category} {i}" for i in "xyz"]))
    one = describe_categories(entries, model, prompt, work=tmp_path / "one")
    many = describe_categories(entries, model, prompt, work=tmp_path / "many", workers=8)
    assert one == many
    for path in (tmp_path / "one").iterdir():
        assert (tmp_path / "many" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("workers", [1, 4])
def test_a_model_that_fails_ends_the_work(workers: int, prompt: Prompt) -> None:
    def script(category: str, sampling: Sampling) -> str | None:
        if category == "thing 7":
            raise ProLabError("the prompt is too long: shorten it")
        return listed([f"{category} {i}" for i in "xyz"])

    model = model_of(script)
    entries = [CategoryEntry(f"thing {i}") for i in range(400)]
    with pytest.raises(ProLabError, match="category 'thing 7': the prompt is too long: shorten it"):
        describe_categories(entries, model, prompt, workers=workers)
    assert len(model.asked) < 100


def test_progress_and_what_an_earlier_run_left(prompt: Prompt, tmp_path: Path) -> None:
    def told(entries: list[CategoryEntry]) -> str:
        stream = io.StringIO()
        options = {"work": tmp_path / "work", "progress": Progress(stream)}
        describe_categories(entries, good_model(), prompt, **options)
        return stream.getvalue()

    assert "descriptions: 2 categories in" in told(ENTRIES[:2])
    assert "descriptions: 2 categories in" in (text := told(ENTRIES))
    assert "2 of an earlier run" in text
    assert "descriptions: 4 categories of an earlier run" in told(ENTRIES)


def test_settings_that_cannot_be(prompt: Prompt, tmp_path: Path) -> None:
    model = good_model()
    for options, message in (
        ({"sentences": 0}, "0 sentences for each category"),
        ({"attempts": 0}, "0 attempts are too few: choose at least 1"),
        ({"workers": 0}, "0 workers are too few"),
        ({"temperature": 3.0}, "the temperature 3.0 is not between 0 and 2"),
        ({"work": tmp_path / "prompt.yaml" / "work"}, "cannot write .*prompt.yaml"),
    ):
        with pytest.raises(ProLabError, match=message):
            describe_categories(ENTRIES, model, prompt, **options)
    model.can_chat = False
    with pytest.raises(ProLabError, match="no chat template.*: use --prompt-style facets"):
        describe_categories(ENTRIES, model, prompt)


def test_facets_ask_again_for_what_is_missing_only() -> None:
    prompt = load_prompt("facets")
    bad = {"made of": " stone blocks and roof tiles", "is found": " on a fence"}

    def script(question: Question, sampling: Sampling) -> str:
        frame = question.prompt.splitlines()[-1]
        for key, answer in bad.items():
            if key in frame and "fence" in frame and sampling.temperature == 0:
                return answer
        return f" {frame.split()[-1]} something {sampling.seed % 1000} else"

    model = ScriptedModel(script)
    model.can_chat = False
    result = describe_categories([CategoryEntry("fence")], model, prompt)
    assert len(model.asked) == 9 + 9 + 2
    assert result.faults == {
        "fence": {"example copied": 1, "describes the category by its own name": 1}
    }
    lines = result.descriptions["fence"]
    assert len(lines) == 9
    assert lines[2].startswith("made of of something") and lines[6].startswith("found found some")
