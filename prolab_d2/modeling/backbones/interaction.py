"""Where the tokens of a transformer and those of a convolutional pyramid read each other.

ViT-Adapter (Chen et al., ICLR 2023), section 3.4.

Shapes: B batch, C channels, h x w grid of the transformer at stride 16, T = h * w its tokens,
S = 4T + T + T / 4 tokens of the pyramid at strides 8, 16 and 32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn

from prolab_d2.modeling.backbones.deformable_attention import (
    DeformableAttention,
    Size,
    cell_centres,
)

__all__ = ["EPSILON", "Extractor", "Geometry", "Injector", "Interaction"]

# Of every layer norm in adapters and transformers.
EPSILON = 1e-6
_LEVELS = (8, 16, 32)


@dataclass(frozen=True)
class Geometry:
    """Where the tokens of an image lie."""

    # (h, w) of the transformer's grid.
    grid: Size
    # (2h, 2w), (h, w), (h / 2, w / 2).
    pyramid: tuple[Size, ...]
    # (1, T, 1, 2) and (1, S, 1, 2): centres of the tokens' cells.
    grid_points: Tensor
    pyramid_points: Tensor

    @classmethod
    def of(cls, images: Tensor) -> Geometry:
        """Of images (B, 3, H, W), multiples of 32."""
        height, width = images.shape[2:]
        pyramid = tuple((height // stride, width // stride) for stride in _LEVELS)
        grid = pyramid[1]
        return cls(grid, pyramid, cell_centres([grid], images), cell_centres(pyramid, images))


class Injector(nn.Module):
    """Tokens of the transformer read the pyramid; a factor per channel says how much of it."""

    def __init__(
        self, channels: int, *, num_heads: int, num_points: int, value_ratio: float, scale: float
    ) -> None:
        """
        Args:
            scale: start of the factors. At 0 the transformer begins undisturbed.
        """
        super().__init__()
        self.query_norm = nn.LayerNorm(channels, eps=EPSILON)
        self.feat_norm = nn.LayerNorm(channels, eps=EPSILON)
        self.attn = DeformableAttention(
            channels,
            num_levels=len(_LEVELS),
            num_heads=num_heads,
            num_points=num_points,
            value_ratio=value_ratio,
        )
        self.gamma = nn.Parameter(torch.full((channels,), float(scale)))

    def forward(self, x: Tensor, c: Tensor, geometry: Geometry) -> Tensor:
        """x (B, T, C), c (B, S, C) -> (B, T, C)."""
        query, feature = self.query_norm(x), self.feat_norm(c)
        return x + self.gamma * self.attn(query, geometry.grid_points, feature, geometry.pyramid)


class Extractor(nn.Module):
    """Tokens of the pyramid read the transformer, then pass a feed-forward network."""

    def __init__(
        self,
        channels: int,
        *,
        num_heads: int,
        num_points: int,
        value_ratio: float,
        ffn_ratio: float,
        drop_path: float,
    ) -> None:
        """
        Args:
            ffn_ratio: inner width of the feed-forward network relative to `channels`; at 0 there
                is no such network.
            drop_path: probability that an image skips the feed-forward network in training.
        """
        super().__init__()
        self.query_norm = nn.LayerNorm(channels, eps=EPSILON)
        self.feat_norm = nn.LayerNorm(channels, eps=EPSILON)
        self.attn = DeformableAttention(
            channels,
            num_levels=1,
            num_heads=num_heads,
            num_points=num_points,
            value_ratio=value_ratio,
        )
        self.ffn: _ConvFFN | None = None
        if ffn_ratio:
            self.ffn = _ConvFFN(channels, int(channels * ffn_ratio))
            self.ffn_norm = nn.LayerNorm(channels, eps=EPSILON)
            self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, c: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
        """c (B, S, C), x (B, T, C) -> (B, S, C)."""
        query, feature = self.query_norm(c), self.feat_norm(x)
        c = c + self.attn(query, geometry.pyramid_points, feature, [geometry.grid])
        if self.ffn is not None:
            c = c + self.drop_path(self.ffn(self.ffn_norm(c), geometry.pyramid))
        return c


class Interaction(nn.Module):
    """The parts that surround a slice of transformer blocks; the adapter runs them."""

    def __init__(
        self,
        channels: int,
        *,
        num_heads: int,
        num_points: int,
        value_ratio: float,
        scale: float,
        ffn_ratio: float,
        drop_path: float,
        num_extra_extractors: int,
    ) -> None:
        super().__init__()
        attention = {"num_heads": num_heads, "num_points": num_points, "value_ratio": value_ratio}
        extractors = [
            Extractor(channels, **attention, ffn_ratio=ffn_ratio, drop_path=drop_path)
            for _ in range(1 + num_extra_extractors)
        ]
        self.injector = Injector(channels, **attention, scale=scale)
        self.extractor = extractors[0]
        self.extra_extractors = nn.ModuleList(extractors[1:])


class _ConvFFN(nn.Module):
    """Two linear layers and between them a 3x3 depthwise convolution of every level."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, inner)
        self.dwconv = _DepthwiseConv(inner)
        self.fc2 = nn.Linear(inner, channels)

    def forward(self, c: Tensor, pyramid: tuple[Size, ...]) -> Tensor:
        return self.fc2(F.gelu(self.dwconv(self.fc1(c), pyramid)))


class _DepthwiseConv(nn.Module):
    """One convolution for all levels; a module of its own for the published name."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, c: Tensor, pyramid: tuple[Size, ...]) -> Tensor:
        """(B, S, C) -> (B, S, C)."""
        levels = c.split([height * width for height, width in pyramid], dim=1)
        maps = [
            self.dwconv(x.unflatten(1, size).permute(0, 3, 1, 2))
            for x, size in zip(levels, pyramid, strict=True)
        ]
        return torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)
