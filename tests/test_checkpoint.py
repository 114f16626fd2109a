from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.checkpoint import PropertyCheckpointer, read_checkpoint
from prolab_d2.modeling import PropertySegmentor


def test_one_file_holds_weights_config_and_label_space(
    tiny_checkpoint: Path, tiny_label_space: LabelSpace
) -> None:
    contents = torch.load(tiny_checkpoint, weights_only=True)
    assert set(contents) == {"model", "prolab"}
    checkpoint = read_checkpoint(tiny_checkpoint)
    assert checkpoint.label_space.hash == tiny_label_space.hash
    assert checkpoint.label_space.categories == tiny_label_space.categories
    assert np.array_equal(checkpoint.label_space.bank, tiny_label_space.bank)
    assert "SUPERVISION: property" in checkpoint.config


def test_weights_come_back(tiny_cfg: CfgNode, tmp_path: Path) -> None:
    torch.manual_seed(1)
    written, read = PropertySegmentor(tiny_cfg), PropertySegmentor(tiny_cfg)
    PropertyCheckpointer(written, str(tmp_path), config=tiny_cfg.dump()).save("model")
    PropertyCheckpointer(read).load(str(tmp_path / "model.pth"))
    for name, value in written.state_dict().items():
        assert torch.equal(value, read.state_dict()[name]), name


def test_colors_of_the_data_set_are_kept(
    tiny_cfg: CfgNode, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    colors = [(i, 100 + i, 200) for i in range(5)]
    PropertyCheckpointer(PropertySegmentor(tiny_cfg), str(tmp_path), colors=colors).save("model")
    assert read_checkpoint(tmp_path / "model.pth").colors == [list(color) for color in colors]
    assert read_checkpoint(tiny_checkpoint).colors is None


def test_another_label_space_is_an_explicit_option(
    tiny_cfg: CfgNode, tiny_label_space: LabelSpace, tiny_checkpoint: Path
) -> None:
    other = tiny_label_space.subset(("sky", "car"))
    model = PropertySegmentor(tiny_cfg, label_space=other)
    with pytest.raises(ProLabError, match="another label space .*ALLOW_OTHER_LABEL_SPACE"):
        PropertyCheckpointer(model).load(str(tiny_checkpoint))
    PropertyCheckpointer(model, allow_other_label_space=True).load(str(tiny_checkpoint))
    stored = read_checkpoint(tiny_checkpoint).model
    assert torch.equal(model.projection.weight, stored["projection.weight"])
    assert model.label_space.categories == ("sky", "car")


def test_another_network_is_an_error(tiny_cfg: CfgNode, tiny_checkpoint: Path) -> None:
    tiny_cfg.MODEL.PROLAB.SUPERVISION = "category"
    with pytest.raises(ProLabError, match="another network .*projection"):
        PropertyCheckpointer(PropertySegmentor(tiny_cfg)).load(str(tiny_checkpoint))


def test_plain_weights_load_but_are_no_complete_checkpoint(
    tiny_cfg: CfgNode, tmp_path: Path
) -> None:
    model = PropertySegmentor(tiny_cfg)
    torch.save(model.state_dict(), tmp_path / "plain.pth")
    torch.nn.init.zeros_(model.projection.weight)
    PropertyCheckpointer(model).load(str(tmp_path / "plain.pth"))
    assert model.projection.weight.abs().sum() > 0
    with pytest.raises(ProLabError, match="weights only"):
        read_checkpoint(tmp_path / "plain.pth")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04K\x01."])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.pth").write_bytes(content)
    with pytest.raises(ProLabError, match=r"broken\.pth"):
        read_checkpoint(tmp_path / "broken.pth")


def test_a_missing_file_is_named(tiny_cfg: CfgNode, tmp_path: Path) -> None:
    with pytest.raises(ProLabError, match=r"none\.pth does not exist"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(ProLabError, match=r"none\.pth does not exist"):
        PropertyCheckpointer(PropertySegmentor(tiny_cfg)).load(str(tmp_path / "none.pth"))


def test_loads_again_after_an_error(
    tiny_cfg: CfgNode, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.pth").write_bytes(b"not a checkpoint")
    checkpointer = PropertyCheckpointer(PropertySegmentor(tiny_cfg))
    with pytest.raises(ProLabError, match=r"broken\.pth"):
        checkpointer.load(str(tmp_path / "broken.pth"))
    checkpointer.load(str(tiny_checkpoint))


def test_a_question_mark_is_part_of_the_file_name(
    tiny_cfg: CfgNode, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "which one?" / "model.pth"
    path.parent.mkdir()
    path.write_bytes(tiny_checkpoint.read_bytes())
    PropertyCheckpointer(PropertySegmentor(tiny_cfg)).load(str(path))


def test_an_interrupted_write_leaves_the_former_file(
    tiny_cfg: CfgNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpointer = PropertyCheckpointer(PropertySegmentor(tiny_cfg), str(tmp_path))
    checkpointer.save("model")
    before = (tmp_path / "model.pth").read_bytes()

    def stops_half_way(data: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", stops_half_way)
    with pytest.raises(KeyboardInterrupt):
        checkpointer.save("model")
    assert (tmp_path / "model.pth").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last_checkpoint", "model.pth"]


def test_a_model_is_saved_without_the_state_of_the_training(
    tiny_cfg: CfgNode, tmp_path: Path
) -> None:
    model = PropertySegmentor(tiny_cfg)
    optimizer = torch.optim.AdamW(model.parameters())
    checkpointer = PropertyCheckpointer(model, str(tmp_path), optimizer=optimizer)
    checkpointer.save("model_0000001")
    checkpointer.save_model("model_best", best={"mIoU": 1.0})
    # Resuming goes on from the newest complete checkpoint.
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000001.pth"
    best = torch.load(tmp_path / "model_best.pth", weights_only=True)
    assert set(best) == {"model", "prolab", "best"}
    assert "optimizer" in torch.load(tmp_path / "model_0000001.pth", weights_only=True)
