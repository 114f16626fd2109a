from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from prolab_d2.export import ExportOptions, TorchModel, requirements, verification
from tools.export_model import main


def test_a_file_and_its_differences(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "folder/model.pt2"
    assert main([str(tiny_checkpoint), "--output", str(output), "--resize"]) == 0
    assert TorchModel(output).metadata["size"] == [64, 64]  # the crop of the training
    out = capsys.readouterr().out
    differences = re.findall(r"1 x 3 x 64 x 64: scores (\S+), properties (\S+)", out)
    assert len(differences) == 2
    assert all(float(value) < 1e-4 for pair in differences for value in pair)
    assert f"wrote {output}" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--output", "model.tflite"], r"model.tflite: unknown kind of file '.tflite': .*\.onnx"),
        (["--output", "model.pt2", "--size", "0", "64"], "size is 0 64: give whole pixels"),
        (["--output", "model.onnx", "--opset", "9"], "--opset 9: give 18 or more"),
        (
            ["--output", "model.pt2", "--opts", "INPUT.FORMAT", "L"],
            "INPUT.FORMAT is 'L', which an exported model cannot make from RGB",
        ),
    ],
)
def test_bad_input_is_one_sentence(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(tiny_checkpoint), *arguments]) == 2
    assert re.fullmatch(rf"error: {sentence}[^\n]*\n", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_a_missing_checkpoint_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere.pth", "--output", "model.pt2"]) == 2
    assert "error: checkpoint nowhere.pth does not exist" in capsys.readouterr().err


def test_a_file_that_answers_otherwise_is_not_written(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer = TorchModel.__call__

    def wrong(self, images):
        scores, properties = answer(self, images)
        properties[0, 3, 2, 1] += 0.001
        return [scores, properties]

    monkeypatch.setattr(TorchModel, "__call__", wrong)
    (tmp_path / "model.pt2").write_text("a former file")
    assert main([str(tiny_checkpoint), "--output", str(tmp_path / "model.pt2")]) == 2
    assert re.search(
        r"model.pt2 is not written, .* properties 1.0e-03; allowed is 0.0001",
        capsys.readouterr().err,
    )
    assert (tmp_path / "model.pt2").read_text() == "a former file"
    assert len(list(tmp_path.iterdir())) == 1


def test_labels_may_differ_only_where_scores_hardly_do() -> None:
    class Graph:
        """Two categories, whose scores are 0.5 and 0.5 but for one pixel."""

        options = ExportOptions(size=(4, 4), output="labels")
        output_names = ("labels",)
        divisor = 4

        def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor]:
            scores = torch.full((1, 2, 4, 4), 0.5)
            scores[0, 1, 2, 3] = 0.6
            return (scores if self.options.resize else scores.argmax(dim=1),)

    def exported(images: np.ndarray) -> list[np.ndarray]:
        labels = Graph()(torch.from_numpy(images))[0].numpy().copy()
        labels[place] = 1 - labels[place]
        return [labels]

    place = (0, 0, 0)
    assert max(c.largest for c in verification.compare(Graph(), exported, (4, 4))) < 1e-6
    place = (0, 2, 3)
    lost = [c.largest for c in verification.compare(Graph(), exported, (4, 4))]
    assert lost == pytest.approx([0.1, 0.1], abs=1e-6)


def test_a_missing_package_is_a_sentence_with_its_cure(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def without(name: str) -> ModuleType:
        if name == "onnxscript":
            raise ModuleNotFoundError("No module named 'onnxscript'")
        return importlib.import_module(name)

    monkeypatch.setattr(requirements, "import_module", without)
    assert main([str(tiny_checkpoint), "--output", str(tmp_path / "model.onnx")]) == 2
    assert re.fullmatch(
        r"error: exporting to ONNX needs the Python package onnxscript .*: pip install onnx "
        r"onnxruntime onnxscript, [^\n]+\n",
        capsys.readouterr().err,
    )


def test_an_old_pytorch_is_a_sentence(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch, "__version__", "2.3.1+cpu")
    assert main([str(tiny_checkpoint), "--output", str(tmp_path / "model.pt2")]) == 2
    assert "exporting needs PyTorch 2.6 or newer, this is 2.3.1+cpu" in capsys.readouterr().err
