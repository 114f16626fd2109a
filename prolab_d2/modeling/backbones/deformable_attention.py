"""Multi-scale deformable attention in plain PyTorch (Zhu et al., Deformable DETR, ICLR 2021).

A query reads a few points of every level of a feature pyramid, bilinearly, near a point of its
own. What lies outside a map is zero.

Shapes: B batch, Q queries, S tokens of all levels (the sum of h x w), C channels, M heads,
D channels of a head, L levels, P points of a head in a level.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prolab_d2.errors import ProLabError

__all__ = ["DeformableAttention", "Size", "cell_centres", "sample_points"]

Size = tuple[int, int]


class DeformableAttention(nn.Module):
    """Every query chooses its points and their weights by itself, without looking at keys.

    Runs in float32 (or float64) under autocast, too: half precision misplaces the points.
    """

    def __init__(
        self,
        channels: int,
        *,
        num_levels: int,
        num_heads: int,
        num_points: int,
        value_ratio: float = 1.0,
    ) -> None:
        """
        Args:
            num_points: of every head in every level.
            value_ratio: width of what is read relative to `channels`.
        Raises:
            ProLabError: the heads cannot share the width.
        """
        super().__init__()
        width = int(channels * value_ratio)
        if width < 1 or width % num_heads:
            raise ProLabError(
                f"deformable attention reads {width} channels ({value_ratio:g} of {channels}), "
                f"which {num_heads} heads cannot share: choose another DEFORM_NUM_HEADS or "
                "DEFORM_RATIO"
            )
        self.num_levels, self.num_heads, self.num_points = num_levels, num_heads, num_points
        points = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(channels, points * 2)
        self.attention_weights = nn.Linear(channels, points)
        self.value_proj = nn.Linear(channels, width)
        self.output_proj = nn.Linear(width, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """All points of a head lie in one direction, 1 to P cells away, with equal weights."""
        nn.init.zeros_(self.sampling_offsets.weight)
        angles = [2 * math.pi * head / self.num_heads for head in range(self.num_heads)]
        directions = torch.tensor([[math.cos(angle), math.sin(angle)] for angle in angles])
        directions = directions / directions.abs().amax(dim=1, keepdim=True)
        steps = torch.arange(1, self.num_points + 1, dtype=torch.float32)
        ring = directions[:, None, None] * steps[:, None]
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(ring.repeat(1, self.num_levels, 1, 1).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(
        self, query: Tensor, points: Tensor, feature: Tensor, sizes: Sequence[Size]
    ) -> Tensor:
        """
        Args:
            query: (B, Q, C).
            points: (1 or B, Q, 1 or L, 2), x and y in [0, 1] from the top left corner; see
                `cell_centres`.
            feature: (B, S, C), the levels one after the other.
            sizes: (h, w) of every level.
        Returns:
            (B, Q, C).
        """
        with _without_autocast(query.device):
            dtype = self.value_proj.weight.dtype
            query, feature = query.to(dtype), feature.to(dtype)
            value = self.value_proj(feature).unflatten(2, (self.num_heads, -1))
            shape = (self.num_heads, self.num_levels, self.num_points)
            offsets = self.sampling_offsets(query).unflatten(2, (*shape, 2))
            weights = self.attention_weights(query).unflatten(2, (self.num_heads, -1))
            weights = weights.float() if dtype.itemsize < 4 else weights
            weights = weights.softmax(dim=-1).unflatten(3, shape[1:])
            out = sample_points(value, sizes, points, offsets, weights)
            return self.output_proj(out.to(dtype))


def sample_points(
    value: Tensor, sizes: Sequence[Size], points: Tensor, offsets: Tensor, weights: Tensor
) -> Tensor:
    """Weighted sums of bilinear samples, in float32 or float64.

    Args:
        value: (B, S, M, D).
        sizes: (h, w) of every level.
        points: (1 or B, Q, 1 or L, 2), x and y in [0, 1].
        offsets: (B, Q, M, L, P, 2), x and y to add, in cells of the level.
        weights: (B, Q, M, L, P), float32 or float64.
    Returns:
        (B, Q, M * D).
    """
    batch, _, heads, channels = value.shape
    value, points, offsets = (x.to(weights.dtype) for x in (value, points, offsets))
    maps = value.permute(0, 2, 3, 1).split([height * width for height, width in sizes], dim=-1)
    # Queries come last: `grid_sample` and the sum over points then walk through adjacent memory,
    # which takes about half the time of the usual order on a CPU.
    points = points.expand(-1, -1, len(sizes), -1).permute(3, 2, 0, 1)[:, :, :, None, None]
    offsets = offsets.permute(5, 3, 0, 2, 4, 1)
    weights = weights.permute(3, 0, 2, 4, 1).contiguous()
    total = value.new_zeros(())
    for level, (height, width) in enumerate(sizes):
        x = points[0, level] + offsets[0, level] / width
        y = points[1, level] + offsets[1, level] / height
        grid = torch.stack([x, y], dim=-1) * 2 - 1
        samples = F.grid_sample(
            maps[level].reshape(batch * heads, channels, height, width),
            grid.flatten(0, 1),
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )
        total = total + (samples * weights[level].flatten(0, 1)[:, None]).sum(dim=2)
    if total.requires_grad:
        # The gradient comes in the order of the tokens, channels last, which would carry on into
        # that of the samples, so that `grid_sample` copies P times as much to turn it round.
        total.register_hook(_contiguous)
    return total.unflatten(0, (batch, heads)).flatten(1, 2).transpose(1, 2)


def _contiguous(gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.contiguous()


def cell_centres(sizes: Sequence[Size], like: Tensor) -> Tensor:
    """Centres of all cells of maps that cover one image, map after map and row by row.

    Returns:
        (1, sum of h x w, 1, 2), x and y in (0, 1), float32 or float64, on the device of `like`.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    centres = []
    for height, width in sizes:
        y, x = (
            (torch.arange(side, dtype=dtype, device=like.device) + 0.5) / side
            for side in (height, width)
        )
        y, x = torch.meshgrid(y, x, indexing="ij")
        centres.append(torch.stack([x, y], dim=-1).flatten(0, 1))
    return torch.cat(centres)[None, :, None]


def _without_autocast(device: torch.device) -> AbstractContextManager:
    if device.type == "meta":  # autocast does not know it
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)
