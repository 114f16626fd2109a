"""Whether an exported file answers as PyTorch does.

Shapes: B batch, N categories, H x W image size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from prolab_d2.export.formats import ExportedModel
from prolab_d2.export.graph import INPUT_TYPES, InferenceGraph

__all__ = ["TOLERANCE", "Comparison", "compare"]

# Largest difference allowed, of values from 0 to 1. Values that have no such range, as logits, are
# divided by their largest.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Comparison:
    """The largest difference of every output for one input.

    `differences`: by output; of "labels" it is what the score of the exported label lacks to the
    best score, because a rounding error may decide between equal ones.
    """

    what: str
    shape: tuple[int, ...]
    differences: dict[str, float]

    @property
    def largest(self) -> float:
        """NaN if any of them is."""
        return float(np.max(list(self.differences.values())))

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {value:.1e}" for name, value in self.differences.items())
        return f"{self.what}, {' x '.join(map(str, self.shape))}: {parts}"


def compare(
    graph: InferenceGraph, exported: ExportedModel, real_size: tuple[int, int]
) -> Iterator[Comparison]:
    """Compares on noise and on smooth colours; with any size allowed, on several.

    Args:
        real_size: (H, W) of usual images; taken where the size is not fixed.
    """
    for what, images in _inputs(graph, real_size):
        with torch.no_grad():
            expected = [output.numpy() for output in graph(images)]
            answers = exported(images.numpy())
            differences = {}
            for name, ours, theirs in zip(graph.output_names, expected, answers, strict=True):
                if name == "labels":
                    differences[name] = _lost_score(graph, images, theirs)
                else:
                    differences[name] = _difference(ours, theirs)
        yield Comparison(what, tuple(images.shape), differences)


def _difference(expected: np.ndarray, answer: np.ndarray) -> float:
    if expected.shape != answer.shape:
        return float("inf")
    return float(np.abs(expected - answer).max() / max(1.0, np.abs(expected).max()))


def _lost_score(graph: InferenceGraph, images: Tensor, labels: np.ndarray) -> float:
    options = graph.options
    graph.options = replace(options, output="scores", resize=True)
    try:
        scores = graph(images)[0]
    finally:
        graph.options = options
    if labels.shape != (len(scores), *scores.shape[2:]):
        return float("inf")
    chosen = scores.gather(1, torch.from_numpy(labels)[:, None])
    return float(
        (scores.amax(dim=1, keepdim=True) - chosen).max() / scores.abs().max().clamp(min=1)
    )


def _inputs(graph: InferenceGraph, real_size: tuple[int, int]) -> Iterator[tuple[str, Tensor]]:
    """Images (B, 3, H, W) of the type that the graph takes."""
    divisor, options = graph.divisor, graph.options
    generator = torch.Generator().manual_seed(0)
    dtype = INPUT_TYPES[options.input_type]
    size = options.size
    if options.dynamic:
        yield "noise", _noise((2, 3, 2 * divisor, 3 * divisor), generator).to(dtype)
        size = tuple(max(2, round(side / divisor)) * divisor for side in real_size)
    yield "noise", _noise((1, 3, *size), generator).to(dtype)
    smooth = _noise((1, 3, 8, 8), generator)
    smooth = F.interpolate(smooth, size, mode="bilinear", align_corners=False)
    yield "smooth colours", smooth.round().to(dtype)


def _noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(0, 256, shape, generator=generator).float()
