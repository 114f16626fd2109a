"""Decode heads: modules that turn backbone features into one feature map."""

from __future__ import annotations

from prolab_d2.modeling.decode_heads.base import (
    DECODE_HEADS_REGISTRY,
    DecodeHead,
    build_decode_head,
)
from prolab_d2.modeling.decode_heads.fcn_head import FCNHead
from prolab_d2.modeling.decode_heads.uper_head import UPerNetHead

__all__ = ["DECODE_HEADS_REGISTRY", "DecodeHead", "FCNHead", "UPerNetHead", "build_decode_head"]
