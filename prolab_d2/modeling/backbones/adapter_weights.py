"""Pre-trained transformers for the adapter backbones.

Shapes: C channels, M heads.
"""

from __future__ import annotations

import logging
import math
import re
from typing import TYPE_CHECKING

import torch
from timm.layers import resample_patch_embed
from torch import Tensor

from prolab_d2.errors import ProLabError
from prolab_d2.modeling.backbones.deformable_attention import Size
from prolab_d2.modeling.backbones.relative_position import resize_table
from prolab_d2.modeling.backbones.vit import PATCH, resize_positions
from prolab_d2.modeling.backbones.weights import read_weights
from prolab_d2.modeling.key_map import transformer_names

if TYPE_CHECKING:
    from prolab_d2.modeling.backbones.adapter import AdapterBackbone

__all__ = ["load_transformer_weights"]

_PARTS = re.compile(r"(?:pos_embed|cls_token|patch_embed\.|blocks\.)")
# A ViT without layer scales is one whose scales are 1. Those of a BEiT start near 0.
_LAYER_SCALE = re.compile(r"blocks\.\d+\.gamma[12]$")
_TABLE = "relative_position_bias_table"
_SHARED_TABLE = f"rel_pos_bias.{_TABLE}"
_NOT_USED = re.compile(r"blocks\.\d+\.attn\.relative_position_index$")

logger = logging.getLogger(__name__)


def load_transformer_weights(
    net: AdapterBackbone, source: str, *, table_grid: Size | None = None
) -> None:
    """Loads every parameter of the transformer inside `net`; the adapter keeps its own.

    Position embeddings and tables of relative positions of another grid, and patches of another
    size, are resized. What the adapter has no use for (class token of a ViT, last norm, classifier,
    decoder) is left out.

    Args:
        source: "hub:<name of a timm model>", a file (.pth, .safetensors; .npz of AugReg, .onnx in
            DINOv2's layout), or "package:<name>" for the one file in an installed Python package.
        table_grid: (h, w) of the tokens that the tables are for.
    Raises:
        ProLabError: the weights cannot be had, or do not fit.
    """
    key = f"{net.node}.WEIGHTS"
    where, given = read_weights(source, key)
    names = transformer_names(given)
    given = {names[name]: x for name, x in given.items()}
    own = {name: x for name, x in net.state_dict().items() if _PARTS.match(name)}
    if _SHARED_TABLE in given:
        tables = [name for name in own if name.endswith(_TABLE)]
        given |= dict.fromkeys(tables, given[_SHARED_TABLE])
    missing = [name for name in own if name not in given and not _LAYER_SCALE.match(name)]
    unknown = [
        name for name in given
        if name.startswith("blocks.") and name not in own and not _NOT_USED.match(name)
    ]  # fmt: skip
    for wrong, problem in ((missing, "lacks"), (unknown, "has, unlike this network,")):
        if wrong:
            raise ProLabError(
                f"{where}: {problem} {len(wrong)} weights ({', '.join(wrong[:3])}, ...): do "
                f"{net.node}.DEPTH and the other options belong to these weights?"
            )
    state = {}
    for name, old in own.items():
        if name not in given:
            continue
        new = _fitted(name, given[name], old, table_grid)
        if new.shape != old.shape:
            raise ProLabError(
                f"{where}: {name} has shape {tuple(new.shape)}, the backbone needs "
                f"{tuple(old.shape)}: do {net.node}.EMBED_DIM and the other options belong to "
                "these weights?"
            )
        state[name] = new
    net.load_state_dict(state, strict=False)
    unused = sorted(given.keys() - state.keys())
    logger.info("%s: loaded %d weights, left out %d (%s)", where, len(state), len(unused), unused)


def _fitted(name: str, new: Tensor, old: Tensor, table_grid: Size | None) -> Tensor:
    """`new` with the grid or patch of `old`, where only these differ."""
    if name == "pos_embed" and new.ndim == 3:
        return _fitted_positions(new, old)
    if name == "patch_embed.proj.weight" and new.ndim == 4 and new.shape[2:] != old.shape[2:]:
        logger.warning("patches of %d x %d pixels resized to %d", *new.shape[2:], PATCH)
        return resample_patch_embed(new, [PATCH, PATCH])
    if name.endswith(_TABLE):
        return resize_table(new, table_grid)
    return new


def _fitted_positions(new: Tensor, old: Tensor) -> Tensor:
    """(1, extra + n * n, C) to (1, 1 + m * m, C); the extra tokens come first."""
    grid, side = math.isqrt(new.shape[1]), math.isqrt(old.shape[1])
    first, positions = new[:, :1], new[:, new.shape[1] - grid * grid :]
    if positions.shape[1] == new.shape[1]:  # nothing for a class token, which is not used anyway
        first = torch.zeros_like(first)
    if grid != side:
        logger.warning(
            "position embeddings of %d x %d tokens resized to %d x %d: PRETRAIN_SIZE %d keeps them",
            grid, grid, side, side, grid * PATCH,
        )  # fmt: skip
        positions = resize_positions(positions, (side, side))
    return torch.cat([first, positions], dim=1)
