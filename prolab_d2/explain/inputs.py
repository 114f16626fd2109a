"""What all explanations read: unit activations, category names, signatures as weights.

Shapes: K properties, N categories.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from prolab_d2.errors import ProLabError
from prolab_d2.label_space import LabelSpace

__all__ = ["ACTIVE_FRACTION", "category_index", "category_weights", "read_activations"]

# A property counts as active from this fraction of the pixel's strongest activation on. With
# "cosine_sigmoid" some property is nearly always at 1, so this means an activation above 0.5.
ACTIVE_FRACTION = 0.5


def read_activations(unit_activations: np.ndarray | Tensor, label_space: LabelSpace) -> np.ndarray:
    """(K,) float64 of finite values.

    Raises:
        ProLabError: another number of properties than the label space has, or values that are not
            finite.
    """
    if isinstance(unit_activations, Tensor):
        unit_activations = unit_activations.detach().cpu().numpy()
    u = np.asarray(unit_activations, dtype=np.float64)
    if u.shape != (label_space.num_properties,):
        raise ProLabError(
            f"unit activations of shape {u.shape} do not fit the label space's "
            f"{label_space.num_properties} properties: pass one value for each"
        )
    if not np.isfinite(u).all():
        raise ProLabError("unit activations hold values that are not finite: check the checkpoint")
    return u


def category_weights(label_space: LabelSpace) -> np.ndarray:
    """(N, K) float64: signatures over their length; times unit activations they give scores."""
    signatures = np.asarray(label_space.signatures, dtype=np.float64)
    return signatures / np.sqrt(signatures.sum(axis=1, keepdims=True))


def category_index(label_space: LabelSpace, category: str | int) -> int:
    """
    Raises:
        ProLabError: the label space has no such category.
    """
    if isinstance(category, str):
        if category in label_space.categories:
            return label_space.categories.index(category)
    elif 0 <= category < label_space.num_categories:
        return int(category)
    names = ", ".join(label_space.categories[:12])
    more = ", ..." if label_space.num_categories > 12 else ""
    raise ProLabError(f"category {category!r} is not in the label space: use one of {names}{more}")
