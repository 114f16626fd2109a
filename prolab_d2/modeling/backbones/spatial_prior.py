"""The convolutional branch of an adapter: local detail that a plain transformer lacks.

Shapes: B batch, C channels, H x W image size.
"""

from __future__ import annotations

from torch import Tensor, nn

from prolab_d2.modeling.decode_heads.layers import build_norm

__all__ = ["SpatialPrior"]


class SpatialPrior(nn.Module):
    """A small convolutional network with outputs at strides 4, 8, 16 and 32 (ViT-Adapter, 3.3)."""

    def __init__(self, in_channels: int, inner: int, out_channels: int, *, norm: str) -> None:
        """
        Args:
            inner: channels at stride 4; twice and four times as many follow.
            norm: see `build_norm`.
        """
        super().__init__()
        self.stem = nn.Sequential(
            *_conv(in_channels, inner, 2, norm),
            *_conv(inner, inner, 1, norm),
            *_conv(inner, inner, 1, norm),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.conv2 = nn.Sequential(*_conv(inner, 2 * inner, 2, norm))
        self.conv3 = nn.Sequential(*_conv(2 * inner, 4 * inner, 2, norm))
        self.conv4 = nn.Sequential(*_conv(4 * inner, 4 * inner, 2, norm))
        self.fc1 = nn.Conv2d(inner, out_channels, 1)
        self.fc2 = nn.Conv2d(2 * inner, out_channels, 1)
        self.fc3 = nn.Conv2d(4 * inner, out_channels, 1)
        self.fc4 = nn.Conv2d(4 * inner, out_channels, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """
        Args:
            images: (B, 3, H, W), multiples of 32.
        Returns:
            The map at stride 4 (B, C, H / 4, W / 4) and the tokens (B, H x W / stride^2, C) at
            strides 8, 16 and 32.
        """
        c1 = self.stem(images)
        c2 = self.conv2(c1)
        c3 = self.conv3(c2)
        c4 = self.conv4(c3)
        return self.fc1(c1), _tokens(self.fc2(c2)), _tokens(self.fc3(c3)), _tokens(self.fc4(c4))


def _conv(in_channels: int, out_channels: int, stride: int, norm: str) -> list[nn.Module]:
    normalisation = build_norm(norm, out_channels)
    return [
        nn.Conv2d(
            in_channels, out_channels, 3, stride=stride, padding=1, bias=normalisation is None
        ),
        nn.Identity() if normalisation is None else normalisation,
        nn.ReLU(inplace=True),
    ]


def _tokens(feature: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h * w, C)."""
    return feature.flatten(2).transpose(1, 2)
