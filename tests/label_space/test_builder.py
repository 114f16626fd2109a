from __future__ import annotations

import numpy as np
import pytest

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.label_space import build_label_space, cluster
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
    told: list[str] = []
    build_label_space(SENTENCES, encoder, 4, progress=told.append)
    assert told == ["embedded 8 of 8 sentences", "clustering 8 sentences into 4 properties"]


@pytest.mark.parametrize("k", [0, 9])
def test_too_many_properties_fail_before_anything_is_embedded(k: int) -> None:
    encoder = WordEncoder()
    with pytest.raises(ProLabError, match=f"{k} properties cannot be made of 8 different"):
        build_label_space(SENTENCES, encoder, k)
    assert encoder.seen == []


def test_an_encoder_that_gives_something_else() -> None:
    class Broken(WordEncoder):
        def encode(self, sentences: object) -> np.ndarray:
            return np.zeros((3, 4))

    with pytest.raises(ProLabError, match=r"shape \(3, 4\) for 8 sentences: use another one"):
        build_label_space(SENTENCES, Broken(), 4)


def test_a_category_without_sentences_is_named(encoder: WordEncoder) -> None:
    with pytest.raises(ProLabError, match="category 'kerb' has no description"):
        build_label_space({**SENTENCES, "kerb": []}, encoder, 4)
