"""Files of the published layout: a small one, and those of the golden and released files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.label_space import SentenceEncoder
from prolab_d2.label_space.release import read_release
from tests.golden import GoldenArrays, golden_files, golden_folder
from tests.label_space.conftest import WordEncoder
from tests.label_space.release_files import DESCRIPTORS, KEY, MEMBERS, ORDER, Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
def test_bank_and_signatures(files: Files, zipped: bool, tmp_path: Path) -> None:
    files.save(zipped=zipped)
    space = files.read()
    assert space.categories == ("car", "bed", "house")
    assert space.descriptions["bed"] == ("Four wooden legs", "Soft mattress")
    np.testing.assert_array_equal(space.bank, files.bank)
    np.testing.assert_array_equal(space.signatures, files.signatures)
    assert space.properties[0].name == "property 0" and space.property_of_description is None
    record = space.provenance
    assert (record["encoder"], record["llm"]) == ("words", "gpt3.5")
    assert (record["pooling"], record["lower_case"]) == ("mean", True)
    assert set(record["release"]["sha256"]) == {"descriptors.json", "bank.pth"}
    space.save(tmp_path / "space")
    assert LabelSpace.load(tmp_path / "space").hash == space.hash


def test_rows_instead_of_columns_and_tensors_instead_of_arrays(files: Files) -> None:
    files.save([torch.from_numpy(files.bank), torch.from_numpy(files.signatures)])
    space = files.read()
    np.testing.assert_array_equal(space.bank, files.bank)
    np.testing.assert_array_equal(space.signatures, files.signatures)


def test_a_property_file_names_what_its_categories_tell(files: Files) -> None:
    space = files.read(properties=files.properties)
    names = [entry.name for entry in space.properties]
    shared = ["Metallic or Rolls", "Stands on something or Soft"]
    assert names == [
        "Brick",
        f"{shared[0]} (1)",
        "Glass",
        f"{shared[1]} (1)",
        f"{shared[0]} (2)",
        f"{shared[1]} (2)",
    ]
    assert space.properties[2].descriptions == (
        ("car", "Glass windows"),
        ("house", "Glass windows all around"),
    )
    assert space.properties[1].descriptions == (
        ("car", "Four round wheels"),
        ("car", "Made of metal: steel"),
    )
    assert space.property_of_description is None, "not certain for all sentences"


def test_an_encoder_tells_the_rest(files: Files, encoder: WordEncoder) -> None:
    both = files.read(properties=files.properties, encoder=encoder)
    assert [entry.name for entry in both.properties] == ORDER
    alone = files.read(encoder=encoder)
    assert alone.properties[2].name == "Glass windows"
    for space in (both, alone):
        assert space.properties[4].descriptions == (("car", "Made of metal: steel"),)
        np.testing.assert_array_equal(space.property_of_description, [1, 4, 2, 5, 3, 2, 0])
        assert space.embeddings.shape == (7, 24)
        assert space.provenance["encoder"] == encoder.provenance["encoder"]


def test_a_property_file_alone_is_enough_where_categories_differ(files: Files) -> None:
    """Without the two that only the bed has, and the two that only the car has."""
    merged = {"On four": [*MEMBERS["Stands on something"], *MEMBERS["Rolls"]]}
    merged |= {name: MEMBERS[name] for name in ("Glass", "Metallic", "Soft", "Brick")}
    files.properties.write_text(json.dumps(merged))
    signatures = np.array([[0, 1, 1, 1, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 1]])
    files.save([files.bank[:5].T, signatures.T.astype(np.float64)])
    space = files.read(properties=files.properties)
    assert [entry.name for entry in space.properties] == [
        "Soft",
        "On four",
        "Glass",
        "Metallic",
        "Brick",
    ]
    np.testing.assert_array_equal(space.property_of_description, [1, 3, 2, 1, 0, 2, 4])


def test_files_that_do_not_belong_together(files: Files) -> None:
    def refused(message: str, **options: Any) -> None:
        with pytest.raises(ProLabError, match=message):
            files.read(**options)
        files.write()

    files.descriptors.write_text(json.dumps({**DESCRIPTORS, "car": ["Wheels"]}))
    refused("made of other sentences than those in .*descriptors.json: give the descriptor")
    reordered = dict(reversed(DESCRIPTORS.items()))
    files.descriptors.write_text(json.dumps(reordered))
    refused("made of other sentences")
    files.save([files.bank.T, np.ones((6, 5))])
    refused(r"labels of shape \(6, 5\), but there are 3 categories")
    files.save([files.bank.T[:, :4], files.signatures.T.astype(float)])
    refused("labels of 6 properties, but 4 centres")
    files.save([files.bank.T])
    refused("is no list of two arrays")
    torch.save([1, 2], files.embeddings)
    refused("has no entry '..._embeddings_and_labels': give an embedding file")
    files.save(**{KEY.replace("6", "7"): [files.bank.T, files.signatures.T.astype(float)]})
    refused(f"has several entries: choose the key '{KEY}' or 'words_gpt3.5_cluster_7")
    refused("has no entry 'mine': choose the key", key="mine")
    files.descriptors.write_text(json.dumps({**DESCRIPTORS, "bed": ["Pillow"]}))
    refused("two categories have the same name but for spaces")


def test_property_files_of_something_else(files: Files) -> None:
    def refused(members: dict[str, list[str]], message: str) -> None:
        files.properties.write_text(json.dumps(members))
        with pytest.raises(ProLabError, match=message):
            files.read(properties=files.properties)

    refused({"Glass": MEMBERS["Glass"]}, "belongs to no property")
    refused({**MEMBERS, "More": ["car: Glass windows"]}, "'car: Glass windows' .* or comes twice")
    refused({"Blue": ["sky: Blue"]}, "'sky: Blue' of property 'Blue' is no sentence")
    moved = {**MEMBERS, "Glass": ["car: Glass windows"]}
    moved["Brick"] = [*MEMBERS["Brick"], "house: Glass windows all around"]
    refused(moved, "the categories of 'Glass' are not those of one there")
    fewer = {name: lines for name, lines in MEMBERS.items() if name != "Soft"}
    fewer["Stands on something"] = [*fewer["Stands on something"], *MEMBERS["Soft"]]
    refused(fewer, "5 properties do not fit the 6 in the embedding file")


def test_another_encoder_than_that_of_the_release(files: Files) -> None:
    with pytest.raises(ProLabError, match="embeddings of 24 numbers, the encoder gives 8"):
        files.read(encoder=WordEncoder(8))

    class Other(WordEncoder):
        def encode(self, sentences: Any) -> np.ndarray:
            return super().encode([line[::-1] for line in sentences])

    with pytest.raises(ProLabError, match="no sentence of .* use the encoder of the release"):
        files.read(encoder=Other())


def released(pattern: str) -> Path | None:
    """A file of the release, where the golden folder has it."""
    return next((golden_folder() / "prolab_release").glob(pattern), None)


def golden_clusters() -> Iterator[tuple[GoldenArrays, str, list[str]]]:
    """Arrays, name and categories of every golden clustering."""
    for path in golden_files("f7_label_space*.npz"):
        arrays = GoldenArrays(path)
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["datasets"]
        for case in (name.removesuffix("/labels") for name in arrays if name.endswith("/labels")):
            yield arrays, case, record[case]["classes"]


def save_golden(path: Path, centres: np.ndarray, labels: np.ndarray, descriptors: Path) -> None:
    """(K, D) and (N, K) as the published notebook writes them."""
    key = f"all-MiniLM-L6-v2_gpt3.5_cluster_{len(centres)}_embeddings_and_labels"
    descriptions = json.loads(descriptors.read_text(encoding="utf-8"))
    torch.save({"descriptions": descriptions, key: [centres.T, labels.T.astype("f8")]}, path)


@pytest.mark.golden
def test_golden_clusters_in_the_layout_of_the_release(tmp_path: Path) -> None:
    descriptors, bank = tmp_path / "descriptors.json", tmp_path / "bank.pth"
    count = 0
    for arrays, case, categories in golden_clusters():
        owner = arrays[f"{case.rpartition('_k')[0]}/class_index"]
        numbered = {
            name: [f"sentence {row}" for row in np.flatnonzero(owner == i)]
            for i, name in enumerate(categories)
        }
        descriptors.write_text(json.dumps(numbered))
        labels = arrays[f"{case}/multi_hot_NxK"]
        # The copy in the repository has no centres; any numbers must come back.
        centres = arrays.get(f"{case}/centres")
        if centres is None:
            centres = np.random.default_rng(0).normal(size=(labels.shape[1], 8)).astype("f4")
        save_golden(bank, centres, labels, descriptors)
        space = read_release(descriptors, bank)
        np.testing.assert_array_equal(space.bank, centres)
        np.testing.assert_array_equal(space.signatures, labels)
        assert space.categories == tuple(name.strip() for name in categories)
        count += 1
    assert count
    print(f"{count} clusterings read")


@pytest.mark.golden
@pytest.mark.slow
def test_an_encoder_finds_the_golden_clusters(tmp_path: Path, minilm: SentenceEncoder) -> None:
    """Nothing but sentences and bank are given, and all labels come back."""
    count = 0
    for arrays, case, _ in golden_clusters():
        descriptors = released(f"descriptors/*_{case.rpartition('_k')[0]}_*.json")
        centres = arrays.get(f"{case}/centres")
        if descriptors is not None and centres is not None:
            path = tmp_path / "bank.pth"
            save_golden(path, centres, arrays[f"{case}/multi_hot_NxK"], descriptors)
            space = read_release(descriptors, path, encoder=minilm)
            np.testing.assert_array_equal(space.property_of_description, arrays[f"{case}/labels"])
            count += 1
    if not count:
        pytest.skip("the released descriptions are not in the golden folder")
    print(f"{count} clusterings found")


@pytest.mark.golden
def test_released_property_files(tmp_path: Path) -> None:
    """All released sentences and names of properties; the numbers of the bank are random."""
    count = 0
    for path in golden_files("f7_official_membership*.npz"):
        arrays = GoldenArrays(path)
        for dataset in {name.split("/")[0] for name in arrays}:
            descriptors = released(f"descriptors/*_{dataset}_*.json")
            properties = released(f"properties/*_{dataset}.json")
            if descriptors is None or properties is None:
                continue
            # The golden file numbers properties as the property file lists them, the bank does not.
            signatures = arrays[f"{dataset}/multi_hot_NxK"]
            rng = np.random.default_rng(0)
            order = rng.permutation(signatures.shape[1])
            signatures = signatures[:, order]
            bank = rng.normal(size=(len(order), 768)).astype(np.float32)
            key = f"bge-base-en-v1.5_gpt3.5_cluster_{len(order)}_embeddings_and_labels"
            torch.save({key: [bank.T, signatures.T.astype(np.float64)]}, tmp_path / "bank.pth")

            space = read_release(descriptors, tmp_path / "bank.pth", properties)
            np.testing.assert_array_equal(space.signatures, signatures)
            assert all(name == name.strip() for name in space.categories)
            assert space.provenance["encoder"] == "bge-base-en-v1.5"
            titles = list(json.loads(properties.read_text(encoding="utf-8")))
            certain = 0
            for entry, number in zip(space.properties, order, strict=True):
                assert titles[number] in entry.name, "its name is among those that it may have"
                certain += entry.name == titles[number]
            assert certain > 0.95 * len(titles)
            print(f"{dataset}: {certain} of {len(titles)} properties named for certain")
            count += 1
    if not count:
        pytest.skip("the released property files are not in the golden folder")
