"""Published checkpoints to ours and back, with every tensor accounted for."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode

from prolab_d2 import Predictor
from prolab_d2.checkpoint import read_checkpoint
from prolab_d2.engine import load_config
from tests.conftest import save_tiny_checkpoint
from tools.convert_checkpoint import main


@pytest.fixture
def config(tiny_cfg: CfgNode, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(tiny_cfg.dump())
    return path


@pytest.fixture
def published(tiny_cfg: CfgNode, tmp_path: Path) -> Path:
    """A checkpoint of the tiny network with published names, as MMSegmentation saves it."""
    save_tiny_checkpoint(tiny_cfg, tmp_path)
    ours = read_checkpoint(next(tmp_path.glob("*.pth"))).model
    names = {
        name: re.sub("^aux_head", "auxiliary_head", name)
        .replace("aux_projection.", "auxiliary_head.conv_seg.")
        .replace("projection.", "decode_head.conv_seg.")
        for name in ours
        if not name.startswith("property_space.")
    }
    state = {f"module.{new}": ours[old] for old, new in names.items()}
    path = tmp_path / "published.pth"
    torch.save({"meta": {"iter": 3, "CLASSES": ("a", "b")}, "state_dict": state}, path)
    return path


def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)


def test_there_and_back(
    config: Path, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = next(p for p in tmp_path.glob("*.pth") if p != published)
    ours = tmp_path / "made/ours.pth"
    assert main([str(published), "--config-file", str(config), "--output", str(ours)]) == 0
    out = capsys.readouterr().out
    count = len(torch.load(published, weights_only=True)["state_dict"])
    assert f"{count} tensors mapped" in out
    expected, found = Predictor.from_checkpoint(original), Predictor.from_checkpoint(ours)
    assert found.label_space.hash == expected.label_space.hash
    np.testing.assert_array_equal(found(image()).labels, expected(image()).labels)
    np.testing.assert_array_equal(found(image()).properties, expected(image()).properties)

    again = tmp_path / "again.pth"
    assert main([str(ours), "--to-published", "--output", str(again)]) == 0
    before = torch.load(published, weights_only=True)["state_dict"]
    data = torch.load(again, weights_only=True)
    assert data["meta"]["CLASSES"] == list(expected.label_space.categories)
    assert {f"module.{name}" for name in data["state_dict"]} == set(before)
    for name, value in data["state_dict"].items():
        assert torch.equal(value, before[f"module.{name}"]), name


def test_tables_of_relative_positions_get_their_index_back(
    tiny_label_space_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Published code stores it in every block and loads strictly."""
    cfg = load_config("scenes/beit_adapter_tiny")
    cfg.MODEL.PROLAB.LABEL_SPACE = str(tiny_label_space_folder)
    cfg.MODEL.BEIT_ADAPTER.IMG_SIZE = [32, 64]
    cfg.TEST.SLIDING_WINDOW.ENABLED = False
    ours = save_tiny_checkpoint(cfg, tmp_path)
    published = tmp_path / "published.pth"
    assert main([str(ours), "--to-published", "--output", str(published)]) == 0
    assert "4 added: a table of indices" in capsys.readouterr().out
    state = torch.load(published, weights_only=True)["state_dict"]
    for i in range(4):
        attention = f"backbone.blocks.{i}.attn"
        table = state[f"{attention}.relative_position_bias_table"]
        index = state[f"{attention}.relative_position_index"]
        assert index.shape == (9, 9) and index.dtype == torch.int64
        # Every row of the table is used: 3 x 7 offsets of a 2 x 4 grid, and 3 for the class token.
        assert index.unique().tolist() == list(range(len(table))) == list(range(24))
    assert published.stat().st_size < 2 * ours.stat().st_size
    config = tmp_path / "beit.yaml"
    config.write_text(cfg.dump())
    again = tmp_path / "again.pth"
    assert main([str(published), "--config-file", str(config), "--output", str(again)]) == 0
    assert "4 dropped: a table of indices" in capsys.readouterr().out
    expected = read_checkpoint(ours).model
    assert all(torch.equal(x, expected[name]) for name, x in read_checkpoint(again).model.items())


def test_what_has_no_place_is_dropped_with_a_reason_or_refused(
    config: Path, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(published), "--config-file", str(config), "--output", str(tmp_path / "o.pth")]
    data = torch.load(published, weights_only=True)
    index = "module.backbone.blocks.0.attn.relative_position_index"
    data["state_dict"][index] = torch.zeros(2)
    torch.save(data, published)
    assert main([*arguments, "--opts", "MODEL.AUX_HEAD.NAME", ""]) == 0
    out = capsys.readouterr().out
    assert "1 dropped: a table of indices" in out
    assert re.search(r"\d+ dropped: the config has no auxiliary head", out)
    (tmp_path / "o.pth").unlink()

    def refused(message: str, *more: str) -> None:
        torch.save(data, published)
        assert main([*arguments, *more]) == 2
        error = capsys.readouterr().err
        assert re.fullmatch(rf"error: [^\n]*{message}[^\n]*\n", error), error
        assert not (tmp_path / "o.pth").exists()

    data["state_dict"]["module.neck.weight"] = torch.zeros(2)
    refused("no place for, 1 in all, first neck.weight")
    del data["state_dict"]["module.neck.weight"]
    refused("of another shape .*instead of", "--opts", "MODEL.DECODE_HEAD.CHANNELS", "24")
    del data["state_dict"]["module.decode_head.conv_seg.bias"]
    refused("lacks parameters .*projection.bias")


def test_other_files_and_missing_options_are_one_sentence(
    config: Path, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--output", str(tmp_path / "o.pth")]
    (tmp_path / "text.pth").write_text("no tensors")
    for arguments, message in (
        ([str(published), *output], "--config-file is missing"),
        ([str(published), "--output", "o.bin"], "ends in .pth"),
        ([str(tmp_path / "text.pth"), *output, "--config-file", str(config)], "cannot be read"),
        ([str(published), *output, "--to-published"], "weights only, no config"),
    ):
        assert main(arguments) == 2
        assert re.fullmatch(rf"error: [^\n]*{message}[^\n]*\n", capsys.readouterr().err)
