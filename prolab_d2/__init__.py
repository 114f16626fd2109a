"""ProLab for Detectron2: semantic segmentation supervised by properties instead of class ids.

Importing this package needs NumPy and safetensors only; names that need torch or Detectron2 are
loaded at first use.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from prolab_d2.errors import ProLabError
from prolab_d2.label_space.label_space import LabelSpace, Property

if TYPE_CHECKING:
    from prolab_d2.config import add_prolab_config
    from prolab_d2.predictor import Predictor

__all__ = ["LabelSpace", "Predictor", "ProLabError", "Property", "add_prolab_config"]

_LAZY = {"add_prolab_config": "prolab_d2.config", "Predictor": "prolab_d2.predictor"}

# Importing Detectron2 with a recent torch prints this; it tells users nothing they could act on.
warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", FutureWarning)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
