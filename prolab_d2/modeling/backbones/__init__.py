"""Backbones: features at strides 4, 8, 16 and 32, called "res2" to "res5"."""

from __future__ import annotations

from prolab_d2.modeling.backbones.beit_adapter import BEiTAdapter, build_beit_adapter_backbone
from prolab_d2.modeling.backbones.timm_backbone import TimmBackbone, build_timm_backbone
from prolab_d2.modeling.backbones.vit_adapter import ViTAdapter, build_vit_adapter_backbone

__all__ = [
    "BEiTAdapter",
    "TimmBackbone",
    "ViTAdapter",
    "build_beit_adapter_backbone",
    "build_timm_backbone",
    "build_vit_adapter_backbone",
]
