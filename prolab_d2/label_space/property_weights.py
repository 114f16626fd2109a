"""Files that say how much every property counts in a score (MODEL.PROLAB.PROPERTY_WEIGHTS).

{"label_space_hash": ..., "weights": [{"property": name, "weight": number from 0}, ...]}

Shapes: K properties.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prolab_d2.errors import ProLabError
from prolab_d2.files import atomic_path
from prolab_d2.label_space.label_space import LabelSpace

__all__ = ["read_property_weights", "write_property_weights"]


def write_property_weights(
    path: str | os.PathLike[str], label_space: LabelSpace, weights: Sequence[float] | np.ndarray
) -> None:
    """Writes (K,) weights, in the order of the label space's properties."""
    content = {
        "label_space_hash": label_space.hash,
        "weights": [
            {"property": entry.name, "weight": float(weight)}
            for entry, weight in zip(label_space.properties, weights, strict=True)
        ],
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")


def read_property_weights(path: str | os.PathLike[str], label_space: LabelSpace) -> np.ndarray:
    """(K,) float32 weights of the properties of a label space.

    A label space with the same properties and other categories may use the file, too.

    Raises:
        ProLabError: no such file, another content, or weights of other properties.
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))["weights"]
        names = [entry["property"] for entry in entries]
        weights = np.array([entry["weight"] for entry in entries], dtype=np.float32)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ProLabError(
            f"property weights {path} cannot be read ({reason}): give a file written by "
            "tools/ground_properties.py to MODEL.PROLAB.PROPERTY_WEIGHTS"
        ) from error
    if names != [entry.name for entry in label_space.properties]:
        raise ProLabError(
            f"property weights {path} belong to other properties than those of the label space: "
            "write them with tools/ground_properties.py for a checkpoint of this label space"
        )
    return weights
