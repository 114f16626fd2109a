"""A fully convolutional head on one feature: the auxiliary head of all published configs.

Shapes: B batch, C channels of the head, h x w size of its input.
"""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from prolab_d2.errors import ProLabError
from prolab_d2.modeling.decode_heads.base import DECODE_HEADS_REGISTRY, DecodeHead
from prolab_d2.modeling.decode_heads.layers import ConvModule

__all__ = ["FCNHead"]


@DECODE_HEADS_REGISTRY.register()
class FCNHead(DecodeHead):
    """A row of convolutions (Long et al., CVPR 2015), as MMSegmentation builds it.

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
        num_convs: int = 2,
        concat_input: bool = True,
        kernel_size: int = 3,
        dilation: int = 1,
    ) -> None:
        """
        Args:
            input_shape, in_features, channels, norm: see `DecodeHead`; exactly one feature.
            num_convs: number of convolutions; 0 leaves the feature as it is.
            concat_input: join the input to the result and add a last convolution.
            kernel_size, dilation: of the convolutions; the last one is not dilated.
        Raises:
            ProLabError: more than one feature, or no convolution to change the width with.
        """
        super().__init__(
            input_shape=input_shape, in_features=in_features, channels=channels, norm=norm
        )
        if len(self.in_features) != 1:
            raise ProLabError(
                f"FCNHead reads one feature, IN_FEATURES has {list(self.in_features)}: keep one"
            )
        width = self.in_channels[0]
        if num_convs == 0 and width != channels:
            raise ProLabError(
                f"FCNHead without convolutions keeps the {width} channels of its input: set "
                f"CHANNELS to {width} (now {channels}) or NUM_CONVS to 1 or more"
            )
        self.convs = nn.Sequential(
            *(
                ConvModule(
                    width if i == 0 else channels,
                    channels,
                    kernel_size,
                    norm=norm,
                    dilation=dilation,
                )
                for i in range(num_convs)
            )
        )
        self.conv_cat = (
            ConvModule(width + channels, channels, kernel_size, norm=norm) if concat_input else None
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        return {
            **super().from_config(cfg, input_shape),
            "num_convs": cfg.NUM_CONVS,
            "concat_input": cfg.CONCAT_INPUT,
        }

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        x = features[self.in_features[0]]
        y = self.convs(x)
        if self.conv_cat is None:
            return y
        return self.conv_cat(torch.cat([x, y], dim=1))
