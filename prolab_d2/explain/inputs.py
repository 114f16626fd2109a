"""What all explanations read: unit activations, category names, signatures as weights.

Shapes: K properties, N categories.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from prolab_d2.errors import ProLabError
from prolab_d2.label_space import LabelSpace

__all__ = [
    "ACTIVE_FRACTION",
    "category_index",
    "category_offsets",
    "category_weights",
    "ideal_activations",
    "read_activations",
]

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
    """(N, K) float64: times unit activations they give scores.

    Signatures over their length; with property weights, see `LabelSpace.with_property_weights`,
    weighted signatures over their length, times the weights of the activations.
    """
    signatures = ideal_activations(label_space)
    if label_space.property_weights is None:
        return signatures
    return signatures * np.asarray(label_space.property_weights, dtype=np.float64) ** 2


def category_offsets(label_space: LabelSpace) -> np.ndarray:
    """(N,) float64: what is added to the scores, see `LabelSpace.with_category_offsets`."""
    if label_space.category_offsets is None:
        return np.zeros(label_space.num_categories)
    return np.asarray(label_space.category_offsets, dtype=np.float64)


def ideal_activations(label_space: LabelSpace) -> np.ndarray:
    """(N, K) float64: the unit activations of a pixel that shows exactly a signature."""
    signatures = np.asarray(label_space.signatures, dtype=np.float64)
    weighted = signatures
    if label_space.property_weights is not None:
        weighted = signatures * label_space.property_weights
    return signatures / np.linalg.norm(weighted, axis=1, keepdims=True)


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
