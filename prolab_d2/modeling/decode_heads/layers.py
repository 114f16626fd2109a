"""Building blocks of the decode heads.

Shapes: B batch, C channels, h x w feature size.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
import torch.distributed
import torch.nn.functional as F
from detectron2.layers import get_norm
from fvcore.nn import weight_init
from torch import Tensor, nn

from prolab_d2.errors import ProLabError

__all__ = ["ConvModule", "DepthwiseSeparableConvModule", "build_norm", "enlarge", "resize"]


def build_norm(norm: str, channels: int) -> nn.Module | None:
    """Detectron2's `get_norm`, with "SyncBN" only where several CUDA processes can synchronise.

    `nn.SyncBatchNorm` cannot train on CPU, and plain batch norm is the same thing in one process;
    both have the same parameter names. "GN" has Detectron2's 32 groups, or fewer where 32 does not
    divide the width, as in a depthwise convolution.

    Args:
        norm: "BN", "SyncBN", "FrozenBN", "GN", ... or "" for none.
    Raises:
        ProLabError: Detectron2 does not know the name.
    """
    if norm == "SyncBN" and not _can_synchronise():
        norm = "BN"
    if norm == "GN":
        return nn.GroupNorm(math.gcd(32, channels), channels)
    try:
        return get_norm(norm, channels)
    except KeyError as error:
        raise ProLabError(
            f"NORM is {norm!r}: use 'BN', 'SyncBN', 'FrozenBN', 'GN' or '' for none"
        ) from error


def _can_synchronise() -> bool:
    distributed = torch.distributed
    return (
        torch.cuda.is_available()
        and distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )


class ConvModule(nn.Sequential):
    """Convolution that keeps the size, normalisation, ReLU.

    The layers are called `conv`, `bn` (`norm` where it is no batch norm) and `activate`, the names
    in published checkpoints. The convolution has a bias only where no normalisation follows.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        norm: str = "SyncBN",
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        normalisation = build_norm(norm, out_channels)
        layers["conv"] = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            padding=(kernel_size // 2) * dilation,
            dilation=dilation,
            groups=groups,
            bias=normalisation is None,
        )
        weight_init.c2_msra_fill(layers["conv"])
        if normalisation is not None:
            layers["bn" if "BN" in norm else "norm"] = normalisation
        layers["activate"] = nn.ReLU(inplace=True)
        super().__init__(layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, out_channels, h, w).

        Raises:
            ProLabError: plain batch norm has to train on a single value per channel.
        """
        if self.training and x.numel() == x.shape[1] and isinstance(self[1], nn.BatchNorm2d):
            raise ProLabError(
                "batch norm cannot train on one image whose features are pooled to one pixel: "
                "raise SOLVER.IMS_PER_BATCH to 2 or more per process, or set the NORM of the head "
                "to 'GN'"
            )
        return super().forward(x)


class DepthwiseSeparableConvModule(nn.Sequential):
    """A 3x3 convolution of each channel for itself, then a 1x1 one that mixes them.

    Both are followed by normalisation and ReLU.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, norm: str = "SyncBN", dilation: int = 1
    ) -> None:
        depthwise = ConvModule(
            in_channels, in_channels, 3, norm=norm, dilation=dilation, groups=in_channels
        )
        pointwise = ConvModule(in_channels, out_channels, 1, norm=norm)
        super().__init__(
            OrderedDict([("depthwise_conv", depthwise), ("pointwise_conv", pointwise)])
        )


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, h, w) -> (B, C, *size), bilinear with `align_corners=False`."""
    if x.shape[2:] == size:
        return x
    return enlarge(x, size)


def enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    """`resize` of maps of a constant size: an exported graph must not depend on a comparison."""
    return F.interpolate(x, size, mode="bilinear", align_corners=False)
