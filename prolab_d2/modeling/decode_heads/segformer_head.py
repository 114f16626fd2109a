"""SegFormer's head: every level to one width and the finest size, then a single mixing layer.

Shapes: B batch, C channels of the head, h x w size of the finest input.
"""

from __future__ import annotations

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from prolab_d2.modeling.decode_heads.base import DECODE_HEADS_REGISTRY, DecodeHead
from prolab_d2.modeling.decode_heads.layers import ConvModule, resize

__all__ = ["SegFormerHead"]


@DECODE_HEADS_REGISTRY.register()
class SegFormerHead(DecodeHead):
    """The all-MLP decoder (Xie et al., NeurIPS 2021), with 1x1 convolutions as MMSegmentation does.

    Parameter names are those of published checkpoints.
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: dict[str, ShapeSpec],
        in_features: tuple[str, ...],
        channels: int,
        norm: str = "SyncBN",
    ) -> None:
        super().__init__(
            input_shape=input_shape, in_features=in_features, channels=channels, norm=norm
        )
        self.convs = nn.ModuleList(
            ConvModule(width, channels, 1, norm=norm) for width in self.in_channels
        )
        self.fusion_conv = ConvModule(len(self.in_channels) * channels, channels, 1, norm=norm)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        size = features[self.in_features[0]].shape[2:]
        levels = [
            resize(conv(features[name]), size)
            for conv, name in zip(self.convs, self.in_features, strict=True)
        ]
        return self.fusion_conv(torch.cat(levels, dim=1))
