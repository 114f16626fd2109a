"""The case deformable of the benchmark: forms of the sampling agree, and a wrong one is seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from prolab_d2.modeling.backbones.deformable_attention import sample_points
from tools.benchmark import CASES, main

deformable = CASES["deformable"]

SMALL = ["deformable", "--size", "64", "96", "--runs", "1", "--threads", "1", "--no-memory"]
FORMS = ["ours", "usual order", "gather", "embedding_bag"]


def _contests(argv: list[str], folder: Path) -> list[dict[str, Any]]:
    assert main([*SMALL, *argv, "--json", str(folder / "f.json")]) == 0
    return json.loads((folder / "f.json").read_text())["contests"]


def test_all_forms_agree_for_both_parts_of_both_networks(tmp_path: Path) -> None:
    contests = _contests(["--batch", "2"], tmp_path)
    assert len(contests) == 8
    for contest in contests:
        assert list(contest["sides"]) == FORMS
        assert contest["difference"] <= 1e-5
    parts = {c["settings"]["part"]: c["settings"] for c in contests}
    # Strides 8, 16 and 32 of 64 x 96, and stride 16.
    assert (parts["injector"]["queries"], parts["injector"]["tokens"]) == (24, 96 + 24 + 6)
    assert (parts["extractor"]["queries"], parts["extractor"]["tokens"]) == (96 + 24 + 6, 24)
    assert {c["settings"]["heads"] for c in contests} == {12, 16}


def _gradient_of_offsets_off(*inputs: Any) -> Tensor:
    offsets = inputs[3]
    return sample_points(*inputs) + 1e-2 * (offsets - offsets.detach()).sum()


@pytest.mark.parametrize(
    "wrong", [lambda *inputs: sample_points(*inputs) * (1 + 2e-4), _gradient_of_offsets_off]
)
def test_a_form_that_is_wrong_is_not_timed(
    wrong: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(deformable.OTHERS, "embedding_bag", wrong)
    assert main([*SMALL, "--configs", "camvid/vit_adapter_small_property"]) == 2
    error = capsys.readouterr().err
    assert "ours and usual order and gather and embedding_bag differ by" in error


def test_samples_lie_off_the_edges_of_cells() -> None:
    points = torch.rand(1, 50, 2, 2, generator=torch.Generator().manual_seed(0))
    sizes = [(20, 40), (7, 5)]
    offsets = deformable._off_the_edges(torch.zeros(1, 50, 3, 2, 4, 2), points, sizes)
    extents = torch.tensor([[40.0, 20.0], [5.0, 7.0]])[:, None]
    part = (points[:, :, None, :, None] * extents + offsets - 0.5) % 1
    assert part.min() > 0.049
    assert part.max() < 0.951
    assert part.std() > 0.2


def test_compiled_comes_apart_or_is_left_out_in_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--configs", "camvid/vit_adapter_small_property", "--compile"]
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    contests = _contests(argv, tmp_path)
    apart = ["ours, compiled", "ours"]
    assert [list(contest["sides"]) for contest in contests] == [FORMS, apart] * 4

    def no_compiler(function: Any, **_: Any) -> Any:
        raise RuntimeError("no C++ compiler is there.\nSee elsewhere")

    monkeypatch.setattr(torch, "compile", no_compiler)
    capsys.readouterr()
    contests = _contests(argv, tmp_path)
    assert [list(contest["sides"]) for contest in contests] == [FORMS] * 4
    expected = "torch.compile is left out: no C++ compiler is there\n"
    assert capsys.readouterr().err == expected


def test_bad_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deformable", "--size", "64", "50"]) == 2
    assert main(["deformable", "--batch", "0"]) == 2
    assert main(["deformable", "--configs", "camvid/lite0_property"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error"] * 3
    assert "build_vit_adapter_backbone" in lines[2]
