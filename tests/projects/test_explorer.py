"""The explorer's command line, and the checkpoint that comes with it."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from projects.ProLab import explorer
from prolab_d2 import Predictor
from prolab_d2.checkpoint import read_checkpoint, read_tensors
from prolab_d2.explorer.server import listen
from prolab_d2.explorer.workbench import Workbench
from prolab_d2.label_space.property_weights import write_property_weights
from prolab_d2.scenes import draw_scene


def test_without_gradio_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert explorer.main([]) == 2
    assert "pip install 'gradio>=6.24'" in capsys.readouterr().err
    assert explorer.main(["--port", "70000"]) == 2
    assert explorer.main(["--max-upload", "0"]) == 2


def test_options_of_the_config_reach_the_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    space = read_checkpoint(explorer.SHIPPED).label_space
    weights = np.linspace(0.1, 1, space.num_properties)
    write_property_weights(tmp_path / "weights.json", space, weights)
    asked = []

    def serve(workbench: Workbench, *_: object) -> None:
        session, _ = workbench.draw(0)
        asked.append((session.ask(100, 140), session.prediction))

    monkeypatch.setattr(explorer, "serve", serve)
    monkeypatch.setattr(explorer, "require_gradio", lambda: None)
    options = ["--opts", "MODEL.PROLAB.PROPERTY_WEIGHTS", str(tmp_path / "weights.json")]
    explorer.main(["--port", "0", "--device", "cpu", *options])
    ((answer, prediction),) = asked
    assert prediction.label_space.property_weights == pytest.approx(weights)
    explanation = prediction.explain(100, 140)
    assert f"score {explanation.score:.3f} at pixel 100, 140" in answer.evidence
    assert sum(item.share for item in explanation.evidence) == pytest.approx(explanation.score)


def test_a_port_in_use_is_one_sentence() -> None:
    with listen("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(ValueError, match="choose another --port"):
            listen("127.0.0.1", first.getsockname()[1])
    assert isinstance(first, socket.socket)


def test_the_shipped_checkpoint_is_small_complete_and_without_paths() -> None:
    path = explorer.SHIPPED
    record = json.loads(path.with_suffix(".json").read_text())
    assert path.stat().st_size < 20e6
    assert record["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert set(read_tensors(path)) == {"model", "prolab"}
    checkpoint = read_checkpoint(path)
    values = [line.partition(": ")[2].strip("'\"") for line in checkpoint.config.splitlines()]
    assert not [value for value in values if value.startswith(("/", "~"))]
    assert tuple(record["IoU"]) == checkpoint.label_space.categories


def test_the_shipped_checkpoint_segments_a_scene_that_training_never_saw() -> None:
    scene = draw_scene(1, "val", (96, 128))
    prediction = Predictor.from_checkpoint(explorer.SHIPPED, "cpu")(scene.image)
    known = scene.mask != 255
    assert (prediction.labels[known] == scene.mask[known]).mean() > 0.75
