"""Decode heads: modules that turn backbone features into one feature map."""

from __future__ import annotations

import importlib
import pkgutil

from prolab_d2.modeling.decode_heads.base import (
    DECODE_HEADS_REGISTRY,
    DecodeHead,
    build_decode_head,
)
from prolab_d2.modeling.decode_heads.deeplab_head import DeepLabV3PlusHead
from prolab_d2.modeling.decode_heads.fcn_head import FCNHead
from prolab_d2.modeling.decode_heads.segformer_head import SegFormerHead
from prolab_d2.modeling.decode_heads.uper_head import UPerNetHead

__all__ = [
    "DECODE_HEADS_REGISTRY",
    "DecodeHead",
    "DeepLabV3PlusHead",
    "FCNHead",
    "SegFormerHead",
    "UPerNetHead",
    "build_decode_head",
]


def _register_heads() -> None:
    """Imports every <name>_head.py of this folder, so that a new head is one file."""
    for module in pkgutil.iter_modules(__path__):
        if module.name.endswith("_head"):
            importlib.import_module(f"{__name__}.{module.name}")


_register_heads()
