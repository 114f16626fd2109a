"""Models: the property maths, heads, backbones and the meta-architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prolab_d2.modeling.property_space import PropertySpace

if TYPE_CHECKING:
    from prolab_d2.modeling.property_segmentor import PropertySegmentor

__all__ = ["PropertySegmentor", "PropertySpace"]


def __getattr__(name: str) -> Any:
    # Lazy: the property maths alone must not need Detectron2.
    if name == "PropertySegmentor":
        from prolab_d2.modeling.property_segmentor import PropertySegmentor

        return PropertySegmentor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
