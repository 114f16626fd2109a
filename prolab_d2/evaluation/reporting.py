"""What evaluators share: sums over processes, result files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from detectron2.utils import comm

from prolab_d2.files import atomic_path

__all__ = ["mean_results", "sum_over_processes", "write_json"]


def sum_over_processes(counts: np.ndarray) -> np.ndarray:
    """Sum of an int64 array over all processes, on each of them."""
    if comm.get_world_size() == 1:
        return counts
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    total = torch.from_numpy(counts).to(device, copy=True)
    dist.all_reduce(total)
    return total.cpu().numpy()


def mean_results(results: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The means of what all results have, but for values of single categories ("IoU-car")."""
    common = [name for name in results[0] if "-" not in name] if results else []
    return {
        name: float(np.mean([result[name] for result in results]))
        for name in common
        if all(name in result for result in results)
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a file that any JSON reader takes: NaN becomes null."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(_without_nan(content), indent=1) + "\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
