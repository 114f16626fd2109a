"""What holds for both adapter backbones, and what only one of them can."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from torch import Tensor, nn

from prolab_d2 import ProLabError
from prolab_d2.modeling import PropertySegmentor
from prolab_d2.modeling.backbones import BEiTAdapter, ViTAdapter
from prolab_d2.modeling.backbones.adapter import AdapterBackbone
from prolab_d2.modeling.backbones.vit import Attention, resize_positions

STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}
SMALL = {"embed_dim": 24, "depth": 4, "num_heads": 3, "deform_num_heads": 3, "conv_inplane": 4}


def vit(**options: Any) -> ViTAdapter:
    torch.manual_seed(0)
    return randomised(ViTAdapter(**{**SMALL, "pretrain_size": 64, **options}))


def beit(**options: Any) -> BEiTAdapter:
    torch.manual_seed(0)
    return randomised(BEiTAdapter(**{**SMALL, "img_size": (64, 96), **options}))


def randomised(net: AdapterBackbone) -> AdapterBackbone:
    """Factors, tables and embeddings that begin at a constant would hide what they do."""
    for name, parameter in net.named_parameters():
        if parameter.ndim == 1 or "embed" in name or "table" in name:
            nn.init.normal_(parameter, mean=float("norm" in name), std=0.3)
    return net


ADAPTERS = [vit, beit]


def images(size: tuple[int, int], batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))


def run(net: AdapterBackbone, size: tuple[int, int], batch: int = 2) -> list[Tensor]:
    with torch.no_grad():
        return list(net.eval()(images(size, batch)).values())


@pytest.mark.parametrize("make", [vit, lambda: beit(use_rel_pos_bias=False)])
@pytest.mark.parametrize("size", [(32, 32), (64, 96), (96, 32)])
def test_any_multiple_of_32(make: Any, size: tuple[int, int]) -> None:
    net = make()
    assert net.size_divisibility == 32
    shapes = net.output_shape()
    assert {name: shape.stride for name, shape in shapes.items()} == STRIDES
    for x, shape in zip(run(net, size), shapes.values(), strict=True):
        assert x.shape == (2, shape.channels, size[0] // shape.stride, size[1] // shape.stride)
        assert x.isfinite().all()


@pytest.mark.parametrize("make", [vit, lambda: beit(use_rel_pos_bias=False)])
def test_odd_sizes_are_padded_and_cut_back(make: Any) -> None:
    net = make().eval()
    image = images((61, 90))
    with torch.no_grad():
        features = net(image).values()
        padded = net(F.pad(image, (0, 6, 0, 3))).values()
    for x, full, stride in zip(features, padded, STRIDES.values(), strict=True):
        assert x.shape[2:] == (-(-61 // stride), -(-90 // stride))
        assert torch.equal(x, full[:, :, : x.shape[2], : x.shape[3]])


def test_beit_pads_smaller_images_to_the_size_of_its_tables() -> None:
    net = beit().eval()
    image = images((32, 70))
    with torch.no_grad():
        features = net(image).values()
        full = net(F.pad(image, (0, 26, 0, 32))).values()
    for x, y, stride in zip(features, full, STRIDES.values(), strict=True):
        assert x.shape[2:] == (32 // stride, -(-70 // stride))
        assert torch.equal(x, y[:, :, : x.shape[2], : x.shape[3]])


@pytest.mark.parametrize("size", [(96, 96), (64, 97)])
def test_beit_refuses_larger_images(size: tuple[int, int]) -> None:
    message = f"an image of {size[0]} x {size[1]} is larger than IMG_SIZE 64 x 96"
    with pytest.raises(ProLabError, match=f"BEIT_ADAPTER: {message}.*TEST.SLIDING_WINDOW"):
        run(beit(), size)


def gradients(net: AdapterBackbone, seed: int = 0) -> tuple[list[Tensor], dict[str, Tensor]]:
    torch.manual_seed(seed)
    features = list(net(images((64, 96))).values())
    sum((x * x).sum() for x in features).backward()
    return features, {name: p.grad for name, p in net.named_parameters()}


@pytest.mark.parametrize("make", ADAPTERS)
def test_checkpointing_changes_memory_only(make: Any) -> None:
    """With drop path, too: what is computed again draws the same random numbers."""
    kept = 0

    def count(x: Tensor) -> Tensor:
        nonlocal kept
        kept += x.numel()
        return x

    results = []
    for with_cp in (False, True):
        net = make(with_cp=with_cp, drop_path_rate=0.5).train()
        kept = 0
        with torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
            results.append((*gradients(net), kept))
    (plain, plain_gradients, plain_kept), (again, again_gradients, again_kept) = results
    assert all(torch.equal(x, y) for x, y in zip(plain, again, strict=True))
    for name, gradient in plain_gradients.items():
        assert torch.allclose(gradient, again_gradients[name], rtol=1e-4, atol=1e-5), name
    assert again_kept < 0.7 * plain_kept


@pytest.mark.parametrize("make", ADAPTERS)
def test_no_parameter_is_unused(make: Any) -> None:
    """Distributed training stops when a parameter gets no gradient."""
    _, own = gradients(make(drop_path_rate=0.1).train())
    assert [name for name, gradient in own.items() if gradient is None] == []


@pytest.mark.parametrize("make", ADAPTERS)
def test_a_batch_of_one_has_the_right_gradients(make: Any) -> None:
    """The bias of a norm adds to every pixel: its gradient is the sum of what comes back."""
    net = make().train()
    features = list(net(images((64, 96), batch=1)).values())
    weights = [torch.randn(x.shape) for x in features]
    sum((x * weight).sum() for x, weight in zip(features, weights, strict=True)).backward()
    for i, weight in enumerate(weights):
        bias = getattr(net, f"norm{i + 1}").bias
        assert torch.allclose(bias.grad, weight.sum((0, 2, 3)), atol=1e-4), i


@pytest.mark.parametrize("make", ADAPTERS)
def test_drop_path_only_in_training(make: Any) -> None:
    net = make(drop_path_rate=0.6)
    plain = make()
    plain.load_state_dict(net.state_dict())
    for x, y in zip(run(net, (64, 96)), run(plain, (64, 96)), strict=True):
        assert torch.equal(x, y)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in net.blocks]
    assert rates == pytest.approx([0, 0.2, 0.4, 0.6])
    net.train()
    with torch.no_grad():
        first, second = (net(images((64, 96)))["res4"] for _ in range(2))
    assert (first - second).abs().max() > 0.1


@pytest.mark.parametrize("make", ADAPTERS)
def test_half_precision_comes_close(make: Any) -> None:
    net = make()
    expected = run(net, (64, 96))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = run(net, (64, 96))
    for x, y in zip(features, expected, strict=True):
        assert (x.float() - y).abs().max() < 0.1 * y.abs().max()


@pytest.mark.parametrize("make", ADAPTERS)
def test_runs_on_the_meta_device(make: Any) -> None:
    """For counting what it costs."""
    with torch.device("meta"):
        net, x = make(), torch.empty(1, 3, 64, 96)
    assert [tuple(y.shape) for y in net(x).values()][0] == (1, 24, 16, 24)


def test_position_embeddings_follow_the_image() -> None:
    embedding = torch.randn(1, 16, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(resize_positions(embedding, (4, 4)), embedding, atol=1e-6)
    wide = resize_positions(embedding, (4, 8)).view(1, 4, 8, 3)
    assert torch.allclose(wide.mean((1, 2)), embedding.mean(1), atol=0.2)
    net = vit()
    before = run(net, (64, 128))
    with torch.no_grad():
        net.pos_embed[:, 0] += 1  # the class token's, which is not used
    assert all(torch.equal(x, y) for x, y in zip(before, run(net, (64, 128)), strict=True))
    with torch.no_grad():
        net.pos_embed[:, 1] += 1
    assert not torch.equal(before[2], run(net, (64, 128))[2])


def test_windows_are_attended_one_by_one() -> None:
    torch.manual_seed(0)
    attention = Attention(12, 3, window=2)
    x = torch.randn(2, 4 * 6, 12)
    with torch.no_grad():
        out = attention(x, (4, 6)).view(2, 4, 6, 12)
        attention.window = 0
        window = x.view(2, 4, 6, 12)[:, 2:, 4:].reshape(2, 4, 12)
        expected = attention(window, (2, 2)).view(2, 2, 2, 12)
    assert torch.allclose(out[:, 2:, 4:], expected, atol=1e-6)


def test_blocks_with_windows() -> None:
    assert [x.shape[2] for x in run(vit(window_sizes=[3, 0, 2, 0]), (96, 64))] == [24, 12, 6, 3]


def test_published_checkpoints_of_beit_load_with_their_indices() -> None:
    net = beit()
    state = net.state_dict()
    assert not any("index" in name for name in state)
    state |= {f"blocks.{i}.attn.relative_position_index": torch.zeros(25, 25) for i in range(4)}
    net.load_state_dict(state)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (vit, {"embed_dim": 50}, "VIT_ADAPTER.EMBED_DIM is 50, which 3 heads cannot share"),
        (beit, {"embed_dim": 50}, "BEIT_ADAPTER.EMBED_DIM is 50, which 3 heads cannot share"),
        (vit, {"deform_num_heads": 5}, "24 channels .1 of 24., which 5 heads cannot share"),
        (vit, {"drop_path_rate": 1.0}, "DROP_PATH_RATE is 1.0: give a probability"),
        (vit, {"depth": 3}, "every interaction needs a block"),
        (vit, {"interaction_indexes": [[0, 1], [3, 3]]}, "INTERACTION_INDEXES is .*without gaps"),
        (vit, {"interaction_indexes": [[0, 0], [1, 2]]}, "DEPTH is 4.* take blocks up to 2"),
        (vit, {"interaction_indexes": [[0, 1], [2, 3]]}, "has 2 interactions: give 4, or set ADD"),
        (vit, {"pretrain_size": 60}, "PRETRAIN_SIZE is 60: give a multiple of 16"),
        (vit, {"window_sizes": [7]}, "WINDOW_SIZES is .7.: give one side for each of the 4"),
        (beit, {"img_size": 80}, "IMG_SIZE is 80: give height and width, multiples of 32"),
        (beit, {"img_size": [64]}, "IMG_SIZE is .64.: give height and width"),
        (vit, {"norm": "batch"}, "NORM is 'batch'"),
    ],
)
def test_bad_options(make: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ProLabError, match=message) as caught:
        make(**options)
    assert "\n" not in str(caught.value)


def test_fewer_interactions_without_the_tokens() -> None:
    net = vit(interaction_indexes=[[0, 1], [2, 3]], add_vit_feature=False)
    assert len(net.interactions) == 2
    assert len(run(net, (64, 64))) == 4


@pytest.mark.parametrize("norm", ["GN", ""])
def test_other_norms(norm: str) -> None:
    net = vit(norm=norm, embed_dim=48)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert all(x.isfinite().all() for x in run(net, (64, 64)))


def small_cfg(cfg: CfgNode, kind: str) -> CfgNode:
    node = cfg.MODEL[f"{kind.upper()}_ADAPTER"]
    for key, value in SMALL.items():
        node[key.upper()] = value
    if kind == "beit":
        node.IMG_SIZE = [64, 64]
    cfg.MODEL.BACKBONE.NAME = f"build_{kind}_adapter_backbone"
    return cfg


@pytest.mark.parametrize(("kind", "cls"), [("vit", ViTAdapter), ("beit", BEiTAdapter)])
def test_built_from_the_config(tiny_cfg: CfgNode, kind: str, cls: type) -> None:
    cfg = small_cfg(tiny_cfg, kind)
    cfg.MODEL[f"{kind.upper()}_ADAPTER"].DROP_PATH_RATE = 0.3
    backbone = build_backbone(cfg, ShapeSpec(channels=3))
    assert type(backbone) is cls
    assert backbone.blocks[-1].drop_path.drop_prob == 0.3
    assert backbone.with_cp == (kind == "beit")
    deformable = backbone.interactions[0].injector.attn
    assert deformable.value_proj.out_features == 12


@pytest.mark.parametrize("kind", ["vit", "beit"])
def test_a_segmentor_trains_and_predicts(tiny_cfg: CfgNode, kind: str) -> None:
    torch.manual_seed(0)
    model = PropertySegmentor(small_cfg(tiny_cfg, kind))
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    one = {"image": image, "sem_seg": torch.randint(0, 5, (64, 64)), "height": 64, "width": 64}
    losses = model.train()([one, one])
    sum(losses.values()).backward()
    parameters = dict(model.named_parameters())
    assert [name for name, p in parameters.items() if p.grad is None] == []
    labels = model.eval()([one])[0]["labels"]
    assert labels.shape == (64, 64)
