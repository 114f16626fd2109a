"""From a checkpoint to an exported file that has been compared with PyTorch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from detectron2.config import CfgNode

from prolab_d2.checkpoint import read_checkpoint
from prolab_d2.engine import load_config
from prolab_d2.errors import ProLabError
from prolab_d2.export.formats import exported_kind
from prolab_d2.export.graph import ExportOptions, InferenceGraph, trace
from prolab_d2.export.metadata import describe
from prolab_d2.export.verification import TOLERANCE, Comparison, compare
from prolab_d2.files import atomic_files
from prolab_d2.predictor import Predictor

__all__ = ["OPSET", "default_size", "export_checkpoint"]

# Of ONNX's operators. The exporter is written for this one, and ONNX Runtime has it since 1.14.
OPSET = 18


def export_checkpoint(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    dynamic: bool = False,
    output_kind: str = "scores",
    resize: bool = False,
    input_type: str = "uint8",
    opset: int = OPSET,
    overrides: Sequence[str] = (),
    report: Callable[[Comparison], None] = lambda comparison: None,
) -> list[Comparison]:
    """Exports a checkpoint and compares the file with PyTorch.

    Args:
        checkpoint: written by `train_net.py`.
        output: `<name>.onnx` or `<name>.pt2`. Nothing is written, and a former file stays, unless
            the comparison is within `TOLERANCE`.
        size, dynamic, resize, input_type: see `ExportOptions`; with neither of the former two, of
            the size of `default_size`.
        output_kind: "scores" or "labels", see `ExportOptions.output`.
        opset: of an ONNX file.
        overrides: KEY VALUE pairs of the config.
        report: is called with each comparison as soon as it is made.
    Returns:
        All comparisons.
    Raises:
        ProLabError: unusable checkpoint, options or output, a package is missing, the network
            cannot be exported, or the file answers otherwise than PyTorch.
    """
    output = Path(output)
    kind = exported_kind(output)
    kind.require()
    predictor = Predictor.from_checkpoint(checkpoint, "cpu", overrides)
    cfg = load_config(None, list(overrides), text=read_checkpoint(checkpoint).config)
    if size is None and not dynamic:
        size = default_size(cfg)
    options = ExportOptions(size, dynamic, output_kind, resize, input_type)
    graph = InferenceGraph(predictor.model, cfg.INPUT.FORMAT, options)
    metadata = describe(predictor, cfg, graph)
    comparisons = []
    with atomic_files(output) as temporary:
        kind.write(trace(graph), temporary, metadata, graph.output_names, opset)
        for comparison in compare(graph, kind(temporary), default_size(cfg)):
            report(comparison)
            comparisons.append(comparison)
            if not comparison.largest <= TOLERANCE:
                raise ProLabError(
                    f"{output} is not written, because it answers otherwise than PyTorch "
                    f"({comparison}; allowed is {TOLERANCE:g}): try another --opset or a fixed "
                    "--size, or the other kind of file"
                )
    return comparisons


def default_size(cfg: CfgNode) -> tuple[int, int]:
    """(H, W) that the network knows: of the sliding windows, else of the crops of the training."""
    window = cfg.TEST.SLIDING_WINDOW
    height, width = window.CROP_SIZE if window.ENABLED else cfg.INPUT.CROP.SIZE
    return int(height), int(width)
