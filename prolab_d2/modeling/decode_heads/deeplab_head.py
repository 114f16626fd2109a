"""DeepLabV3+: atrous spatial pyramid pooling with separable convolutions, and a low-level branch.

Shapes: B batch, C channels of the head, h x w size of the finest input.
"""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from prolab_d2.errors import ProLabError
from prolab_d2.modeling.decode_heads.base import DECODE_HEADS_REGISTRY, DecodeHead
from prolab_d2.modeling.decode_heads.layers import (
    ConvModule,
    DepthwiseSeparableConvModule,
    enlarge,
    resize,
)

__all__ = ["DeepLabV3PlusHead"]


@DECODE_HEADS_REGISTRY.register()
class DeepLabV3PlusHead(DecodeHead):
    """Encoder-decoder with atrous separable convolution (Chen et al., ECCV 2018).

    With two features, the finer one is the low-level branch and gives the size of the answer; with
    one, there is no such branch. Parameter names are those of published checkpoints
    (MMSegmentation's depthwise-separable ASPP head).
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: dict[str, ShapeSpec],
        in_features: tuple[str, ...],
        channels: int,
        norm: str = "SyncBN",
        dilations: tuple[int, ...] = (1, 6, 12, 18),
        low_level_channels: int = 48,
    ) -> None:
        """
        Args:
            input_shape, in_features, channels, norm: see `DecodeHead`; one feature or two.
            dilations: one branch each; 1 is a 1x1 convolution, others are 3x3 and separable.
            low_level_channels: width of the low-level branch, if there is one.
        Raises:
            ProLabError: more than two features.
        """
        super().__init__(
            input_shape=input_shape, in_features=in_features, channels=channels, norm=norm
        )
        if len(self.in_features) > 2:
            raise ProLabError(
                f"DeepLabV3PlusHead reads one feature, or a low-level one before it; IN_FEATURES "
                f"has {list(self.in_features)}: keep two"
            )
        *low_level, width = self.in_channels
        self.image_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), ConvModule(width, channels, 1, norm=norm)
        )
        self.aspp_modules = nn.ModuleList(
            ConvModule(width, channels, 1, norm=norm)
            if dilation == 1
            else DepthwiseSeparableConvModule(width, channels, norm=norm, dilation=dilation)
            for dilation in dilations
        )
        self.bottleneck = ConvModule((len(dilations) + 1) * channels, channels, 3, norm=norm)
        self.c1_bottleneck = None
        if low_level:
            self.c1_bottleneck = ConvModule(low_level[0], low_level_channels, 1, norm=norm)
        joined = channels + (low_level_channels if low_level else 0)
        self.sep_bottleneck = nn.Sequential(
            DepthwiseSeparableConvModule(joined, channels, norm=norm),
            DepthwiseSeparableConvModule(channels, channels, norm=norm),
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        return {
            **super().from_config(cfg, input_shape),
            "dilations": tuple(cfg.DILATIONS),
            "low_level_channels": cfg.LOW_LEVEL_CHANNELS,
        }

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        *low_level, x = [features[name] for name in self.in_features]
        branches = [enlarge(self.image_pool(x), x.shape[2:])]
        branches += [branch(x) for branch in self.aspp_modules]
        y = self.bottleneck(torch.cat(branches, dim=1))
        if self.c1_bottleneck is not None:
            fine = self.c1_bottleneck(low_level[0])
            y = torch.cat([resize(y, fine.shape[2:]), fine], dim=1)
        return self.sep_bottleneck(y)
