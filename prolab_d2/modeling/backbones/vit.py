"""Parts of a plain vision transformer (Dosovitskiy et al., ICLR 2021).

Shapes: B batch, C channels, h x w grid of patches, T = h * w tokens, M heads.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from prolab_d2.modeling.backbones.deformable_attention import Size
from prolab_d2.modeling.backbones.interaction import EPSILON

__all__ = ["PATCH", "Attention", "Block", "PatchEmbed", "resize_positions"]

# Side of a patch in pixels: the adapters need tokens at stride 16.
PATCH = 16


class PatchEmbed(nn.Module):
    """One token for every patch of 16 x 16 pixels."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, PATCH, stride=PATCH)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), multiples of 16, to (B, T, C), row by row."""
        return self.proj(images).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention over the whole grid, or inside windows that do not overlap.

    Where windows do not fill the grid, zeros after the projection fill them; they take part in the
    softmax as in the published code.
    """

    def __init__(self, channels: int, num_heads: int, window: int = 0) -> None:
        """
        Args:
            window: side of a window in tokens; 0 for the whole grid.
        """
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, grid: Size) -> Tensor:
        """(B, T, C) on a grid (h, w) -> (B, T, C)."""
        qkv = self.qkv(x)
        if self.window:
            return self.proj(self._in_windows(qkv, grid))
        return self.proj(self._attend(qkv))

    def _attend(self, qkv: Tensor) -> Tensor:
        """(B, T, 3C) -> (B, T, C)."""
        q, k, v = qkv.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def _in_windows(self, qkv: Tensor, grid: Size) -> Tensor:
        """(B, T, 3C) -> (B, T, C)."""
        (height, width), side, batch = grid, self.window, qkv.shape[0]
        padding = (0, 0, 0, -width % side, 0, -height % side)
        qkv = F.pad(qkv.unflatten(1, grid), padding)
        rows, columns = qkv.shape[1] // side, qkv.shape[2] // side
        qkv = qkv.unflatten(2, (columns, side)).unflatten(1, (rows, side)).transpose(2, 3)
        x = self._attend(qkv.reshape(batch * rows * columns, side * side, -1))
        x = x.view(batch, rows, columns, side, side, -1).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return x[:, :height, :width].flatten(1, 2)


class Block(nn.Module):
    """Attention and a feed-forward network, each after a norm and beside an identity."""

    # Of the layer scales in published files.
    scale_names = ("gamma1", "gamma2")

    def __init__(
        self,
        attention: nn.Module,
        channels: int,
        *,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        scale: float | None = 1.0,
    ) -> None:
        """
        Args:
            attention: gets the tokens and the context of `forward`.
            mlp_ratio: inner width of the feed-forward network relative to `channels`.
            drop_path: probability that an image skips either part in training.
            scale: start of the layer scales, one factor a channel for either part; None for none.
        """
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=EPSILON)
        self.attn = attention
        self.norm2 = nn.LayerNorm(channels, eps=EPSILON)
        self.mlp = Mlp(channels, int(channels * mlp_ratio))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        for name in self.scale_names:
            value = None if scale is None else nn.Parameter(torch.full((channels,), float(scale)))
            self.register_parameter(name, value)

    def forward(self, x: Tensor, context: Any) -> Tensor:
        """(B, T, C) -> (B, T, C); the attention alone knows what `context` is."""
        gamma1, gamma2 = (getattr(self, name) for name in self.scale_names)
        x = x + self.drop_path(_scaled(self.attn(self.norm1(x), context), gamma1))
        return x + self.drop_path(_scaled(self.mlp(self.norm2(x)), gamma2))


def _scaled(x: Tensor, gamma: Tensor | None) -> Tensor:
    return x if gamma is None else gamma * x


def resize_positions(embedding: Tensor, size: Size) -> Tensor:
    """Position embeddings of a square grid, bicubically resized.

    Args:
        embedding: (1, n * n, C), row by row.
        size: (h, w) of the grid wanted.
    Returns:
        (1, h * w, C).
    """
    side = math.isqrt(embedding.shape[1])
    grid = embedding.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size, mode="bicubic", align_corners=False)
    return grid.flatten(2).transpose(1, 2)
