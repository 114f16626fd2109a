"""ViT-Adapter: a plain vision transformer (DeiT, AugReg, MAE) with an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import BACKBONE_REGISTRY
from torch import Tensor, nn

from prolab_d2.modeling.backbones.adapter import AdapterBackbone
from prolab_d2.modeling.backbones.adapter_weights import load_transformer_weights
from prolab_d2.modeling.backbones.deformable_attention import Size
from prolab_d2.modeling.backbones.vit import PATCH, Attention, Block, resize_positions

__all__ = ["ViTAdapter", "build_vit_adapter_backbone"]


class ViTAdapter(AdapterBackbone):
    """A transformer with position embeddings, which follow the size of the image.

    The class token of a pre-trained ViT and its last norm are not used.
    """

    node = "MODEL.VIT_ADAPTER"

    def __init__(
        self,
        *,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
        pretrain_size: int = 224,
        layer_scale: bool = True,
        window_sizes: Sequence[int] = (),
        weights: str = "",
        **options: Any,
    ) -> None:
        """
        Args:
            mlp_ratio: inner width of the feed-forward networks relative to `embed_dim`.
            pretrain_size: side of the images that the position embeddings are for, in pixels.
            layer_scale: learn factors of every block's parts, beginning at 1.
            window_sizes: side of the attention windows of every block in tokens, 0 for the whole
                grid; the whole grid everywhere if empty.
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
            **options,
        )
        if pretrain_size < PATCH or pretrain_size % PATCH:
            raise self._error(f"PRETRAIN_SIZE is {pretrain_size}", f"give a multiple of {PATCH}")
        windows = list(window_sizes) or [0] * depth
        if len(windows) != depth or min(windows) < 0:
            raise self._error(
                f"WINDOW_SIZES is {windows}",
                f"give one side for each of the {depth} blocks, 0 for the whole grid",
            )
        self.window_sizes = tuple(windows) if any(windows) else ()
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (pretrain_size // PATCH) ** 2, embed_dim))
        self.blocks.extend(
            Block(
                Attention(embed_dim, num_heads, window),
                embed_dim,
                mlp_ratio=mlp_ratio,
                drop_path=rate,
                scale=1.0 if layer_scale else None,
            )
            for window, rate in zip(windows, self.drop_path_rates, strict=True)
        )
        if weights:
            load_transformer_weights(self, weights)

    def _embed(self, images: Tensor, grid: Size) -> tuple[Tensor, None]:
        # The first entry belongs to the class token.
        return self.patch_embed(images) + resize_positions(self.pos_embed[:, 1:], grid), None


@BACKBONE_REGISTRY.register()
def build_vit_adapter_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ViTAdapter:
    """The backbone of `cfg.MODEL.VIT_ADAPTER`."""
    options = {key.lower(): value for key, value in cfg.MODEL.VIT_ADAPTER.items()}
    return ViTAdapter(**options, in_channels=input_shape.channels)
