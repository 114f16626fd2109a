"""Any timm model as a Detectron2 backbone.

Shapes: B batch, C channels (per feature), H x W image size.
"""

from __future__ import annotations

from typing import Any

import timm
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn

from prolab_d2.errors import ProLabError
from prolab_d2.modeling.backbones.stride_pyramid import STRIDES, StridePyramid
from prolab_d2.modeling.backbones.weights import hub_without_waiting, load_weights, unknown_model

__all__ = ["FEATURES", "TimmBackbone", "build_timm_backbone"]

FEATURES = ("res2", "res3", "res4", "res5")


class TimmBackbone(Backbone):
    """Features of a timm model at strides 4, 8, 16 and 32, called "res2" to "res5".

    With a smaller output stride the later features keep that stride, by dilated convolutions.
    A model with one stride only (a plain ViT) gives four of its layers, evenly spaced, to a
    `StridePyramid`. Images are zero-padded at the bottom and right to a multiple of 32 and the
    features cut back.
    """

    def __init__(
        self,
        name: str,
        *,
        weights: str = "",
        drop_path_rate: float = 0.0,
        output_stride: int = 32,
        in_channels: int = 3,
    ) -> None:
        """
        Args:
            name: of the model in timm.
            weights: "" (random), "hub" (timm's own download), a file (.pth or .safetensors), or
                "package:<name>" (the one weight file inside an installed Python package).
            drop_path_rate: stochastic depth.
            output_stride: the largest stride, 32, 16 or 8.
            in_channels: of the image.
        Raises:
            ProLabError: no such model, it lacks one of the strides, or its weights do not load.
        """
        super().__init__()
        self.name = name
        options: dict[str, Any] = {"in_chans": in_channels, "drop_path_rate": drop_path_rate}
        if output_stride not in STRIDES[1:]:
            raise ProLabError(f"MODEL.TIMM.OUTPUT_STRIDE is {output_stride}: use 8, 16 or 32")
        if output_stride < STRIDES[-1]:
            options["output_stride"] = output_stride
        self.strides = tuple(min(stride, output_stride) for stride in STRIDES)
        net = _create(name, options)
        strides = net.feature_info.reduction()
        self.pyramid: StridePyramid | None = None
        self.patch = self.grid = 1
        if output_stride < STRIDES[-1]:
            if tuple(strides[-4:]) != self.strides:
                raise ProLabError(
                    f"MODEL.TIMM.OUTPUT_STRIDE is {output_stride}, but {name!r} cannot be dilated "
                    f"(its strides are {strides}): use 32, or a convolutional network"
                )
            self.indices = [len(strides) - 4 + i for i in range(4)]
        elif set(STRIDES) <= set(strides):
            # Of several features with one stride the last is the richest.
            self.indices = [len(strides) - 1 - strides[::-1].index(stride) for stride in STRIDES]
        elif len(set(strides)) == 1:
            depth = len(net.feature_info.info)
            options["out_indices"] = [depth * (i + 1) // 4 - 1 for i in range(4)]
            net = _create(name, options)
            self.indices = [0, 1, 2, 3]
            # A patch size that is no power of two (14) runs on a slightly smaller image.
            self.patch = strides[0]
            self.grid = 1 << (self.patch - 1).bit_length()
            self.pyramid = StridePyramid(net.feature_info.channels()[0], self.grid)
        else:
            raise ProLabError(
                f"MODEL.TIMM.NAME: {name!r} has features at strides {strides}: choose a model "
                "with 4, 8, 16 and 32, or a plain ViT"
            )
        if weights == "hub":
            with hub_without_waiting(name):
                net = _create(name, options, pretrained=True)
        elif weights:
            load_weights(net, weights)
        self.net = net
        channels = net.feature_info.channels()
        self._shapes = {
            feature: ShapeSpec(channels=channels[i], stride=stride)
            for feature, i, stride in zip(FEATURES, self.indices, self.strides, strict=True)
        }

    @property
    def size_divisibility(self) -> int:
        return STRIDES[-1]

    def output_shape(self) -> dict[str, ShapeSpec]:
        return self._shapes

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """
        Args:
            images: (B, 3, H, W), normalised.
        Returns:
            "res2" to "res5": (B, C, H / stride, W / stride), rounded up, see `output_shape`.
        Raises:
            ProLabError: the model is made for one image size, and this is another.
        """
        height, width = images.shape[2:]
        bottom, right = -height % STRIDES[-1], -width % STRIDES[-1]
        if bottom or right:
            images = F.pad(images, (0, right, 0, bottom))
        features = self._features(images)
        if bottom or right:
            features = [
                x[:, :, : -(-height // stride), : -(-width // stride)]
                for x, stride in zip(features, self.strides, strict=True)
            ]
        return dict(zip(FEATURES, features, strict=True))

    def _features(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W), multiples of 32, to four features (B, C, H / stride, W / stride)."""
        height, width = images.shape[2:]
        if self.patch != self.grid:
            size = [side * self.patch // self.grid for side in (height, width)]
            images = F.interpolate(images, size, mode="bilinear", align_corners=False)
        try:
            outputs = self.net(images)
        except AssertionError as error:
            raise ProLabError(
                f"MODEL.TIMM.NAME: {self.name!r} cannot take an image of {height} x {width} "
                f"({error}): choose a model that takes any size, or images of that size"
            ) from error
        features = [outputs[i] for i in self.indices]
        if _gives_nhwc(self.net):
            features = [x.permute(0, 3, 1, 2) for x in features]
        return features if self.pyramid is None else self.pyramid(features)


def _gives_nhwc(net: nn.Module) -> bool:
    return str(getattr(net, "output_fmt", "")).upper().endswith("NHWC")


def _create(name: str, options: dict[str, Any], pretrained: bool = False) -> nn.Module:
    """timm's feature extractor, without the options that the model does not know.

    Raises:
        ProLabError: no such model, or it has no stochastic depth to set.
    """
    # Transformers are made for one image size; these options lift that where a model has them.
    options = {"dynamic_img_size": True, "strict_img_size": False, **options}
    while True:
        try:
            return timm.create_model(name, features_only=True, pretrained=pretrained, **options)
        except TypeError as error:
            refused = [key for key in options if f"'{key}'" in str(error)]
            if "unexpected keyword argument" not in str(error) or not refused:
                raise
            if "drop_path_rate" in refused and options["drop_path_rate"]:
                raise ProLabError(
                    f"MODEL.TIMM.DROP_PATH_RATE: {name!r} has no stochastic depth: set it to 0"
                ) from error
            options = {key: x for key, x in options.items() if key not in refused}
        except RuntimeError as error:
            if "Unknown model" not in str(error):
                raise
            raise unknown_model(name, "MODEL.TIMM.NAME") from error


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBackbone:
    """The backbone of `cfg.MODEL.TIMM`, for `MODEL.BACKBONE.NAME: build_timm_backbone`."""
    return TimmBackbone(
        cfg.MODEL.TIMM.NAME,
        weights=cfg.MODEL.TIMM.WEIGHTS,
        drop_path_rate=cfg.MODEL.TIMM.DROP_PATH_RATE,
        output_stride=cfg.MODEL.TIMM.OUTPUT_STRIDE,
        in_channels=input_shape.channels,
    )
