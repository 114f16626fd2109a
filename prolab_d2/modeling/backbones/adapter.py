"""What ViT-Adapter and BEiT-Adapter share: a plain transformer beside a convolutional pyramid.

ViT-Adapter (Chen et al., ICLR 2023). Parameters have the published names.

Shapes: B batch, C channels, T tokens of the transformer (stride 16), S tokens of the pyramid
(strides 8, 16 and 32), H x W image size.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import Backbone
from timm.layers import trunc_normal_
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from prolab_d2.errors import ProLabError
from prolab_d2.modeling.backbones.deformable_attention import DeformableAttention, Size
from prolab_d2.modeling.backbones.interaction import Geometry, Interaction
from prolab_d2.modeling.backbones.spatial_prior import SpatialPrior
from prolab_d2.modeling.backbones.stride_pyramid import STRIDES
from prolab_d2.modeling.backbones.vit import Block, PatchEmbed
from prolab_d2.modeling.decode_heads.layers import build_norm, resize

__all__ = ["FEATURES", "AdapterBackbone", "init_like_published"]

FEATURES = ("res2", "res3", "res4", "res5")


class AdapterBackbone(Backbone):
    """Features at strides 4, 8, 16 and 32, "res2" to "res5", all of the transformer's width.

    Images are zero-padded at the bottom and right to a multiple of 32 and the features cut back.
    """

    # Node of the config, for messages.
    node = "MODEL"

    def __init__(
        self,
        *,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        drop_path_rate: float = 0.0,
        conv_inplane: int = 64,
        n_points: int = 4,
        deform_num_heads: int = 6,
        deform_ratio: float = 1.0,
        cffn_ratio: float = 0.25,
        interaction_indexes: Sequence[Sequence[int]] = (),
        init_values: float = 0.0,
        use_extra_extractor: bool = True,
        add_vit_feature: bool = True,
        with_cp: bool = False,
        norm: str = "SyncBN",
        in_channels: int = 3,
    ) -> None:
        """
        Args:
            embed_dim, depth, num_heads: width, blocks and heads of the transformer.
            drop_path_rate: stochastic depth of the last block and of every extractor.
            conv_inplane: channels of the convolutional branch at stride 4.
            n_points, deform_num_heads: points of every head and heads of deformable attention.
            deform_ratio: width that deformable attention reads, relative to `embed_dim`.
            cffn_ratio: inner width of the extractors' feed-forward networks, likewise; 0 for none.
            interaction_indexes: first and last block of every interaction; four equal parts if
                empty.
            init_values: start of the factors by which the transformer reads the pyramid.
            use_extra_extractor: two more extractors in the last interaction.
            add_vit_feature: add the tokens after each of the four interactions to the output.
            with_cp: compute activations again in the backward pass, for less memory.
            norm: see `build_norm`.
            in_channels: of the image.
        Raises:
            ProLabError: options that do not fit together.
        """
        super().__init__()
        self.embed_dim = embed_dim
        self.with_cp = with_cp
        self.add_vit_feature = add_vit_feature
        if embed_dim % num_heads:
            raise self._error(
                f"EMBED_DIM is {embed_dim}, which {num_heads} heads cannot share",
                "choose another NUM_HEADS",
            )
        if not 0 <= drop_path_rate < 1:
            raise self._error(
                f"DROP_PATH_RATE is {drop_path_rate}", "give a probability from 0 to below 1"
            )
        self.slices = self._slices(depth, interaction_indexes)
        self.drop_path_rates = [drop_path_rate * i / max(depth - 1, 1) for i in range(depth)]

        self.patch_embed = PatchEmbed(in_channels, embed_dim)
        self.blocks = nn.ModuleList()  # filled by the subclass
        self.level_embed = nn.Parameter(torch.zeros(3, embed_dim))
        self.spm = SpatialPrior(in_channels, conv_inplane, embed_dim, norm=norm)
        last = len(self.slices) - 1
        self.interactions = nn.ModuleList(
            Interaction(
                embed_dim,
                num_heads=deform_num_heads,
                num_points=n_points,
                value_ratio=deform_ratio,
                scale=init_values,
                ffn_ratio=cffn_ratio,
                drop_path=drop_path_rate,
                num_extra_extractors=2 if use_extra_extractor and i == last else 0,
            )
            for i in range(len(self.slices))
        )
        self.up = nn.ConvTranspose2d(embed_dim, embed_dim, 2, stride=2)
        for i in range(len(STRIDES)):
            self.add_module(f"norm{i + 1}", build_norm(norm, embed_dim) or nn.Identity())
        for part in (self.spm, self.interactions, self.up):
            part.apply(init_like_published)
        nn.init.normal_(self.level_embed)

    def _error(self, what: str, cure: str) -> ProLabError:
        return ProLabError(f"{self.node}.{what}: {cure}")

    def _slices(self, depth: int, indexes: Sequence[Sequence[int]]) -> list[slice]:
        """The blocks of every interaction."""
        parts = len(STRIDES)
        if not indexes:
            edges = [depth * i // parts for i in range(parts + 1)]
        else:
            edges = [0, *(int(pair[-1]) + 1 for pair in indexes)]
            firsts = [int(pair[0]) for pair in indexes]
            if firsts != edges[:-1] or any(len(pair) != 2 for pair in indexes):
                raise self._error(
                    f"INTERACTION_INDEXES is {[list(pair) for pair in indexes]}",
                    "give [first, last] block of each, without gaps, from 0 on",
                )
        slices = [slice(first, stop) for first, stop in zip(edges, edges[1:], strict=False)]
        if edges[-1] != depth or any(part.start >= part.stop for part in slices):
            raise self._error(
                f"DEPTH is {depth}, the interactions take blocks up to {edges[-1] - 1}",
                "every interaction needs a block and every block an interaction",
            )
        if self.add_vit_feature and len(slices) != parts:
            raise self._error(
                f"INTERACTION_INDEXES has {len(slices)} interactions",
                f"give {parts}, or set ADD_VIT_FEATURE to False",
            )
        return slices

    @property
    def size_divisibility(self) -> int:
        return STRIDES[-1]

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            name: ShapeSpec(channels=self.embed_dim, stride=stride)
            for name, stride in zip(FEATURES, STRIDES, strict=True)
        }

    @abstractmethod
    def _embed(self, images: Tensor, grid: Size) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, T, C), and tokens (B, n, C) that go through the blocks but not the adapter."""

    def _context(self) -> Any:
        """What the blocks need beside the tokens; the (h, w) of the grid if None."""
        return None

    def _padded_size(self, height: int, width: int) -> Size:
        """Size to which an image is padded: both sides up to a multiple of 32."""
        stride = self.size_divisibility
        return -(-height // stride) * stride, -(-width // stride) * stride

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """
        Args:
            images: (B, 3, H, W), normalised.
        Returns:
            "res2" to "res5": (B, C, H / stride, W / stride), rounded up.
        """
        height, width = images.shape[2:]
        full_height, full_width = self._padded_size(height, width)
        bottom, right = full_height - height, full_width - width
        if bottom or right:
            images = F.pad(images, (0, right, 0, bottom))
        features = self._features(images)
        if bottom or right:
            features = [
                x[:, :, : -(-height // stride), : -(-width // stride)]
                for x, stride in zip(features, STRIDES, strict=True)
            ]
        return dict(zip(FEATURES, features, strict=True))

    def _features(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W), multiples of 32, to four features (B, C, H / stride, W / stride)."""
        geometry = Geometry.of(images)
        c1, *levels = self.spm(images)
        c = torch.cat(
            [x + embedding for x, embedding in zip(levels, self.level_embed, strict=True)], dim=1
        )
        x, extra = self._embed(images, geometry.grid)
        tokens = []
        for interaction, part in zip(self.interactions, self.slices, strict=True):
            x = self._run(interaction.injector, x, c, geometry)
            x, extra = self._run_blocks(self.blocks[part], x, extra, geometry.grid)
            for extractor in (interaction.extractor, *interaction.extra_extractors):
                c = self._run(extractor, c, x, geometry)
            tokens.append(x)

        sizes = geometry.pyramid
        levels = c.split([h * w for h, w in sizes], dim=1)
        c2, c3, c4 = (_map(x, size) for x, size in zip(levels, sizes, strict=True))
        features = [self.up(c2) + c1, c2, c3, c4]
        if self.add_vit_feature:
            features = [
                feature + resize(_map(x, geometry.grid), tuple(feature.shape[2:]))
                for feature, x in zip(features, tokens, strict=True)
            ]
        norms = (self.norm1, self.norm2, self.norm3, self.norm4)
        return [norm(x) for norm, x in zip(norms, features, strict=True)]

    def _run_blocks(
        self, blocks: Sequence[Block], x: Tensor, extra: Tensor | None, grid: Size
    ) -> tuple[Tensor, Tensor | None]:
        context = self._context()
        context = grid if context is None else context
        if extra is None:
            for block in blocks:
                x = self._run(block, x, context)
            return x, None
        x = torch.cat([extra, x], dim=1)
        for block in blocks:
            x = self._run(block, x, context)
        number = extra.shape[1]
        return x[:, number:], x[:, :number]

    def _run(self, module: Callable[..., Tensor], *args: Any) -> Tensor:
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(module, *args, use_reentrant=False)
        return module(*args)


def _map(tokens: Tensor, size: Size) -> Tensor:
    """(B, h * w, C) -> (B, C, h, w), in channels-last memory without a copy.

    The order of the two steps matters: the other way round a batch of one image gets a stride with
    which PyTorch's batch norm computes wrong gradients on a CPU, without a word (2.14).
    """
    return tokens.unflatten(1, size).permute(0, 3, 1, 2)


def init_like_published(module: nn.Module) -> None:
    """Initial values of the layers of an adapter, for `nn.Module.apply`."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, std=math.sqrt(2 * module.groups / fan_out))
    elif isinstance(module, DeformableAttention):  # comes after its own linear layers
        module.reset_parameters()
        return
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
