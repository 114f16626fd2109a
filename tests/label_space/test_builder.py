from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.label_space import Property, build_label_space, builder, cluster
from prolab_d2.label_space.builder import read_embeddings
from prolab_d2.label_space.progress import Progress
from tests.label_space.conftest import SENTENCES, WordEncoder


def test_the_parts_of_a_label_space_follow_from_the_clusters(encoder: WordEncoder) -> None:
    space = build_label_space(SENTENCES, encoder, 4, seed=3)
    sentences = [line for lines in SENTENCES.values() for line in lines]
    embeddings = WordEncoder().encode(sentences)
    clusters = cluster(embeddings, 4, seed=3)
    assert space.categories == tuple(SENTENCES)
    np.testing.assert_array_equal(space.bank, clusters.centres)
    np.testing.assert_array_equal(space.property_of_description, clusters.labels)
    np.testing.assert_allclose(space.embeddings, embeddings, atol=1e-3)
    owner = np.repeat([0, 1, 2], [3, 3, 2])
    for n in range(3):
        expected = np.isin(np.arange(4), clusters.labels[owner == n])
        np.testing.assert_array_equal(space.signatures[n], expected)
    assert encoder.seen == sentences


def test_a_property_is_named_after_the_member_nearest_its_centre(space: LabelSpace) -> None:
    sentences = [line for lines in SENTENCES.values() for line in lines]
    for k, entry in enumerate(space.properties):
        members = np.flatnonzero(space.property_of_description == k)
        distance = np.linalg.norm(space.embeddings[members] - space.bank[k], axis=1)
        nearest = {sentences[i] for i in members[distance < distance.min() + 1e-3]}
        assert entry.name in nearest


def test_two_runs_give_the_same(encoder: WordEncoder) -> None:
    first, second = (build_label_space(SENTENCES, encoder, 4) for _ in range(2))
    assert first.hash == second.hash
    logged = {"dates", "timings"}
    strip = [{k: v for k, v in s.provenance.items() if k not in logged} for s in (first, second)]
    assert strip[0] == strip[1]


def test_provenance_says_how_it_was_made(encoder: WordEncoder) -> None:
    record = build_label_space(
        SENTENCES, encoder, 4, seed=2, provenance={"note": "by hand"}
    ).provenance
    assert record["note"] == "by hand"
    assert record["llm"] is None and record["prompt_hash"] is None
    assert record["encoder"] == "words of 24" and record["pooling"] == "mean"
    assert record["clustering"] == {"method": "kmeans", "num_properties": 4}
    assert record["seed"] == 2
    assert {"python", "numpy", "scikit-learn"} <= record["versions"].keys()
    assert record["dates"]["built"].startswith("20")
    assert {"embed", "cluster"} <= record["timings"].keys()
    assert len(record["descriptions_sha256"]) == 64


def test_progress_is_told(encoder: WordEncoder) -> None:
    stream = io.StringIO()
    build_label_space(SENTENCES, encoder, 4, progress=Progress(stream))
    told = [re.sub(r" in \d.*", "", line[11:]) for line in stream.getvalue().splitlines()]
    assert told == [
        "embeddings: 8 sentences",
        "clustering 8 sentences into 4 properties",
        "clusters: 4 properties",
    ]


@pytest.mark.parametrize("k", [0, 9])
def test_too_many_properties_fail_before_anything_is_embedded(k: int) -> None:
    encoder = WordEncoder()
    with pytest.raises(ProLabError, match=f"{k} properties cannot be made of 8 different"):
        build_label_space(SENTENCES, encoder, k)
    assert encoder.seen == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((3, 4)), r"the sentence encoder gave an array .* \(3, 4\) for 8 sentences"),
        (np.full((8, 4), "x"), r"the sentence encoder gave an array .* \(8, 4\) for 8 sentences"),
        (np.full((8, 4), np.nan), r"numbers in row 0 that are not finite"),
    ],
)
def test_an_encoder_that_gives_something_else(
    rows: np.ndarray, message: str, tmp_path: Path
) -> None:
    class Broken(WordEncoder):
        def encode(self, sentences: object) -> np.ndarray:
            return rows

    with pytest.raises(ProLabError, match=message):
        build_label_space(SENTENCES, Broken(), 4, work=tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_number_of_properties_follows_from_the_sentences() -> None:
    sentences = {f"category {i}": [f"word{i} word{i + j}" for j in range(1, 9)] for i in range(14)}
    assert build_label_space(sentences, WordEncoder()).num_properties == 14 * 8 // 7


def test_embeddings_may_be_given(tmp_path: Path) -> None:
    sentences = [line for lines in SENTENCES.values() for line in lines]
    rows = WordEncoder().encode(sentences)
    given = build_label_space(SENTENCES, None, 4, embeddings=rows, provenance={"encoder": "mine"})
    assert given.hash == build_label_space(SENTENCES, WordEncoder(), 4).hash
    assert given.provenance["encoder"] == "mine"
    with pytest.raises(ProLabError, match=r"the given embeddings are an array .* for 8 sentences"):
        build_label_space(SENTENCES, None, 4, embeddings=rows[:7])
    with pytest.raises(ProLabError, match="give an encoder, or their embeddings"):
        build_label_space(SENTENCES, None, 4)


def test_confused_categories_are_an_error_with_a_proposal(encoder: WordEncoder) -> None:
    sentences = {**SENTENCES, "cart": ["two round wheels", "narrow wooden saddle"]}
    assert build_label_space(sentences, encoder, 3).confused_categories()
    with pytest.raises(ProLabError, match=r"car = cart.*\d properties part them") as error:
        build_label_space(sentences, encoder, 3, allow_confused=False)
    number = int(re.search(r"(\d) properties part them", str(error.value))[1])
    assert build_label_space(sentences, encoder, number, allow_confused=False)


class Namer:
    """Calls every property by a number."""

    provenance = {"llm": "counter"}
    can_chat = True


def test_a_language_model_may_name_the_properties(
    encoder: WordEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name(properties: Sequence[Property], model: Namer, **options: Any) -> list[str]:
        assert model is namer
        return [f"{i}: {len(entry.descriptions)} sentences" for i, entry in enumerate(properties)]

    monkeypatch.setattr(builder, "name_properties", name)
    namer = Namer()
    space = build_label_space(SENTENCES, encoder, 4, namer=namer)
    own = build_label_space(SENTENCES, encoder, 4)
    assert space.properties[2].name == f"2: {len(own.properties[2].descriptions)} sentences"
    assert space.properties[2].descriptions == own.properties[2].descriptions
    assert space.provenance["property_names"] == {"llm": "counter"}
    assert "name" in space.provenance["timings"] and space.hash != own.hash


def test_stages_of_an_earlier_call_are_reused(tmp_path: Path) -> None:
    encoder = WordEncoder()
    first = build_label_space(SENTENCES, encoder, 4, work=tmp_path)
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == [
        "clusters",
        "embeddings",
    ]
    encoder.seen.clear()
    stream = io.StringIO()
    again = build_label_space(
        SENTENCES, encoder, 4, work=tmp_path, progress=Progress(stream), method="kmeans"
    )
    assert not encoder.seen and again.hash == first.hash
    assert "embeddings: 8 sentences of an earlier run" in stream.getvalue()
    assert "clusters: 4 properties of an earlier run" in stream.getvalue()


@pytest.mark.parametrize(
    ("change", "embedded", "clustered"),
    [
        ({"num_properties": 5}, False, True),
        ({"seed": 1}, False, True),
        ({"method": "ward"}, False, True),
        ({"encoder": WordEncoder(23)}, True, True),
        ({"descriptions": {**SENTENCES, "kerb": ("grey stone",)}}, True, True),
    ],
)
def test_only_what_a_change_concerns_is_made_again(
    change: dict[str, Any], embedded: bool, clustered: bool, tmp_path: Path
) -> None:
    inputs = {"descriptions": SENTENCES, "encoder": WordEncoder(), "num_properties": 4}
    build_label_space(**inputs, work=tmp_path)
    stream = io.StringIO()
    inputs |= change
    space = build_label_space(**inputs, work=tmp_path, progress=Progress(stream))
    assert ("embeddings: 8 sentences of an earlier run" not in stream.getvalue()) == embedded
    assert ("properties of an earlier run" not in stream.getvalue()) == clustered
    assert space.hash == build_label_space(**inputs).hash


def test_blocks_of_sentences_outlive_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(WordEncoder):
        def encode(self, sentences: Sequence[str]) -> np.ndarray:
            if len(self.seen) >= 6:
                raise KeyboardInterrupt
            return super().encode(sentences)

    monkeypatch.setattr(builder, "_BLOCK", 3)
    with pytest.raises(KeyboardInterrupt):
        build_label_space(SENTENCES, Stopped(), 4, work=tmp_path)
    encoder = WordEncoder()
    space = build_label_space(SENTENCES, encoder, 4, work=tmp_path)
    assert encoder.seen == ["two round wheels", "narrow leather saddle"]
    assert space.hash == build_label_space(SENTENCES, WordEncoder(), 4).hash
    assert not (tmp_path / "embeddings").exists()


def test_embeddings_of_a_working_folder_know_their_encoder(tmp_path: Path) -> None:
    space = build_label_space(SENTENCES, WordEncoder(), 4, work=tmp_path)
    (path,) = tmp_path.glob("embeddings-*")
    rows, known = read_embeddings(path, SENTENCES)
    assert known == WordEncoder().provenance
    assert build_label_space(SENTENCES, None, 4, embeddings=rows).hash == space.hash
    other = {**SENTENCES, "house": ("brick walls", "rows of glass windows", "sloping roof")}
    with pytest.raises(ProLabError, match="holds the embeddings of other sentences"):
        read_embeddings(path, other)


def test_embeddings_of_other_files(tmp_path: Path) -> None:
    rows = WordEncoder().encode([line for lines in SENTENCES.values() for line in lines])
    np.save(tmp_path / "rows.npy", rows)
    found, known = read_embeddings(tmp_path / "rows.npy", SENTENCES)
    np.testing.assert_array_equal(found, rows)
    assert known == {}
    build_label_space(SENTENCES, WordEncoder(), 4).save(tmp_path / "space")
    found, known = read_embeddings(tmp_path / "space/label_space.safetensors", SENTENCES)
    np.testing.assert_allclose(found, rows, atol=1e-3)
    assert found.dtype == np.float32 and known == {}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.npy", b"nonsense", "cannot read the embeddings .*rows.npy"),
        ("rows.safetensors", b"nonsense", "rows.safetensors cannot be read"),
        ("rows.txt", b"1 2 3", "rows.txt cannot be read .*: give a .safetensors file"),
        ("missing.npy", None, "cannot read the embeddings .*missing.npy"),
        ("missing.safetensors", None, "missing.safetensors cannot be read"),
    ],
)
def test_files_without_embeddings(
    name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ProLabError, match=message):
        read_embeddings(tmp_path / name, SENTENCES)


def test_pickled_embeddings_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.array([{"a": 1}] * 8, dtype=object), allow_pickle=True)
    with pytest.raises(ProLabError, match="give a .npy file of numbers"):
        read_embeddings(tmp_path / "rows.npy", SENTENCES)


def test_a_category_without_sentences_is_named(encoder: WordEncoder) -> None:
    with pytest.raises(ProLabError, match="category 'kerb' has no description"):
        build_label_space({**SENTENCES, "kerb": []}, encoder, 4)
