"""UPerNet: pyramid pooling on the coarsest feature, then a feature pyramid.

Shapes: B batch, C channels of the head, h x w size of the finest input.
"""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from prolab_d2.modeling.decode_heads.base import DECODE_HEADS_REGISTRY, DecodeHead
from prolab_d2.modeling.decode_heads.layers import ConvModule, enlarge, resize

__all__ = ["UPerNetHead"]


@DECODE_HEADS_REGISTRY.register()
class UPerNetHead(DecodeHead):
    """Unified perceptual parsing (Xiao et al., ECCV 2018), as MMSegmentation builds it.

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
        pool_scales: tuple[int, ...] = (1, 2, 3, 6),
    ) -> None:
        """
        Args:
            input_shape, in_features, channels, norm: see `DecodeHead`.
            pool_scales: the coarsest feature is averaged over grids of these sizes.
        """
        super().__init__(
            input_shape=input_shape, in_features=in_features, channels=channels, norm=norm
        )
        *fine, coarse = self.in_channels
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), ConvModule(coarse, channels, 1, norm=norm))
            for scale in pool_scales
        )
        self.bottleneck = ConvModule(coarse + len(pool_scales) * channels, channels, 3, norm=norm)
        self.lateral_convs = nn.ModuleList(
            ConvModule(width, channels, 1, norm=norm) for width in fine
        )
        self.fpn_convs = nn.ModuleList(ConvModule(channels, channels, 3, norm=norm) for _ in fine)
        self.fpn_bottleneck = ConvModule(len(self.in_channels) * channels, channels, 3, norm=norm)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        return {
            **super().from_config(cfg, input_shape),
            "pool_scales": tuple(cfg.POOL_SCALES),
        }

    def _pool_pyramid(self, x: Tensor) -> Tensor:
        """(B, channels of the coarsest feature, ...) -> (B, C, ...) of the same size."""
        pooled = [enlarge(module(x), x.shape[2:]) for module in self.psp_modules]
        return self.bottleneck(torch.cat([x, *pooled], dim=1))

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        *fine, coarse = [features[name] for name in self.in_features]
        levels = [conv(x) for conv, x in zip(self.lateral_convs, fine, strict=True)]
        levels.append(self._pool_pyramid(coarse))
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] = levels[i - 1] + resize(levels[i], levels[i - 1].shape[2:])
        for i, conv in enumerate(self.fpn_convs):
            levels[i] = conv(levels[i])
        size = levels[0].shape[2:]
        return self.fpn_bottleneck(torch.cat([resize(x, size) for x in levels], dim=1))
