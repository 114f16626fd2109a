"""Trained models as files that run without this project: ONNX and torch.export.

graph.py cuts the inference graph out of a model and traces it, formats.py writes and runs files,
metadata.py says what they hold, verification.py compares them with PyTorch.
"""

from __future__ import annotations

from prolab_d2.export.export import OPSET, export_checkpoint
from prolab_d2.export.formats import OnnxModel, TorchModel
from prolab_d2.export.graph import INPUT_TYPES, OUTPUTS, ExportOptions, InferenceGraph
from prolab_d2.export.verification import TOLERANCE, Comparison

__all__ = [
    "INPUT_TYPES",
    "OPSET",
    "OUTPUTS",
    "TOLERANCE",
    "Comparison",
    "ExportOptions",
    "InferenceGraph",
    "OnnxModel",
    "TorchModel",
    "export_checkpoint",
]
