"""Features at strides 4 to 32 from a network that has one stride only, such as a plain ViT.

Shapes: B batch, C channels, h x w size of the network's features.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

__all__ = ["STRIDES", "StridePyramid"]

STRIDES = (4, 8, 16, 32)


class StridePyramid(nn.Module):
    """Transposed convolutions up, max pooling down (BEiT, Bao et al., ICLR 2022, appendix)."""

    def __init__(self, channels: int, stride: int) -> None:
        """
        Args:
            channels: of every feature that comes in, and that goes out.
            stride: of the features that come in, a power of two.
        """
        super().__init__()
        self.levels = nn.ModuleList(
            _change_stride(channels, round(math.log2(stride / target))) for target in STRIDES
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Four times (B, C, h, w) to (B, C, ...) at strides 4, 8, 16, 32."""
        return [level(x) for level, x in zip(self.levels, features, strict=True)]


def _change_stride(channels: int, doublings: int) -> nn.Module:
    """Doubles the size `doublings` times; halves it where that is negative."""
    if doublings <= 0:
        return nn.MaxPool2d(2**-doublings) if doublings else nn.Identity()
    layers: list[nn.Module] = []
    for i in range(doublings):
        if i:
            layers += [nn.BatchNorm2d(channels), nn.GELU()]
        layers.append(nn.ConvTranspose2d(channels, channels, 2, stride=2))
    return nn.Sequential(*layers)
