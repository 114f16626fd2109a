"""Label spaces: categories described by properties, as data. Needs neither torch nor Detectron2."""

from __future__ import annotations

from prolab_d2.label_space.label_space import LabelSpace, Property

__all__ = ["LabelSpace", "Property"]
