from __future__ import annotations

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from detectron2.modeling.backbone import Backbone

from prolab_d2 import ProLabError, add_prolab_config
from prolab_d2.modeling.backbones import TimmBackbone
from prolab_d2.modeling.decode_heads import FCNHead, UPerNetHead

STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}
# Convolutions with and without a stride-2 feature, a pyramid transformer, shifted windows (which
# answer channels last), plain ViTs with patches of 16 and 8 pixels, and one of 14.
MODELS = [
    "test_resnet",
    "test_convnext",
    "tf_efficientnet_lite0",
    "mobilenetv3_small_050",
    "resnet18",
    "pvt_v2_b0",
    "test_vit",
    "swin_tiny_patch4_window7_224",
]


def images(size: tuple[int, int], batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))


def check_shapes(
    backbone: Backbone, size: tuple[int, int], strides: dict[str, int] = STRIDES
) -> None:
    with torch.no_grad():
        features = backbone(images(size))
    shapes = backbone.output_shape()
    assert {name: shape.stride for name, shape in shapes.items()} == strides
    for name, shape in shapes.items():
        expected = (2, shape.channels, *(-(-side // shape.stride) for side in size))
        assert features[name].shape == expected, name
        assert features[name].isfinite().all(), name


@pytest.mark.parametrize("name", MODELS)
def test_four_strides_whatever_the_size(name: str) -> None:
    backbone = TimmBackbone(name).eval()
    assert backbone.size_divisibility == 32
    for size in [(64, 96), (61, 90)]:
        check_shapes(backbone, size)


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", ["test_resnet", "resnet10t", "test_efficientnet"])
def test_dilated_networks_keep_a_smaller_stride(name: str, output_stride: int) -> None:
    backbone = TimmBackbone(name, output_stride=output_stride).eval()
    strides = {feature: min(stride, output_stride) for feature, stride in STRIDES.items()}
    for size in [(64, 96), (61, 90)]:
        check_shapes(backbone, size, strides)
    # Dilation replaces the step and adds no parameter: weights of the usual network fit.
    plain = TimmBackbone(name)
    plain.load_state_dict(backbone.state_dict())


def test_networks_that_cannot_be_dilated_are_named() -> None:
    with pytest.raises(ProLabError, match="OUTPUT_STRIDE is 8, but 'pvt_v2_b0' cannot be dilated"):
        TimmBackbone("pvt_v2_b0", output_stride=8)
    with pytest.raises(ProLabError, match="OUTPUT_STRIDE is 4: use 8, 16 or 32"):
        TimmBackbone("test_resnet", output_stride=4)


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "vit_tiny_r_s16_p8_224", "test_vit2"])
def test_one_stride_becomes_four(name: str) -> None:
    check_shapes(TimmBackbone(name).eval(), (64, 96))


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit"])
def test_no_parameter_is_unused(name: str) -> None:
    """Distributed training stops when a parameter gets no gradient."""
    backbone = TimmBackbone(name, drop_path_rate=0.1).train()
    features = backbone(images((64, 64)))
    sum((x * torch.randn(x.shape)).sum() for x in features.values()).backward()
    unused = [n for n, p in backbone.named_parameters() if p.grad is None]
    assert unused == []
    assert all(p.requires_grad for p in backbone.parameters())


def test_the_features_are_those_of_timm() -> None:
    import timm

    backbone = TimmBackbone("test_convnext").eval()
    net = timm.create_model("test_convnext", features_only=True)
    net.load_state_dict(backbone.net.state_dict())
    with torch.no_grad():
        actual = backbone(images((64, 96)))
        expected = net.eval()(images((64, 96)))
    for x, y in zip(actual.values(), expected, strict=True):
        assert torch.equal(x, y)


def test_a_plain_vit_gives_evenly_spaced_layers() -> None:
    backbone = TimmBackbone("vit_tiny_patch16_224")
    assert list(backbone.net.out_indices) == [2, 5, 8, 11]
    ratios = [x / 4 for x in STRIDES.values()]
    with torch.no_grad():
        features = list(backbone.eval()(images((64, 64))).values())
    assert [features[0].shape[-1] / x.shape[-1] for x in features] == ratios


def test_a_patch_of_14_pixels_keeps_features_aligned() -> None:
    """It sees the image at 14/16 of its size, so that its map has a cell per 16 pixels."""
    backbone = TimmBackbone("vit_small_patch14_dinov2").eval()
    grid = []
    backbone.net.register_forward_hook(lambda module, args, outputs: grid.extend(outputs))
    with torch.no_grad():
        backbone(images((64, 128)))
    assert {tuple(x.shape[2:]) for x in grid} == {(4, 8)}


def test_drop_path_rate_reaches_the_model() -> None:
    def rate(backbone: TimmBackbone) -> float:
        return max(getattr(m, "drop_prob", None) or 0.0 for m in backbone.modules())

    assert rate(TimmBackbone("test_convnext", drop_path_rate=0.3)) == pytest.approx(0.3)
    # timm gives Swin 0.1 unless told otherwise.
    assert rate(TimmBackbone("swin_tiny_patch4_window7_224")) == 0


def test_drop_path_where_there_is_none() -> None:
    TimmBackbone("dla46_c")
    with pytest.raises(ProLabError, match="'dla46_c' has no stochastic depth"):
        TimmBackbone("dla46_c", drop_path_rate=0.1)


def test_unknown_model_names_similar_ones() -> None:
    with pytest.raises(ProLabError, match=r"'resnet18x'.*'resnet18'"):
        TimmBackbone("resnet18x")


def test_model_without_stride_32_is_refused() -> None:
    with pytest.raises(ProLabError, match=r"\[4, 8, 16\].*choose a model with 4, 8, 16 and 32"):
        TimmBackbone("nest_tiny")


def test_model_of_one_image_size_says_so() -> None:
    backbone = TimmBackbone("test_maxvit").eval()
    with pytest.raises(ProLabError, match="'test_maxvit' cannot take an image of 64 x 96"):
        backbone(images((64, 96)))


def test_built_from_the_config(tiny_cfg: CfgNode) -> None:
    tiny_cfg.merge_from_list(["MODEL.TIMM.NAME", "test_convnext"])
    tiny_cfg.merge_from_list(["MODEL.TIMM.DROP_PATH_RATE", 0.2])
    backbone = build_backbone(tiny_cfg)
    assert isinstance(backbone, TimmBackbone)
    assert backbone.name == "test_convnext"
    assert any(getattr(m, "drop_prob", None) for m in backbone.modules())


@pytest.mark.parametrize("stem", ["detectron2", "timm"])
def test_heads_work_on_every_kind_of_backbone(stem: str) -> None:
    if stem == "timm":
        backbone: Backbone = TimmBackbone("test_efficientnet")
    else:
        backbone = build_detectron2_resnet()
    shapes = backbone.output_shape()
    head = UPerNetHead(input_shape=shapes, in_features=tuple(STRIDES), channels=8).train()
    aux = FCNHead(input_shape=shapes, in_features=("res4",), channels=8, num_convs=1).train()
    features = backbone.train()(images((64, 96)))
    out, aux_out = head(features), aux(features)
    assert out.shape == (2, 8, 16, 24)
    assert aux_out.shape == (2, 8, 4, 6)
    (out.square().mean() + aux_out.square().mean()).backward()
    assert all(p.grad is not None for p in backbone.parameters() if p.requires_grad)


def build_detectron2_resnet() -> Backbone:
    cfg = get_cfg()
    add_prolab_config(cfg)
    cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.RESNETS.DEPTH = 18
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.RESNETS.OUT_FEATURES = list(STRIDES)
    return build_backbone(cfg, ShapeSpec(channels=3))
