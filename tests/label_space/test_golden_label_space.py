"""Clusters, signatures and confusions of the published recipe, and its own clusters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.metrics import adjusted_rand_score

from prolab_d2.label_space import LabelSpace, SentenceEncoder, cluster, read_descriptions
from prolab_d2.label_space.builder import assemble
from prolab_d2.label_space.clustering import Clusters
from tests.golden import GoldenArrays, assert_close, golden_files, golden_folder

pytestmark = pytest.mark.golden

_LABELS = "/labels"


def golden_pairs() -> Iterator[tuple[GoldenArrays, dict[str, Any]]]:
    """Every array file of this kind with its JSON file."""
    import json

    for path in golden_files("f7_label_space*.npz"):
        yield GoldenArrays(path), json.loads(path.with_suffix(".json").read_text("utf-8"))


def case_names(arrays: GoldenArrays) -> list[str]:
    names = [name.removesuffix(_LABELS) for name in arrays if name.endswith(_LABELS)]
    assert names, f"{arrays.path} holds no clusters"
    return names


def dataset_of(case: str) -> str:
    return re.sub(r"_k\d+$", "", case)


def assert_same_clusters(labels: np.ndarray, expected: np.ndarray, meta: dict[str, Any]) -> bool:
    """Exact on the release of scikit-learn that made the fixture; says whether it is that one."""
    recorded = meta.get("versions", {}).get("sklearn", "")
    if recorded.split(".")[:2] == sklearn.__version__.split(".")[:2]:
        np.testing.assert_array_equal(labels, expected)
        return True
    assert adjusted_rand_score(expected, labels) >= 0.95
    return False


def seed_of(meta: dict[str, Any]) -> int:
    match = re.search(r"random_state=(\d+)", meta.get("kmeans", ""))
    return int(match.group(1)) if match else 0


def space_of(
    classes: list[str], owner: np.ndarray, labels: np.ndarray, embeddings: np.ndarray, k: int
) -> LabelSpace:
    """A label space with numbered sentences: only the clusters matter here."""
    sentences = {
        name: tuple(f"sentence {i}" for i in np.flatnonzero(owner == n))
        for n, name in enumerate(classes)
    }
    assert (np.diff(owner) >= 0).all(), "descriptions come in the order of the categories"
    centres = np.stack([embeddings[labels == c].mean(0) for c in range(k)])
    return assemble(sentences, embeddings, Clusters(labels.astype(np.int32), centres), {})


def test_clusters_signatures_and_confusions() -> None:
    count = 0
    for arrays, meta in golden_pairs():
        for case in case_names(arrays):
            record = meta["datasets"][case]
            labels = arrays[case + _LABELS]
            owner = arrays[f"{dataset_of(case)}/class_index"]
            k = record["k"]
            if f"{dataset_of(case)}/embeddings" in arrays:
                embeddings = arrays[f"{dataset_of(case)}/embeddings"]
                result = cluster(embeddings, k, method="kmeans", seed=seed_of(meta))
                exact = assert_same_clusters(result.labels, labels, meta)
                if exact:
                    inertia = ((embeddings - result.centres[result.labels]) ** 2).sum()
                    assert_close(inertia, record["inertia"], rtol=1e-4, what=case)
                if f"{case}/centres" in arrays:
                    centres = arrays[f"{case}/centres"]
                    if exact:
                        assert_close(result.centres, centres, rtol=1e-5, what=case)
            else:
                # Any numbers: the signatures follow from the labels alone.
                embeddings = np.random.default_rng(0).normal(size=(len(labels), 4))
            space = space_of(record["classes"], owner, labels, embeddings, k)
            expected = arrays[f"{case}/multi_hot_NxK"]
            np.testing.assert_array_equal(space.signatures, expected)
            groups = [tuple(group["classes"]) for group in record["confused_class_groups"]]
            assert space.confused_categories() == groups
            per_category, per_property = space.signatures.sum(1), space.signatures.sum(0)
            assert [per_category.min(), per_category.max()] == record["clusters_per_class_min_max"]
            assert [per_property.min(), per_property.max()] == record["classes_per_cluster_min_max"]
            count += 1
        # Compared by test_encoder_and_clusters_from_the_sentences.
        arrays.assert_all_read(ignore=("*/embedding_first8_dims",))
    print(f"{count} clusterings compared")


def test_the_clusters_of_the_release() -> None:
    count = 0
    for path in golden_files("f7_official_membership*.npz"):
        arrays = GoldenArrays(path)
        for dataset in {name.split("/")[0] for name in arrays}:
            owner = arrays[f"{dataset}/class_index"]
            labels = arrays[f"{dataset}/property_index_of_description"]
            expected = arrays[f"{dataset}/multi_hot_NxK"]
            numbers = np.random.default_rng(0).normal(size=(len(labels), 4))
            classes = [f"category {i}" for i in range(len(expected))]
            space = space_of(classes, owner, labels, numbers, expected.shape[1])
            np.testing.assert_array_equal(space.signatures, expected)
            assert space.confused_categories() == []
            count += 1
        arrays.assert_all_read()
    print(f"{count} released clusterings compared")


def released_descriptions(dataset: str) -> Path | None:
    folder = golden_folder() / "prolab_release" / "descriptors"
    return next(iter(sorted(folder.glob(f"descriptors_{dataset}_*.json"))), None)


def encoded_datasets() -> Iterator[tuple[GoldenArrays, dict[str, Any], str, list[str]]]:
    """Data sets whose sentences are here, with their sentences."""
    for arrays, meta in golden_pairs():
        for dataset in sorted({name.split("/")[0] for name in arrays if name.count("/") == 1}):
            kinds = (f"{dataset}/embeddings", f"{dataset}/embedding_first8_dims")
            path = released_descriptions(dataset)
            if path is not None and any(kind in arrays for kind in kinds):
                sentences = [line for lines in read_descriptions(path).values() for line in lines]
                yield arrays, meta, dataset, sentences


def test_encoder(minilm: SentenceEncoder) -> None:
    """The first sentences of every data set; `test_clusters_from_the_sentences` takes them all."""
    count = 0
    for arrays, _, dataset, sentences in encoded_datasets():
        few = minilm.encode(sentences[:8])
        if f"{dataset}/embeddings" in arrays:
            assert_close(few, arrays[f"{dataset}/embeddings"][:8], rtol=1e-5, what=dataset)
        else:
            first = arrays[f"{dataset}/embedding_first8_dims"][:8]
            assert_close(few[:, :8], first, rtol=1e-5, what=dataset)
        count += 1
    if not count:
        pytest.skip("the released descriptions are not in the golden folder")
    print(f"{count} data sets encoded")


@pytest.mark.slow
def test_clusters_from_the_sentences(minilm: SentenceEncoder) -> None:
    """Sentences to labels, also where the fixture does not hold the embeddings."""
    count = 0
    for arrays, meta, dataset, sentences in encoded_datasets():
        cases = [case for case in case_names(arrays) if dataset_of(case) == dataset]
        embeddings = minilm.encode(sentences)
        if f"{dataset}/embedding_first8_dims" in arrays:
            expected = arrays[f"{dataset}/embedding_first8_dims"]
            assert_close(embeddings[:, :8], expected, rtol=1e-5, what=dataset)
        for case in cases:
            result = cluster(embeddings, meta["datasets"][case]["k"], seed=seed_of(meta))
            assert_same_clusters(result.labels, arrays[case + _LABELS], meta)
            count += 1
    if not count:
        pytest.skip("the released descriptions are not in the golden folder")
    print(f"{count} clusterings from sentences compared")
