from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from prolab_d2 import LabelSpace
from prolab_d2.label_space import SentenceEncoder
from tests.label_space.conftest import MINILM_PACKAGE, SENTENCES, WordEncoder
from tests.label_space.conftest import minilm as minilm
from tools import build_label_space as tool


@pytest.fixture
def sentences(tmp_path: Path) -> Path:
    path = tmp_path / "descriptions.json"
    path.write_text(json.dumps(SENTENCES))
    return path


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replaces the encoder by one that needs no model; returns the options it was given."""
    calls: list[dict[str, Any]] = []

    def make(model: str, **options: Any) -> WordEncoder:
        calls.append({"model": model, **options})
        return WordEncoder()

    monkeypatch.setattr(tool, "load_encoder", make)
    return calls


def run(descriptions: Path, output: Path, *more: str) -> int:
    arguments = f"--encoder words --properties 4 --output {output}".split()
    return tool.main(["--descriptions", str(descriptions), *arguments, *more])


def assert_one_sentence(capsys: pytest.CaptureFixture[str], message: str) -> None:
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: [^\n]+\n", error), error
    assert re.search(message, error), error


def test_a_label_space_is_built_and_summed_up(
    sentences: Path, tmp_path: Path, words: list, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(sentences, tmp_path / "out", "--note", "Written by hand.") == 0
    space = LabelSpace.load(tmp_path / "out")
    assert space.categories == tuple(SENTENCES) and space.num_properties == 4
    assert space.provenance["note"] == "Written by hand."
    out = capsys.readouterr().out
    assert "3 categories with 8 sentences" in out
    assert "clustering 8 sentences into 4 properties" in out
    assert "3 categories, 8 sentences, 4 properties\nproperties per category: " in out
    assert "most alike: " in out


def test_options_reach_the_encoder_and_the_clustering(
    sentences: Path, tmp_path: Path, words: list
) -> None:
    more = ["--pooling", "cls", "--device", "cpu", "--seed", "5", "--allow-confused"]
    assert run(sentences, tmp_path / "out", *more) == 0
    assert words == [{"model": "words", "pooling": "cls", "lower_case": True, "device": "cpu"}]
    assert LabelSpace.load(tmp_path / "out").provenance["seed"] == 5


def test_an_existing_label_space_is_replaced_only_on_demand(
    sentences: Path, tmp_path: Path, words: list, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(sentences, out) == 0
    before = LabelSpace.load(out).hash
    assert run(sentences, out, "--seed", "1", "--allow-confused") == 2
    assert_one_sentence(capsys, "holds a label space already: .*--overwrite")
    assert LabelSpace.load(out).hash == before and len(words) == 1
    assert run(sentences, out, "--seed", "1", "--allow-confused", "--overwrite") == 0
    assert LabelSpace.load(out).hash != before


def test_it_may_stand_beside_its_descriptions(sentences: Path, tmp_path: Path, words: list) -> None:
    assert run(sentences, tmp_path) == 0
    assert LabelSpace.load(tmp_path).num_categories == 3
    assert json.loads(sentences.read_text())["car"] == list(SENTENCES["car"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"car": ["red"', "descriptions.json is not valid JSON"),
        ("[]", "a JSON object of the form"),
        ('{"car": ["red"], "kerb": []}', "category 'kerb' has no description: add at least one"),
        ('{"car": ["red", "RED"]}', "'car' has the description 'red' twice"),
        ('{"a": ["red"], "b": ["Red", "blue"]}', "4 properties cannot be made of 2 different"),
    ],
)
def test_bad_descriptions_write_nothing(
    text: str,
    message: str,
    sentences: Path,
    tmp_path: Path,
    words: list,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sentences.write_text(text)
    assert run(sentences, tmp_path / "out") == 2
    assert_one_sentence(capsys, message)
    assert not (tmp_path / "out").exists() and not words


def test_confused_categories_are_refused(
    sentences: Path, tmp_path: Path, words: list, capsys: pytest.CaptureFixture[str]
) -> None:
    sentences.write_text(json.dumps({**SENTENCES, "villa": SENTENCES["house"]}))
    assert run(sentences, tmp_path / "out") == 2
    assert_one_sentence(
        capsys, r"house = villa.*house, villa have the same sentences.*--allow-confused"
    )
    assert not (tmp_path / "out").exists()
    assert run(sentences, tmp_path / "out", "--allow-confused") == 0
    assert LabelSpace.load(tmp_path / "out").confused_categories() == [("house", "villa")]


def test_places_that_cannot_be_used(
    sentences: Path, tmp_path: Path, words: list, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(sentences, sentences) == 2
    assert_one_sentence(capsys, "is a file: choose another folder")
    assert run(sentences, sentences / "below") == 2
    assert_one_sentence(capsys, "cannot write .*: choose another output folder")
    assert run(tmp_path / "missing.json", tmp_path / "out") == 2
    assert_one_sentence(capsys, "cannot read the descriptions")
    assert not words and not (tmp_path / "out").exists()


def test_a_missing_encoder(
    sentences: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--descriptions", str(sentences), "--properties", "4"]
    output = ["--output", str(tmp_path / "out")]
    assert tool.main([*arguments, *output, "--encoder", "./missing"]) == 2
    assert_one_sentence(capsys, r"there is no folder '\./missing' with a sentence encoder")


def test_the_example_of_the_help_works(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    minilm: SentenceEncoder,
) -> None:
    with pytest.raises(SystemExit) as stopped:
        tool.main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    command = text[text.index("python tools/") :].split("\n\n")[0].replace("\\\n", " ")
    python, script, *arguments = shlex.split(command)
    assert (python, script) == ("python", "tools/build_label_space.py")
    assert f"package:{MINILM_PACKAGE}" in arguments
    place = arguments.index("--output") + 1
    arguments[place] = str(tmp_path / "out")
    monkeypatch.chdir(Path(__file__).parents[2])
    assert tool.main([*arguments, "--device", "cpu"]) == 0
    space = LabelSpace.load(tmp_path / "out")
    assert space.descriptions == LabelSpace.load("camvid").descriptions
    assert space.num_properties == 32
