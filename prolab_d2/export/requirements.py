"""What exporting needs beside the package, and one sentence where it is missing."""

from __future__ import annotations

import re
from importlib import import_module
from types import ModuleType

import torch

from prolab_d2.errors import ProLabError

__all__ = ["require_package", "require_torch"]

# The first with dynamic sizes in `torch.onnx.export(..., dynamo=True)` of an exported program.
TORCH = (2, 6)


def require_torch() -> None:
    """Raises a `ProLabError` where PyTorch is too old."""
    found = tuple(map(int, re.findall(r"\d+", torch.__version__)[:2]))
    if found < TORCH:
        raise ProLabError(
            f"exporting needs PyTorch {TORCH[0]}.{TORCH[1]} or newer, this is "
            f"{torch.__version__}: pip install --upgrade torch torchvision"
        )


def require_package(name: str) -> ModuleType:
    """An optional package.

    Raises:
        ProLabError: it is not installed, or cannot be imported.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ProLabError(
            f"exporting to ONNX needs the Python package {name} ({error}): "
            "pip install onnx onnxruntime onnxscript, or write a .pt2 file, which needs none of "
            "them"
        ) from error
