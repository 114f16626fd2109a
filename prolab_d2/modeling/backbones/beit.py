"""Parts of BEiT (Bao et al., ICLR 2022) that differ from a plain vision transformer.

Shapes: B batch, C channels, T tokens with the class token in front, M heads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prolab_d2.modeling.backbones.deformable_attention import Size
from prolab_d2.modeling.backbones.relative_position import table_rows
from prolab_d2.modeling.backbones.vit import Block

__all__ = ["BEiTAttention", "BEiTBlock"]


class BEiTAttention(nn.Module):
    """Self-attention with a learnt bias for every offset between two tokens.

    Queries and values have a bias from the projection, keys have none.
    """

    def __init__(self, channels: int, num_heads: int, *, qkv_bias: bool, grid: Size | None) -> None:
        """
        Args:
            qkv_bias: with a bias for queries and values.
            grid: (h, w) of the patches that the table of relative positions is for; None for no
                table.
        """
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(channels)) if qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(channels)) if qkv_bias else None
        table = None if grid is None else nn.Parameter(torch.zeros(table_rows(grid), num_heads))
        self.relative_position_bias_table = table
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, index: Tensor | None) -> Tensor:
        """
        Args:
            x: (B, T, C).
            index: (T, T), see `relative_position_index`; needed where there is a table.
        Returns:
            (B, T, C).
        """
        bias = None
        if self.q_bias is not None:
            bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias).unflatten(2, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mask = None
        if self.relative_position_bias_table is not None:
            # Selecting columns of the table is several times as fast as indexing its rows.
            columns = self.relative_position_bias_table.t().index_select(1, index.flatten())
            mask = columns.unflatten(1, index.shape).to(q.dtype)[None]
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(x.transpose(1, 2).flatten(2))

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: object
    ) -> None:
        # Published files repeat the index, which follows from the grid, in every block.
        state_dict.pop(f"{prefix}relative_position_index", None)
        super()._load_from_state_dict(state_dict, prefix, *args)


class BEiTBlock(Block):
    """A block with the layer scales' names in BEiT's files."""

    scale_names = ("gamma_1", "gamma_2")
