from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from prolab_d2 import LabelSpace
from prolab_d2.explain import statistics as module
from prolab_d2.explain.statistics import ExplanationStatistics
from prolab_d2.explain.statistics_report import report_data, report_markdown


def pixels_like(space: LabelSpace, categories: list[int]) -> Tensor:
    """(K, P) unit activations that are the signatures of these categories."""
    rows = torch.from_numpy(space.signatures[categories]).float()
    return (rows / rows.norm(dim=1, keepdim=True)).T


@pytest.fixture
def filled(tiny_label_space: LabelSpace) -> ExplanationStatistics:
    """60 pixels: 30 cars, of them 10 taken for a fence and none with tyres; the rest unlabelled."""
    statistics = ExplanationStatistics(tiny_label_space)
    seen = pixels_like(tiny_label_space, [3] * 20 + [2] * 10 + [0] * 30)
    seen[6] = 0
    statistics.add(seen[:, :25], np.full(25, 3))
    statistics.add(seen[:, 25:], np.array([3] * 5 + [-1] * 20 + [255] * 10))
    return statistics


def test_counts_are_those_of_all_pixels_together(
    filled: ExplanationStatistics, tiny_label_space: LabelSpace
) -> None:
    assert filled.predicted.tolist() == [30, 0, 10, 20, 0]
    assert filled.labelled.tolist() == [0, 0, 0, 30, 0]
    assert filled.confusion[3].tolist() == [0, 0, 10, 20, 0] and filled.confusion.sum() == 30
    assert filled.active_predicted[3].tolist() == [20 * (k in (5, 7, 8)) for k in range(12)]
    assert filled.active_labelled[3, 5] == 30, "a fence has it, too"
    (pair,) = filled.pairs
    count, total = filled.pairs[pair]
    assert pair == (3, 2) and count == 10
    np.testing.assert_allclose(total, 10 * pixels_like(tiny_label_space, [2])[:, 0], rtol=1e-6)


def test_parts_of_an_image_add_up(tiny_label_space: LabelSpace) -> None:
    generator = torch.Generator().manual_seed(0)
    u = torch.nn.functional.normalize(torch.rand(12, 500, generator=generator), dim=0)
    truth = np.random.default_rng(0).integers(-1, 5, 500)
    whole, parts = (ExplanationStatistics(tiny_label_space) for _ in range(2))
    whole.add(u, truth)
    for part in (slice(0, 123), slice(123, 500)):
        parts.add(u[:, part], truth[part])
    for name in ("confusion", "predicted", "active_predicted", "labelled", "active_labelled"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))
    assert whole.pairs.keys() == parts.pairs.keys() and len(whole.pairs) > 5
    for pair, (count, total) in whole.pairs.items():
        assert parts.pairs[pair][0] == count == whole.confusion[pair]
        np.testing.assert_allclose(parts.pairs[pair][1], total, rtol=1e-5)


def test_rare_pairs_are_given_up_before_memory_grows(
    tiny_label_space: LabelSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PAIRS", 2)
    statistics = ExplanationStatistics(tiny_label_space)
    for predicted, times in ((0, 5), (1, 3), (2, 4), (4, 1)):
        u = pixels_like(tiny_label_space, [predicted] * times)
        statistics.add(u, np.full(times, 3))
    assert set(statistics.pairs) == {(3, 0), (3, 2)}
    assert statistics.confusion[3].tolist() == [5, 3, 4, 0, 1], "the counts themselves stay"


def test_the_report_names_what_is_never_seen_and_what_is_to_blame(
    filled: ExplanationStatistics,
) -> None:
    data = report_data(filled)
    assert data["pixels"] == {"predicted": 60, "labelled": 30}
    car = data["categories"][3]
    assert [p["verdict"] for p in car["properties"]] == ["seen", "never", "seen", "seen"]
    assert car["properties"][0]["share_of_labelled"] == 1
    assert car["properties"][2]["share_of_labelled"] == pytest.approx(2 / 3)
    assert [(n["category"], n["property"]) for n in data["never_seen"]] == [
        ("car", "four wheels with black tyres")
    ]
    meadow = data["categories"][1]
    assert {p["verdict"] for p in meadow["properties"]} == {None}, "it does not occur"
    (confusion,) = data["confusions"]
    assert (confusion["category"], confusion["taken_for"]) == ("car", "fence")
    assert confusion["pixels"] == 10
    assert confusion["share_of_category"] == pytest.approx(1 / 3)
    kinds = [b["kind"] for b in confusion["to_blame"]]
    assert kinds == ["wrongly seen"] * 2 + ["not seen"] * 3 + ["shared"]


def test_properties_seen_without_being_expected_are_listed(tiny_label_space: LabelSpace) -> None:
    statistics = ExplanationStatistics(tiny_label_space)
    u = pixels_like(tiny_label_space, [3] * 10)
    u[1, :6] = u[5, 0]
    statistics.add(u)
    car = report_data(statistics)["categories"][3]
    assert car["unexpected"] == [
        {"name": "wide and even without edges", "share_of_predicted": pytest.approx(0.6)}
    ]
    assert report_data(statistics)["confusions"] == []


def test_sentences_of_a_property_are_those_of_the_category() -> None:
    space = LabelSpace.from_arrays(
        ["a", "b|c"], np.eye(2) + 1, [[1, 0], [1, 1]], None,
        {"a": ["one"], "b|c": ["two *stars*", "three"]}, property_of_description=[0, 0, 1],
    )  # fmt: skip
    statistics = ExplanationStatistics(space)
    statistics.add(pixels_like(space, [0, 1, 1]), np.array([0, 1, 1]))
    data = report_data(statistics)
    assert [p["sentences"] for p in data["categories"][1]["properties"]] == [
        ["two *stars*"], ["three"]
    ]  # fmt: skip
    text = report_markdown(data, "title <b>")
    assert r"# title \<b\>" in text and r"two \*stars\*" in text and r"### b\|c" in text
    rows = [line for line in text.splitlines() if line.startswith("| property")]
    for row in rows:
        assert row.count(" | ") == 4


def test_the_markdown_holds_what_the_data_hold(filled: ExplanationStatistics) -> None:
    text = report_markdown(report_data(filled), "tiny")
    assert "| car | four wheels with black tyres |" in text
    assert "| car | fence | 10 | 33 % |" in text
    assert "not seen: " in text and "wrongly seen: " in text
