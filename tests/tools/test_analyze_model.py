from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from detectron2.config import CfgNode

from tools.analyze_model import main


@pytest.fixture
def config(tiny_cfg: CfgNode, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(tiny_cfg.dump())
    return path


def test_a_table_and_a_file_of_figures(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(config), "--runs", "1", "--json", str(tmp_path / "costs.json")]) == 0
    out = capsys.readouterr().out
    figures = json.loads((tmp_path / "costs.json").read_text())
    assert figures["size"] == [64, 64]  # the crop of the training
    assert f"{figures['parameters']:,}" in out
    assert figures["flops"] == sum(part["flops"] for part in figures["parts"].values())
    assert re.search(r"kept for the backward pass: \d+ MiB an image", out)
    assert figures["seconds"]["runs"] == 1


@pytest.mark.parametrize(
    "config", ["vit_adapter_tiny", "beit_adapter_tiny", "segformer_tiny", "deeplabv3plus_tiny"]
)
def test_every_architecture_has_all_figures(config: str, tmp_path: Path) -> None:
    file = tmp_path / "costs.json"
    size = ["--size", "96", "128"]
    assert main([f"scenes/{config}", *size, "--runs", "1", "--json", str(file)]) == 0
    figures = json.loads(file.read_text())
    for part in ("backbone", "decode_head", "pixel embedding, properties and scores"):
        assert figures["parts"][part]["parameters"] > 0 and figures["parts"][part]["flops"] > 0
    assert figures["activation_bytes_per_image"] > 4 * 96 * 128
    assert figures["seconds"]["median"] > 0


def test_bad_input_is_one_sentence(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(config), "--size", "0", "64"]) == 2
    assert main(["nowhere/config"]) == 2
    assert re.fullmatch(
        r"error: --size 0 64: [^\n]+\nerror: config nowhere/config [^\n]+\n",
        capsys.readouterr().err,
    )
