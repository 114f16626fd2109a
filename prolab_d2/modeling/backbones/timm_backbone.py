"""Any timm model as a Detectron2 backbone.

Shapes: B batch, C channels (per feature), H x W image size.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

import timm
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn

from prolab_d2.errors import ProLabError
from prolab_d2.modeling.backbones.stride_pyramid import STRIDES, StridePyramid
from prolab_d2.modeling.backbones.weights import hub_without_waiting, load_weights

__all__ = ["FEATURES", "TimmBackbone", "build_timm_backbone"]

FEATURES = ("res2", "res3", "res4", "res5")
_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")
# Transformers are made for one image size; these options, where a model has them, lift that.
_ANY_SIZE = {"dynamic_img_size": True, "strict_img_size": False}


class TimmBackbone(Backbone):
    """Features of a timm model at strides 4, 8, 16 and 32, called "res2" to "res5".

    A model with one stride only (a plain ViT) gives four of its layers, evenly spaced, to a
    `StridePyramid`.
    """

    def __init__(
        self, name: str, *, weights: str = "", drop_path_rate: float = 0.0, in_channels: int = 3
    ) -> None:
        """
        Args:
            name: of the model in timm.
            weights: "" (random), "hub" (timm's own download), a file (.pth or .safetensors), or
                "package:<name>" (the one weight file inside an installed Python package).
            drop_path_rate: stochastic depth.
            in_channels: of the image.
        Raises:
            ProLabError: no such model, it lacks one of the strides, or its weights do not load.
        """
        super().__init__()
        options = {"in_chans": in_channels}
        if drop_path_rate:
            options["drop_path_rate"] = drop_path_rate
        net = _create(name, options)
        strides = net.feature_info.reduction()
        self.pyramid: StridePyramid | None = None
        # A patch size that is no power of two (14) runs on a slightly smaller image.
        self.patch, self.grid = 1, 1
        if set(STRIDES) <= set(strides):
            # Of several features with one stride the last is the richest.
            self.indices = [len(strides) - 1 - strides[::-1].index(stride) for stride in STRIDES]
            channels = [net.feature_info.channels()[i] for i in self.indices]
        elif len(set(strides)) == 1:
            depth = len(net.feature_info.info)
            taps = [depth * (i + 1) // 4 - 1 for i in range(4)]
            options["out_indices"] = taps
            net = _create(name, options)
            self.indices = list(range(4))
            channels = net.feature_info.channels()
            self.patch = strides[0]
            self.grid = 1 << (self.patch - 1).bit_length()
            self.pyramid = StridePyramid(channels[0], self.grid)
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
        self._shapes = {
            feature: ShapeSpec(channels=width, stride=stride)
            for feature, width, stride in zip(FEATURES, channels, STRIDES, strict=True)
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
            "res2" to "res5": (B, C, H / stride, W / stride), rounded up.
        """
        if self.pyramid is None:
            outputs = self.net(images)
            features = [outputs[i] for i in self.indices]
            if _is_nhwc(self.net):
                features = [x.permute(0, 3, 1, 2) for x in features]
        else:
            features = self._pyramid_features(images)
        return dict(zip(FEATURES, features, strict=True))

    def _pyramid_features(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[2:]
        images = F.pad(images, (0, -width % STRIDES[-1], 0, -height % STRIDES[-1]))
        if self.patch != self.grid:
            size = [side * self.patch // self.grid for side in images.shape[2:]]
            images = F.interpolate(images, size, mode="bilinear", align_corners=False)
        features = self.pyramid(self.net(images))
        return [
            x[:, :, : -(-height // stride), : -(-width // stride)]
            for x, stride in zip(features, STRIDES, strict=True)
        ]


def _is_nhwc(net: nn.Module) -> bool:
    return str(getattr(net, "output_fmt", "")).upper().endswith("NHWC")


def _create(name: str, options: dict[str, Any], pretrained: bool = False) -> nn.Module:
    """timm's feature extractor, without those of `_ANY_SIZE` that the model does not have."""
    size_options = dict(_ANY_SIZE)
    while True:
        try:
            return timm.create_model(
                name, features_only=True, pretrained=pretrained, **options, **size_options
            )
        except TypeError as error:
            match = _UNEXPECTED.search(str(error))
            if match and match[1] in size_options:
                del size_options[match[1]]
            elif match and match[1] == "drop_path_rate":
                raise ProLabError(
                    f"MODEL.TIMM.DROP_PATH_RATE: {name!r} has no stochastic depth: set it to 0"
                ) from error
            else:
                raise
        except RuntimeError as error:
            if "Unknown model" not in str(error):
                raise
            close = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.4)
            raise ProLabError(
                f"MODEL.TIMM.NAME: timm {timm.__version__} has no model {name!r}: did you mean "
                f"one of {close}? timm.list_models() lists all"
            ) from error


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBackbone:
    """The backbone of `cfg.MODEL.TIMM`, for `MODEL.BACKBONE.NAME: build_timm_backbone`."""
    return TimmBackbone(
        cfg.MODEL.TIMM.NAME,
        weights=cfg.MODEL.TIMM.WEIGHTS,
        drop_path_rate=cfg.MODEL.TIMM.DROP_PATH_RATE,
        in_channels=input_shape.channels,
    )
