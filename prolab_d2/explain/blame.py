"""Which properties are to blame when one category is taken for another.

Activations that were exactly the signature of category A would put A ahead of B by 1 minus the
cosine of the two signatures. What is left of that lead where A was taken for B is negative; the
difference is taken apart into one term for each property:
(Y_Ak / |A| - u_k) (Y_Ak / |A| - Y_Bk / |B|). Properties of A that are missing and properties of B
that are seen have positive terms.

Shapes: K properties.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prolab_d2.explain.inputs import (
    category_index,
    category_weights,
    ideal_activations,
    read_activations,
)
from prolab_d2.label_space import LabelSpace

__all__ = ["Blame", "blame_properties"]


@dataclass(frozen=True)
class Blame:
    """One property's part in a confusion."""

    index: int
    name: str
    activation: float  # u_k, as the mean over the confused pixels
    blame: float  # how much of the lead of the true category it costs
    in_category: bool  # of the true category
    in_other: bool  # of the one that it was taken for

    @property
    def kind(self) -> str:
        """What happened: "not seen", "wrongly seen" or, for a property of both, "shared"."""
        if self.in_category and self.in_other:
            return "shared"
        return "not seen" if self.in_category else "wrongly seen"


def blame_properties(
    unit_activations: np.ndarray,
    label_space: LabelSpace,
    category: str | int,
    other: str | int,
) -> tuple[Blame, ...]:
    """Takes the lost lead of a category apart.

    Args:
        unit_activations: (K,), the mean over the pixels of `category` that were taken for `other`.
        category, other: names or indices.
    Returns:
        Every property that tells the two apart or counts differently in them, the most blameful
        first. The sum is the lead that signatures promise minus the lead that is there.
    Raises:
        ProLabError: unusable activations or unknown categories.
    """
    u = read_activations(unit_activations, label_space)
    a, b = (category_index(label_space, name) for name in (category, other))
    weights = category_weights(label_space)
    terms = (ideal_activations(label_space)[a] - u) * (weights[a] - weights[b])
    order = np.argsort(-terms, kind="stable").tolist()
    return tuple(
        Blame(
            index=k,
            name=label_space.properties[k].name,
            activation=float(u[k]),
            blame=float(terms[k]),
            in_category=bool(label_space.signatures[a, k]),
            in_other=bool(label_space.signatures[b, k]),
        )
        for k in order
        if weights[a, k] != weights[b, k]
    )
