"""Backbones: features at strides 4, 8, 16 and 32, called "res2" to "res5"."""

from __future__ import annotations

from prolab_d2.modeling.backbones.timm_backbone import TimmBackbone, build_timm_backbone

__all__ = ["TimmBackbone", "build_timm_backbone"]
