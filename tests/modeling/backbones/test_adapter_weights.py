"""Weights of transformers for the adapters: from timm, files, Google's files and packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from detectron2.config import CfgNode
from timm.models.beit import Beit
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from prolab_d2 import ProLabError
from prolab_d2.modeling.backbones import BEiTAdapter, ViTAdapter
from prolab_d2.modeling.backbones.flax_vit import read_flax_vit
from prolab_d2.modeling.backbones.vit import resize_positions
from prolab_d2.modeling.backbones.weights import forget_weights, read_weights

SIZES = {"embed_dim": 24, "depth": 4, "num_heads": 3}
SMALL = {**SIZES, "deform_num_heads": 3, "conv_inplane": 4}


def timm_vit(**options: Any) -> VisionTransformer:
    return randomised(VisionTransformer(img_size=64, num_classes=5, **SIZES, **options))


def timm_beit(**options: Any) -> Beit:
    options = {"use_abs_pos_emb": False, "use_rel_pos_bias": True, "init_values": 0.1, **options}
    return randomised(Beit(img_size=64, num_classes=5, **SIZES, **options))


def randomised(net: nn.Module) -> nn.Module:
    """All that would begin at zero, too."""
    torch.manual_seed(1)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    return net.eval()


def saved(folder: Path, net: nn.Module | dict[str, Tensor]) -> str:
    state = net if isinstance(net, dict) else net.state_dict()
    torch.save({"model": state}, folder / "weights.pth")
    return str(folder / "weights.pth")


def vit(weights: str, **options: Any) -> ViTAdapter:
    return ViTAdapter(**{**SMALL, "pretrain_size": 64, **options}, weights=weights).eval()


def beit(weights: str, **options: Any) -> BEiTAdapter:
    return BEiTAdapter(**{**SMALL, "img_size": 64, **options}, weights=weights).eval()


IMAGE = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("options", [{}, {"init_values": 0.3}, {"class_token": False}])
def test_blocks_of_a_vit_give_timms_tokens(tmp_path: Path, options: dict[str, Any]) -> None:
    """Without its class token, which the adapter leaves out; layer scales take their part."""
    net = timm_vit(**options, global_pool="avg")
    own = vit(saved(tmp_path, net))
    with torch.no_grad():
        expected = net.patch_embed(IMAGE) + net.pos_embed[:, -16:]
        expected = net.blocks(expected)
        tokens, _ = own._embed(IMAGE, (4, 4))
        tokens, _ = own._run_blocks(own.blocks, tokens, None, (4, 4))
    assert torch.allclose(tokens, expected, atol=1e-5)


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_blocks_of_a_beit_give_timms_tokens(tmp_path: Path, qkv_bias: bool) -> None:
    net = timm_beit(qkv_bias=qkv_bias)
    own = beit(saved(tmp_path, net), qkv_bias=qkv_bias)
    with torch.no_grad():
        expected = torch.cat([net.cls_token, net.patch_embed(IMAGE)], dim=1)
        for block in net.blocks:
            expected = block(expected)
        tokens, class_token = own._embed(IMAGE, (4, 4))
        tokens, class_token = own._run_blocks(own.blocks, tokens, class_token, (4, 4))
    assert torch.allclose(torch.cat([class_token, tokens], dim=1), expected, atol=1e-5)


def test_the_adapter_keeps_its_own_values(tmp_path: Path) -> None:
    path = saved(tmp_path, timm_vit())
    torch.manual_seed(3)
    fresh = vit("")
    torch.manual_seed(3)
    loaded = vit(path)
    for name, x in loaded.state_dict().items():
        same = torch.equal(x, fresh.state_dict()[name])
        changed = name.startswith(("pos_embed", "patch_embed", "blocks.")) and "gamma" not in name
        assert same != changed, name


def test_position_embeddings_of_other_grids(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Four times as many tokens, and a distilled DeiT with a second token in front."""
    state = timm_vit().state_dict()
    own = vit(saved(tmp_path, state), pretrain_size=128)
    assert "4 x 4 tokens resized to 8 x 8: PRETRAIN_SIZE 64 keeps them" in caplog.text
    assert torch.equal(own.pos_embed[:, 1:], resize_positions(state["pos_embed"][:, 1:], (8, 8)))
    distilled = torch.cat([torch.randn(1, 1, 24), state["pos_embed"]], dim=1)
    own = vit(saved(tmp_path, {**state, "pos_embed": distilled}))
    assert torch.equal(own.pos_embed[:, 1:], state["pos_embed"][:, 1:])


def test_patches_of_another_size(tmp_path: Path) -> None:
    """A patch of 14 pixels that is even stays so at 16, with the same sum of products."""
    state = timm_vit().state_dict()
    state["patch_embed.proj.weight"] = torch.full((24, 3, 14, 14), 0.5)
    weight = vit(saved(tmp_path, state)).patch_embed.proj.weight
    assert weight.shape == (24, 3, 16, 16)
    assert weight.sum().item() == pytest.approx(24 * 3 * 14 * 14 * 0.5, rel=0.01)


def test_relative_positions_of_another_grid_and_shared_by_all_blocks(tmp_path: Path) -> None:
    state = timm_beit().state_dict()
    own = beit(saved(tmp_path, state), img_size=(128, 96))
    assert own.blocks[0].attn.relative_position_bias_table.shape == (15 * 11 + 3, 3)
    tables = [name for name in state if name.endswith("table")]
    shared = {name: x for name, x in state.items() if name not in tables}
    shared["rel_pos_bias.relative_position_bias_table"] = state[tables[0]]
    own = beit(saved(tmp_path, shared))
    for block in own.blocks:
        assert torch.equal(block.attn.relative_position_bias_table, state[tables[0]])


def flax_arrays(net: VisionTransformer) -> dict[str, np.ndarray]:
    """Random arrays with the names and shapes of Google's files."""
    rng = np.random.default_rng(0)
    heads, width = 3, 24
    shapes: dict[str, tuple[int, ...]] = {
        "cls": (1, 1, width),
        "embedding/kernel": (16, 16, 3, width),
        "embedding/bias": (width,),
        "Transformer/posembed_input/pos_embedding": (1, 17, width),
        "Transformer/encoder_norm/scale": (width,),
        "Transformer/encoder_norm/bias": (width,),
        "head/kernel": (width, 5),
        "head/bias": (5,),
    }
    for i in range(len(net.blocks)):
        block = f"Transformer/encoderblock_{i}/"
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            shapes |= {f"{block}{norm}/scale": (width,), f"{block}{norm}/bias": (width,)}
        attention = f"{block}MultiHeadDotProductAttention_1/"
        for name in ("query", "key", "value"):
            shapes[f"{attention}{name}/kernel"] = (width, heads, width // heads)
            shapes[f"{attention}{name}/bias"] = (heads, width // heads)
        shapes[f"{attention}out/kernel"] = (heads, width // heads, width)
        shapes[f"{attention}out/bias"] = (width,)
        for name, (inner, outer) in (("Dense_0", (width, 96)), ("Dense_1", (96, width))):
            shapes[f"{block}MlpBlock_3/{name}/kernel"] = (inner, outer)
            shapes[f"{block}MlpBlock_3/{name}/bias"] = (outer,)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_googles_files_are_read_as_timm_reads_them(tmp_path: Path) -> None:
    net = timm_vit()
    np.savez(tmp_path / "augreg.npz", **flax_arrays(net))
    net.load_pretrained(str(tmp_path / "augreg.npz"))
    expected = net.state_dict()
    state = read_flax_vit(tmp_path / "augreg.npz")
    assert set(expected) - set(state) == {"norm.weight", "norm.bias", "head.weight", "head.bias"}
    assert all(torch.equal(x, expected[name]) for name, x in state.items())
    own = vit(str(tmp_path / "augreg.npz"))
    qkv = "blocks.3.attn.qkv.weight"
    assert torch.equal(own.state_dict()[qkv], expected[qkv])


def test_npz_of_something_else(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("other.npz", "text.npz"):
        with pytest.raises(ProLabError, match="not a vision transformer in Google's .npz format"):
            vit(str(tmp_path / name))


def test_missing_and_unknown_weights(tmp_path: Path) -> None:
    state = timm_vit(init_values=0.1).state_dict()
    shallow = saved(tmp_path, {n: x for n, x in state.items() if "blocks.3" not in n})
    with pytest.raises(ProLabError, match=r"lacks 12 weights \(blocks.3.*VIT_ADAPTER.DEPTH"):
        vit(shallow)
    with pytest.raises(ProLabError, match=r"has, unlike this network, 8 weights \(blocks.0.gamma1"):
        vit(saved(tmp_path, state), layer_scale=False)
    with pytest.raises(ProLabError, match=r"lacks \d+ weights \(pos_embed"):
        vit(saved(tmp_path, timm_beit()))
    with pytest.raises(ProLabError, match=r"lacks 8 weights \(blocks.0.gamma_1"):
        beit(saved(tmp_path, timm_beit(init_values=None)))


def test_weights_of_another_width(tmp_path: Path) -> None:
    path = saved(tmp_path, timm_vit())
    with pytest.raises(ProLabError, match=r"has shape .*VIT_ADAPTER.EMBED_DIM"):
        vit(path, embed_dim=48)


def test_sources_that_are_not_there() -> None:
    sentence = "VIT_ADAPTER.WEIGHTS: there is no file 'nowhere.pth'.*'hub:<name of a timm model>'"
    with pytest.raises(ProLabError, match=sentence):
        vit("nowhere.pth")
    with pytest.raises(ProLabError, match="BEIT_ADAPTER.WEIGHTS: the Python package 'not_there'"):
        beit("package:not_there")
    with pytest.raises(ProLabError, match=r"WEIGHTS: timm .* 'deit_bse.*did you mean.*deit_base"):
        vit("hub:deit_bse_patch16_224")


class TestHub:
    """timm's own download, with an address where nothing answers and a cache of our own."""

    @pytest.fixture(autouse=True)
    def no_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def test_fails_in_a_sentence(self) -> None:
        sentence = "VIT_ADAPTER.WEIGHTS is 'hub:test_vit', but .* could not be fetched.*to a file"
        with pytest.raises(ProLabError, match=sentence):
            vit("hub:test_vit")

    def test_uses_what_was_downloaded_before(self, tmp_path: Path) -> None:
        torch.manual_seed(4)
        net = timm.create_model("test_vit")
        repository = tmp_path / "hub" / "models--timm--test_vit.r160_in1k"
        snapshot = repository / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("0" * 40)
        safetensors.torch.save_file(net.state_dict(), snapshot / "model.safetensors")
        _, state = read_weights("hub:test_vit", "WEIGHTS")
        assert torch.equal(state["blocks.0.norm1.weight"], net.blocks[0].norm1.weight)
        options = {"embed_dim": 64, "depth": 6, "num_heads": 2, "mlp_ratio": 3}
        own = vit("hub:test_vit", **options, pretrain_size=160, deform_num_heads=2)
        assert torch.equal(own.pos_embed, net.pos_embed)


def test_forgotten_weights(tiny_cfg: CfgNode) -> None:
    for node in ("TIMM", "VIT_ADAPTER", "BEIT_ADAPTER"):
        tiny_cfg.MODEL[node].WEIGHTS = "hub:something"
    forget_weights(tiny_cfg)
    assert {tiny_cfg.MODEL[node].WEIGHTS for node in tiny_cfg.MODEL if "ADAPTER" in node} == {""}
    assert tiny_cfg.MODEL.TIMM.WEIGHTS == ""
