"""Weights from files, packages and hubs; all of them made here, from random networks."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor

from prolab_d2 import ProLabError
from prolab_d2.modeling.backbones import TimmBackbone
from prolab_d2.modeling.backbones.weights import read_state_dict
from prolab_d2.modeling.key_map import efficientnet_lite_names

MODEL = "test_efficientnet"


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """A network with its classifier, as a training script saves it."""
    torch.manual_seed(1)
    return timm.create_model(MODEL).state_dict()


def check_loaded(backbone: TimmBackbone, state: dict[str, Tensor]) -> None:
    own = backbone.net.state_dict()
    assert own
    assert all(torch.equal(x, state[name]) for name, x in own.items())


@pytest.mark.parametrize("nesting", [(), ("model",), ("state_dict",), ("state_dict", "module")])
def test_file(state: dict[str, Tensor], tmp_path: Path, nesting: tuple[str, ...]) -> None:
    content: dict = dict(state)
    for key in reversed(nesting):
        content = {key: content, "epoch": 3}
    torch.save(content, tmp_path / "weights.pth")
    check_loaded(TimmBackbone(MODEL, weights=str(tmp_path / "weights.pth")), state)


def test_safetensors_of_a_parallel_module(state: dict[str, Tensor], tmp_path: Path) -> None:
    wrapped = {f"module.{name}": x for name, x in state.items()}
    safetensors.torch.save_file(wrapped, tmp_path / "weights.safetensors")
    check_loaded(TimmBackbone(MODEL, weights=str(tmp_path / "weights.safetensors")), state)


def test_names_that_the_feature_extractor_changes(tmp_path: Path) -> None:
    """timm calls "stages.0" "stages_0" there, and puts "model." in front of a ViT."""
    for name in ("test_convnext", "test_vit"):
        torch.manual_seed(2)
        full = timm.create_model(name)
        torch.save(full.state_dict(), tmp_path / f"{name}.pth")
        backbone = TimmBackbone(name, weights=str(tmp_path / f"{name}.pth"))
        tensors = {x.sum().item() for x in full.state_dict().values() if x.ndim > 1}
        own = {x.sum().item() for x in backbone.net.state_dict().values() if x.ndim > 1}
        assert own <= tensors


def test_position_embedding_of_another_image_size(tmp_path: Path) -> None:
    full = timm.create_model("test_vit", img_size=224)
    torch.save(full.state_dict(), tmp_path / "vit.pth")
    backbone = TimmBackbone("test_vit", weights=str(tmp_path / "vit.pth"))
    old, new = full.state_dict()["pos_embed"], backbone.net.state_dict()["model.pos_embed"]
    assert old.shape[1] == 1 + 14 * 14
    assert new.shape[1] == 1 + 10 * 10
    assert torch.equal(new[:, 0], old[:, 0])
    assert torch.allclose(new[:, 1:].mean(1), old[:, 1:].mean(1), atol=0.1)


def test_missing_weights_are_named(state: dict[str, Tensor], tmp_path: Path) -> None:
    partial = {name: x for name, x in state.items() if not name.startswith("blocks.1.")}
    torch.save(partial, tmp_path / "weights.pth")
    with pytest.raises(ProLabError, match=r"not in it \(blocks\.1\.0.*MODEL\.TIMM\.NAME"):
        TimmBackbone(MODEL, weights=str(tmp_path / "weights.pth"))


def test_weights_of_another_width(state: dict[str, Tensor], tmp_path: Path) -> None:
    wider = {**state, "conv_stem.weight": torch.zeros(99, 3, 3, 3)}
    torch.save(wider, tmp_path / "weights.pth")
    with pytest.raises(ProLabError, match=r"conv_stem.weight has shape \(99, 3, 3, 3\)"):
        TimmBackbone(MODEL, weights=str(tmp_path / "weights.pth"))


def test_file_that_is_not_there() -> None:
    with pytest.raises(ProLabError, match="there is no file 'nowhere.pth'"):
        TimmBackbone(MODEL, weights="nowhere.pth")


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_damaged_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no weights")
    with pytest.raises(ProLabError, match="not a file of weights"):
        read_state_dict(tmp_path / name)


class Payload:
    """Something that only unsafe loading would bring to life."""


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    torch.save({"model": Payload()}, tmp_path / "weights.pth")
    with pytest.raises(ProLabError, match="can be read safely"):
        read_state_dict(tmp_path / "weights.pth")


def test_file_without_weights(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "weights.pth")
    with pytest.raises(ProLabError, match="no weights in it"):
        read_state_dict(tmp_path / "weights.pth")


def make_package(folder: Path, name: str, files: dict[str, dict[str, Tensor]]) -> None:
    (folder / name / "models").mkdir(parents=True)
    (folder / name / "__init__.py").write_text("raise RuntimeError('imported')\n")
    for file, state in files.items():
        torch.save(state, folder / name / "models" / file)


def test_package(state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file inside is found without importing the package."""
    make_package(tmp_path, "one_weight_file", {"weights.pth": state})
    monkeypatch.syspath_prepend(tmp_path)
    check_loaded(TimmBackbone(MODEL, weights="package:one_weight_file"), state)


def test_package_that_is_not_installed() -> None:
    sentence = "'weights_of_mine' is not installed: run `pip install --no-deps weights-of-mine`"
    with pytest.raises(ProLabError, match=sentence):
        TimmBackbone(MODEL, weights="package:weights_of_mine")
    with pytest.raises(ProLabError, match="is not installed"):
        TimmBackbone(MODEL, weights="package:no-package.at/all")


def test_package_with_several_files(
    state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_package(tmp_path, "two_weight_files", {"a.pth": state, "b.pth": state})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ProLabError, match="holds 2 weight files"):
        TimmBackbone(MODEL, weights="package:two_weight_files")


class TestHub:
    """The hub's own client, with an address where nothing answers and a cache of our own."""

    repository = "models--timm--test_efficientnet.r160_in1k"

    @pytest.fixture(autouse=True)
    def no_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def test_fails_in_seconds_with_a_way_out(self) -> None:
        from huggingface_hub import constants

        started = time.monotonic()
        with pytest.raises(ProLabError, match=r"could not be fetched.*HF_HUB_OFFLINE.*a file"):
            TimmBackbone(MODEL, weights="hub")
        assert time.monotonic() - started < 15
        assert constants.HF_HUB_OFFLINE is False

    def test_uses_what_was_downloaded_before(
        self, state: dict[str, Tensor], tmp_path: Path
    ) -> None:
        repository = tmp_path / "hub" / self.repository
        snapshot = repository / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("0" * 40)
        safetensors.torch.save_file(state, snapshot / "model.safetensors")
        check_loaded(TimmBackbone(MODEL, weights="hub"), state)

    def test_model_that_has_no_weights(self) -> None:
        with pytest.raises(ProLabError, match="'test_mambaout' could not be fetched"):
            TimmBackbone("test_mambaout", weights="hub")


def lite_names(name: str) -> dict[str, str]:
    """timm's names to those in the packages, found the other way round: from timm's model."""
    outside = {
        "conv_stem": "_conv_stem",
        "bn1": "_bn0",
        "conv_head": "_conv_head",
        "bn2": "_bn1",
        "classifier": "_fc",
    }
    # The block of the first stage has no expansion.
    first = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    others = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv"}
    others |= {"bn2": "_bn1", "conv_pwl": "_project_conv", "bn3": "_bn2"}
    names: dict[str, str] = {}
    blocks: list[str] = []
    for own in timm.create_model(name).state_dict():
        place, _, rest = own.rpartition(".")
        block, _, layer = place.rpartition(".")
        if not block:
            names[own] = f"{outside[layer]}.{rest}"
            continue
        if block not in blocks:
            blocks.append(block)
        table = first if block.startswith("blocks.0.") else others
        names[own] = f"_blocks.{blocks.index(block)}.{table[layer]}.{rest}"
    return names


@pytest.mark.parametrize("size", range(5))
def test_every_efficientnet_lite_has_its_map(size: int) -> None:
    names = lite_names(f"tf_efficientnet_lite{size}")
    assert efficientnet_lite_names(names.values()) == {
        theirs: ours for ours, theirs in names.items()
    }


def test_file_with_the_names_of_the_lite_packages(tmp_path: Path) -> None:
    torch.manual_seed(3)
    full = timm.create_model("tf_efficientnet_lite0").state_dict()
    names = lite_names("tf_efficientnet_lite0")
    torch.save({names[name]: x for name, x in full.items()}, tmp_path / "lite.pth")
    weights = str(tmp_path / "lite.pth")
    check_loaded(TimmBackbone("tf_efficientnet_lite0", weights=weights), full)
    with pytest.raises(ProLabError, match="weights of the backbone are not in it"):
        TimmBackbone("tf_efficientnet_lite1", weights=weights)


def test_efficientnet_that_is_no_lite(tmp_path: Path) -> None:
    state = {"_conv_stem.weight": torch.zeros(1), "_blocks.0._se_reduce.bias": torch.zeros(1)}
    torch.save(state, tmp_path / "b0.pth")
    with pytest.raises(ProLabError, match="not like an EfficientNet-Lite"):
        read_state_dict(tmp_path / "b0.pth")
