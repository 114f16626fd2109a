"""BEiT-Adapter: BEiT or BEiTv2 with an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import BACKBONE_REGISTRY
from timm.layers import trunc_normal_
from torch import Tensor, nn

from prolab_d2.errors import ProLabError
from prolab_d2.modeling.backbones.adapter import AdapterBackbone, init_like_published
from prolab_d2.modeling.backbones.adapter_weights import load_transformer_weights
from prolab_d2.modeling.backbones.beit import BEiTAttention, BEiTBlock
from prolab_d2.modeling.backbones.deformable_attention import Size
from prolab_d2.modeling.backbones.relative_position import relative_position_index
from prolab_d2.modeling.backbones.vit import PATCH

__all__ = ["BEiTAdapter", "build_beit_adapter_backbone"]


class BEiTAdapter(AdapterBackbone):
    """A transformer with a class token and a table of relative positions in every block.

    What is fixed: the tables are for one grid, so every image becomes `img_size`. Smaller ones are
    zero-padded at the bottom and right and the features cut back (published code fails there);
    larger ones need sliding windows of `img_size`. Without tables any size works.

    Absolute position embeddings and one table shared by all blocks, which published code offers
    but cannot run, do not exist; a shared table in a file of weights is copied to every block.
    """

    node = "MODEL.BEIT_ADAPTER"

    def __init__(
        self,
        *,
        img_size: int | Sequence[int] = 512,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
        qkv_bias: bool = True,
        use_rel_pos_bias: bool = True,
        init_values: float = 0.0,
        weights: str = "",
        **options: Any,
    ) -> None:
        """
        Args:
            img_size: height and width of all images in pixels, or both at once.
            mlp_ratio: inner width of the feed-forward networks relative to `embed_dim`.
            qkv_bias: with a bias for queries and values.
            use_rel_pos_bias: with the tables of relative positions.
            init_values: start of the layer scales, and of the factors by which the transformer
                reads the pyramid.
            weights: of the transformer, see `load_transformer_weights`; "" for random ones.
            options: see `AdapterBackbone`.
        Raises:
            ProLabError: options that do not fit together, or weights that do not load.
        """
        super().__init__(
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            drop_path_rate=drop_path_rate,
            init_values=init_values,
            **options,
        )
        sides = [img_size] * 2 if isinstance(img_size, int) else list(img_size)
        if len(sides) != 2 or any(x < 1 or x % self.size_divisibility for x in sides):
            raise self._error(
                f"IMG_SIZE is {img_size}",
                f"give height and width, multiples of {self.size_divisibility}",
            )
        self.img_size = (sides[0], sides[1])
        grid = (sides[0] // PATCH, sides[1] // PATCH) if use_rel_pos_bias else None
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.blocks.extend(
            BEiTBlock(
                BEiTAttention(embed_dim, num_heads, qkv_bias=qkv_bias, grid=grid),
                embed_dim,
                mlp_ratio=mlp_ratio,
                drop_path=rate,
                scale=init_values,
            )
            for rate in self.drop_path_rates
        )
        # One for all blocks, and not saved: it follows from the grid and grows with its square.
        index = None if grid is None else relative_position_index(grid)
        self.register_buffer("position_index", index, persistent=False)
        trunc_normal_(self.cls_token, std=0.02)
        self.patch_embed.apply(init_like_published)
        self.blocks.apply(init_like_published)
        if weights:
            load_transformer_weights(self, weights, table_grid=grid)

    def _embed(self, images: Tensor, grid: Size) -> tuple[Tensor, Tensor]:
        x = self.patch_embed(images)
        return x, self.cls_token.expand(x.shape[0], -1, -1)

    def _context(self) -> Tensor | None:
        return self.position_index

    def _padded_size(self, height: int, width: int) -> Size:
        if self.position_index is None:
            return super()._padded_size(height, width)
        if height > self.img_size[0] or width > self.img_size[1]:
            raise ProLabError(
                f"{self.node}: an image of {height} x {width} is larger than IMG_SIZE "
                f"{self.img_size[0]} x {self.img_size[1]}, for which the tables of relative "
                "positions are made: use sliding windows of that size (TEST.SLIDING_WINDOW) or "
                "train with a larger IMG_SIZE"
            )
        return self.img_size


@BACKBONE_REGISTRY.register()
def build_beit_adapter_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> BEiTAdapter:
    """The backbone of `cfg.MODEL.BEIT_ADAPTER`."""
    options = {key.lower(): value for key, value in cfg.MODEL.BEIT_ADAPTER.items()}
    return BEiTAdapter(**options, in_channels=input_shape.channels)
