"""What every decode head is: features of the backbone in, one feature map out.

Shapes: B batch, C channels of a head, h x w size of its finest input.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry
from torch import Tensor, nn

from prolab_d2.errors import ProLabError

__all__ = ["DECODE_HEADS_REGISTRY", "DecodeHead", "build_decode_head"]

DECODE_HEADS_REGISTRY = Registry("DECODE_HEADS")
DECODE_HEADS_REGISTRY.__doc__ = """
Decode heads by name (`MODEL.DECODE_HEAD.NAME`, `MODEL.AUX_HEAD.NAME`): subclasses of `DecodeHead`.
"""


class DecodeHead(nn.Module, ABC):
    """Turns backbone features into the feature map that pixels are predicted from.

    A head gives features only. Dropout, the 1x1 projection to pixel embeddings and the loss belong
    to the segmentor.
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
        """
        Args:
            input_shape: what the backbone gives.
            in_features: the features that the head reads, from fine to coarse.
            channels: width of the head and of its answer.
            norm: see `build_norm`.
        Raises:
            ProLabError: a feature does not exist, or a finer one follows a coarser one.
        """
        super().__init__()
        missing = [name for name in in_features if name not in input_shape]
        if missing or not in_features:
            raise ProLabError(
                f"{type(self).__name__} cannot read the features {missing}: set IN_FEATURES to "
                f"some of {list(input_shape)}, which the backbone gives"
            )
        strides = [input_shape[name].stride for name in in_features]
        if None not in strides and strides != sorted(strides):
            raise ProLabError(
                f"{type(self).__name__} reads features of strides {strides}: order IN_FEATURES "
                "from fine to coarse"
            )
        self.in_features = tuple(in_features)
        self.in_channels = tuple(input_shape[name].channels for name in in_features)
        self.norm = norm
        self.out_channels = channels

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Arguments from `cfg.MODEL.DECODE_HEAD` or `cfg.MODEL.AUX_HEAD`."""
        return {
            "input_shape": input_shape,
            "in_features": tuple(cfg.IN_FEATURES),
            "channels": cfg.CHANNELS,
            "norm": cfg.NORM,
        }

    @abstractmethod
    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """
        Args:
            features: name to (B, its channels, its size); those of `in_features` are read.
        Returns:
            (B, out_channels, h, w), at the size of the first of `in_features`.
        """


def build_decode_head(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> DecodeHead:
    """The head that `cfg` describes.

    Args:
        cfg: `cfg.MODEL.DECODE_HEAD` or `cfg.MODEL.AUX_HEAD`.
        input_shape: `output_shape()` of the backbone.
    Raises:
        ProLabError: no head has that name, or it does not fit the backbone.
    """
    if cfg.NAME not in DECODE_HEADS_REGISTRY:
        names = sorted(name for name, _ in DECODE_HEADS_REGISTRY)
        raise ProLabError(f"no decode head is called {cfg.NAME!r}: set NAME to one of {names}")
    return DECODE_HEADS_REGISTRY.get(cfg.NAME)(cfg, input_shape)
