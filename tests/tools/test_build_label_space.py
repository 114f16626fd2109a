from __future__ import annotations

import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from prolab_d2 import LabelSpace
from prolab_d2.label_space import SentenceEncoder
from prolab_d2.label_space.llm import Answer, Question, Sampling
from tests.label_space.conftest import MINILM_PACKAGE, SENTENCES, WordEncoder
from tests.label_space.conftest import minilm as minilm
from tests.refusals import assert_one_sentence
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


def test_stages_of_an_earlier_run_are_reused(
    sentences: Path, tmp_path: Path, words: list, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(sentences, tmp_path / "out") == 0
    assert {path.name.split("-")[0] for path in (tmp_path / "out.build").iterdir()} == {
        *(".lock", "embeddings", "clusters", "output.json")
    }
    capsys.readouterr()
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert run(sentences, tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert "embeddings: 8 sentences of an earlier run" in out
    assert "clusters: 4 properties of an earlier run" in out
    again = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    del files["build.log"], again["build.log"]
    assert again == files
    more = ["--work", str(tmp_path / "out.build"), "--properties", "5"]
    assert run(sentences, tmp_path / "other", *more) == 0
    out = capsys.readouterr().out
    assert "embeddings: 8 sentences of an earlier run" in out
    assert re.search(r"clusters: 5 properties in \d", out)


def test_given_embeddings_need_no_encoder(
    sentences: Path, tmp_path: Path, words: list, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(sentences, tmp_path / "out") == 0
    (embeddings,) = (tmp_path / "out.build").glob("embeddings-*")
    arguments = ["--descriptions", str(sentences), "--properties", "4"]
    given = ["--embeddings", str(embeddings), "--output", str(tmp_path / "given")]
    assert tool.main([*arguments, *given]) == 0
    assert len(words) == 1
    first, second = LabelSpace.load(tmp_path / "out"), LabelSpace.load(tmp_path / "given")
    assert first.hash == second.hash
    assert second.provenance["encoder"] == first.provenance["encoder"] == "words of 24"
    sentences.write_text(json.dumps({**SENTENCES, "kerb": ["grey"]}))
    assert tool.main([*arguments, *given, "--overwrite"]) == 2
    assert_one_sentence(capsys, r"embeddings-\w+.safetensors holds embeddings an array .* for 9")


def test_the_list_of_categories_gives_the_order(
    sentences: Path, tmp_path: Path, words: list, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "categories.txt"
    listed.write_text("bicycle\nhouse: a dwelling\ncar\n")
    assert run(sentences, tmp_path / "out", "--categories", str(listed)) == 0
    assert LabelSpace.load(tmp_path / "out").categories == ("bicycle", "house", "car")
    listed.write_text("bicycle\ncar\n")
    assert run(sentences, tmp_path / "other", "--categories", str(listed)) == 2
    assert_one_sentence(capsys, "describes 'house', which is no category of .*categories.txt")
    listed.write_text("bicycle\ncar\nhouse\nkerb\n")
    assert run(sentences, tmp_path / "other", "--categories", str(listed)) == 2
    assert_one_sentence(capsys, r"1 of 4 categories have no description \('kerb', .*--llm")


class TellTale:
    """A language model that says of every category the same kind of thing."""

    can_chat = True
    provenance: dict[str, Any] = {"llm": "tell-tale", "llm_sha256": None}

    def answer(self, question: Question, sampling: Sampling) -> Answer:
        text = question.prompt[-1].content
        number = int(hashlib.sha256(text.encode()).hexdigest()[:4], 16)
        lines = [f"{kind} part number {number + i}" for i, kind in enumerate(KINDS)]
        return Answer("".join(f"- {line}\n" for line in lines))


KINDS = ("round", "long", "hard", "soft", "grey", "warm", "wooden", "shiny")


@pytest.fixture
def tell_tale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "LlamaCpp", lambda name, **options: TellTale())


def test_categories_without_sentences_are_described(
    sentences: Path,
    tmp_path: Path,
    words: list,
    tell_tale: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    listed = tmp_path / "categories.txt"
    listed.write_text("car\nkerb\nhouse\nbicycle\n")
    arguments = ["--categories", str(listed), "--llm", "tell-tale.gguf", "--sentences", "8"]
    assert run(sentences, tmp_path / "out", *arguments, "--allow-confused") == 0
    space = LabelSpace.load(tmp_path / "out")
    assert space.categories == ("car", "kerb", "house", "bicycle")
    assert space.descriptions["car"] == SENTENCES["car"]
    assert len(space.descriptions["kerb"]) == 8
    assert space.provenance["llm"] == "tell-tale"
    assert space.provenance["prompt"] == "structured"
    assert space.provenance["given"] == list(SENTENCES)
    written = json.loads((tmp_path / "out.build/descriptions.json").read_text())
    assert list(written) == list(space.categories)
    assert "8 sentences about 1 categories" in capsys.readouterr().out


ODD_NAMES = [
    "traffic light/sign",
    '"dog\'s" bed',
    "..",
    "C:\\temp",
    "x" * 300,
    "猫",
    "дорога",
    "a {brace}",
    "two\nlines",
]


def test_odd_names_of_categories(tmp_path: Path, words: list, tell_tale: None) -> None:
    listed = tmp_path / "categories.json"
    names = [name for name in ODD_NAMES if name != ".."]
    listed.write_text(json.dumps(names))
    arguments = ["--categories", str(listed), "--llm", "tell-tale.gguf", "--encoder", "words"]
    arguments += ["--allow-confused", "--output", str(tmp_path / "out")]
    assert tool.main(arguments) == 0
    space = LabelSpace.load(tmp_path / "out")
    assert space.categories == tuple(" ".join(name.split()) for name in names)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("categories.json", "out", "out.build")
    ]


def test_odd_names_in_descriptions(tmp_path: Path, words: list) -> None:
    path = tmp_path / "descriptions.json"
    path.write_text(
        json.dumps({name: [f"red {i}", f"part {i * i}"] for i, name in enumerate(ODD_NAMES)})
    )
    assert run(path, tmp_path / "out", "--properties", "12") == 0
    assert LabelSpace.load(tmp_path / "out").categories == tuple(ODD_NAMES)


def test_names_that_differ_in_case(
    tmp_path: Path, words: list, tell_tale: None, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "categories.txt"
    listed.write_text("Car\ncar\n")
    arguments = ["--categories", str(listed), "--llm", "tell-tale.gguf", "--encoder", "words"]
    assert tool.main([*arguments, "--output", str(tmp_path / "out")]) == 2
    assert_one_sentence(capsys, "'car', is there already as 'Car': rename or drop one")
    assert not words


def test_a_language_model_names_the_properties(
    sentences: Path, tmp_path: Path, words: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Namer(TellTale):
        def answer(self, question: Question, sampling: Sampling) -> Answer:
            return Answer("parts of a vehicle" if "wheels" in str(question.prompt[-1]) else "")

    monkeypatch.setattr(tool, "LlamaCpp", lambda name, **options: Namer())
    assert run(sentences, tmp_path / "out", "--name-with-llm", "--llm", "namer.gguf") == 0
    space = LabelSpace.load(tmp_path / "out")
    assert "parts of a vehicle" in [entry.name for entry in space.properties]
    assert space.provenance["property_names"]["llm"] == "tell-tale"
    assert space.provenance["llm"] is None


def test_a_label_space_is_extended(
    sentences: Path, tmp_path: Path, words: list, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(sentences, tmp_path / "base", "--pooling", "cls", "--no-lower-case") == 0
    words.clear()
    new = tmp_path / "new.json"
    new.write_text(json.dumps({"cart": ["two round wheels", "painted metal body"]}))
    arguments = ["--descriptions", str(new), "--extend", str(tmp_path / "base")]
    arguments += ["--output", str(tmp_path / "out"), "--note", "added later"]
    assert tool.main(arguments) == 0
    base, space = LabelSpace.load(tmp_path / "base"), LabelSpace.load(tmp_path / "out")
    assert space.categories == (*base.categories, "cart")
    assert (space.signatures[:3] == base.signatures).all()
    (record,) = space.provenance["extensions"]
    assert record["note"] == "added later"
    assert words[0]["model"] == "words of 24"
    assert json.loads((tmp_path / "out/descriptions.json").read_text()).keys() == {
        *(*SENTENCES, "cart")
    }
    assert "cart: " in capsys.readouterr().out
    new.write_text(json.dumps({"shed": ["brick walls", "sloping roof", "rows of glass windows"]}))
    assert tool.main([*arguments, "--overwrite"]) == 2
    assert_one_sentence(capsys, "house = shed.*--allow-confused")


def test_label_spaces_are_merged(sentences: Path, tmp_path: Path, words: list) -> None:
    assert run(sentences, tmp_path / "first") == 0
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"cart": ["two round wheels", "wooden box"], "car": ["a bonnet"]}))
    assert run(other, tmp_path / "second", "--properties", "3") == 0
    words.clear()
    arguments = ["--merge", str(tmp_path / "first"), str(tmp_path / "second")]
    arguments += ["--properties", "7", "--output", str(tmp_path / "out"), "--note", "both"]
    assert tool.main(arguments) == 0
    assert not words  # nothing is embedded anew
    first, space = LabelSpace.load(tmp_path / "first"), LabelSpace.load(tmp_path / "out")
    assert space.categories == (*first.categories, "cart")
    assert space.num_properties == 7 and space.provenance["note"] == "both"
    assert "a bonnet" in space.descriptions["car"]
    assert tool.main([*arguments[:3], "--properties", "1", "--output", str(tmp_path / "one")]) == 2
    assert not (tmp_path / "one").exists()
    # More properties than the first two have sentences.
    other.write_text(json.dumps({"church": ["tall tower", "a bell on top", "pointed windows"]}))
    assert run(other, tmp_path / "third", "--properties", "2") == 0
    most = sum(map(len, space.descriptions.values())) + 1
    three = [*arguments[:3], str(tmp_path / "third"), "--properties", str(most)]
    assert tool.main([*three, "--output", str(tmp_path / "three")]) == 0
    last = LabelSpace.load(tmp_path / "three")
    assert last.categories == (*space.categories, "church") and last.num_properties == most


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--encoder e", "give --categories .* --descriptions or --merge"),
        ("--categories camvid --encoder e --llm a --server b --model c", "not both"),
        ("--categories camvid --encoder e --server b", "--server URL and --model NAME"),
        ("--descriptions d --encoder e --name-with-llm", "--name-with-llm needs"),
        ("--descriptions d", "give --encoder or --embeddings"),
        ("--descriptions d --extend s --properties 4", "--extend keeps the properties"),
        ("--descriptions d --extend ./out", "two folders"),
        ("--descriptions d --encoder e --allow-far", "--allow-far need --extend"),
        ("--merge a b --max-distance 0.5", "--max-distance and --allow-far need --extend"),
        ("--merge a", "two label spaces or more"),
        ("--merge a b --encoder e", "drop --encoder"),
        ("--merge a b --name-with-llm", "drop --name-with-llm"),
        ("--merge a out", "another folder"),
        ("--descriptions d --encoder e --properties 0", "'0' is no whole number above 0"),
        ("--descriptions d --encoder e --properties some", "'some' is no whole number"),
    ],
)
def test_options_that_do_not_go_together(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        tool.main([*arguments.split(), "--output", "out"])
    assert stopped.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_read_only_place_is_one_sentence(
    sentences: Path, words: list, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("/proc/label_space", "/proc/below/label_space"):
        assert run(sentences, Path(place)) == 2
        assert_one_sentence(capsys, "cannot write /proc.*: choose another output folder")
    assert not words


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
