"""Vision transformers in Google's own files (.npz), such as those of AugReg (Steiner et al., 2022).

timm reads them, too, but into a network that has to exist first.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from prolab_d2.errors import ProLabError

__all__ = ["read_flax_vit"]

_BLOCK = "Transformer/encoderblock_{}/"
_ATTENTION = "MultiHeadDotProductAttention_1/"


def read_flax_vit(path: Path) -> dict[str, Tensor]:
    """Tensors of the transformer under timm's names, without classifier; nothing is unpickled.

    Raises:
        ProLabError: the file cannot be read, or holds no such network.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return _timm_names(arrays)
    except (OSError, ValueError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise ProLabError(
            f"{path}: not a vision transformer in Google's .npz format ({type(error).__name__}): "
            "give a file of AugReg, or a .pth or .safetensors file"
        ) from error


def _timm_names(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """
    Raises:
        KeyError: an array is missing.
    """
    state = {
        "cls_token": arrays["cls"],
        "pos_embed": arrays["Transformer/posembed_input/pos_embedding"],
        "patch_embed.proj.weight": arrays["embedding/kernel"].transpose(3, 2, 0, 1),
        "patch_embed.proj.bias": arrays["embedding/bias"],
    }
    pattern = re.compile(re.escape(_BLOCK).replace(r"\{\}", r"(\d+)"))
    blocks = {int(match[1]) for match in map(pattern.match, arrays) if match}
    for i in range(max(blocks) + 1 if blocks else 0):
        source, target = _BLOCK.format(i), f"blocks.{i}."
        for norm, name in (("LayerNorm_0", "norm1"), ("LayerNorm_2", "norm2")):
            state[f"{target}{name}.weight"] = arrays[f"{source}{norm}/scale"]
            state[f"{target}{name}.bias"] = arrays[f"{source}{norm}/bias"]
        parts = [source + _ATTENTION + name for name in ("query", "key", "value")]
        # (C, heads, width of a head), and (heads, width of a head, C) for the output.
        kernels = [arrays[f"{part}/kernel"] for part in parts]
        state[f"{target}attn.qkv.weight"] = np.concatenate(
            [kernel.reshape(len(kernel), -1).T for kernel in kernels]
        )
        state[f"{target}attn.qkv.bias"] = np.concatenate(
            [arrays[f"{part}/bias"].reshape(-1) for part in parts]
        )
        out = arrays[f"{source}{_ATTENTION}out/kernel"]
        state[f"{target}attn.proj.weight"] = out.reshape(-1, out.shape[-1]).T
        state[f"{target}attn.proj.bias"] = arrays[f"{source}{_ATTENTION}out/bias"]
        for layer, name in (("Dense_0", "fc1"), ("Dense_1", "fc2")):
            place = f"{source}MlpBlock_3/{layer}"
            state[f"{target}mlp.{name}.weight"] = arrays[f"{place}/kernel"].T
            state[f"{target}mlp.{name}.bias"] = arrays[f"{place}/bias"]
    return {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in state.items()}
