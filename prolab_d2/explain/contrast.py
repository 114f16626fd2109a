"""Why one category and not another: the difference of two scores, property by property.

The score of category A minus that of B is the sum over properties k of
u_k (Y_Ak / |A| - Y_Bk / |B|), with unit activations u and signatures Y. Properties of A alone speak
for A, those of B alone for B; those of both count for the category with fewer properties, where
each weighs more.

Shapes: K properties.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from prolab_d2.errors import ProLabError
from prolab_d2.explain.inputs import (
    category_index,
    category_offsets,
    category_weights,
    read_activations,
)
from prolab_d2.label_space import LabelSpace

__all__ = ["Contrast", "Term", "contrast_categories"]


@dataclass(frozen=True)
class Term:
    """What one property adds to the score of the one category minus that of the other."""

    index: int
    name: str
    activation: float  # u_k, the activation over the length of all activations
    weight: float  # what it would add at an activation of 1
    difference: float  # activation times weight
    in_category: bool
    in_other: bool


@dataclass(frozen=True)
class Contrast:
    """Why `category` and not `other`, at a pixel or as the mean over a region."""

    category: str
    category_index: int
    other: str
    other_index: int
    score: float
    other_score: float
    difference: float  # the sum of the terms' differences: score - other_score
    terms: tuple[Term, ...]  # every property of either signature, the most decisive first
    offset: float = 0.0  # added to the difference when the label is decided

    @property
    def difference_text(self) -> str:
        """The difference, and that of the offsets if there is one."""
        offset = f", {self.offset:+.3f} by their offsets" if self.offset else ""
        return f"{self.difference:+.3f}{offset}"

    @property
    def supporting(self) -> tuple[Term, ...]:
        """Properties of `category` alone."""
        return tuple(term for term in self.terms if not term.in_other)

    @property
    def opposing(self) -> tuple[Term, ...]:
        """Properties of `other` alone."""
        return tuple(term for term in self.terms if not term.in_category)

    @property
    def shared(self) -> tuple[Term, ...]:
        """Properties of both; their differences are 0 if those of each weigh as much together."""
        return tuple(term for term in self.terms if term.in_category and term.in_other)

    def describe(self, top: int = 6, width: int = 88) -> str:
        """Readable text of several lines; at most `top` properties under each heading."""
        lines = [
            f"{self.category} {self.score:.3f}, not {self.other} {self.other_score:.3f}: "
            f"difference {self.difference_text}"
        ]
        for heading, terms in (
            (f"only {self.category} has", self.supporting),
            (f"only {self.other} has", self.opposing),
        ):
            if not terms:
                continue
            total = math.fsum(term.difference for term in terms)
            lines.append(f"  {heading} (together {total:+.3f}):")
            for term in terms[:top]:
                first = f"    {term.difference:+.3f}  "
                lines.append(textwrap.fill(term.name, width, initial_indent=first,
                                           subsequent_indent=" " * len(first)))  # fmt: skip
            if rest := terms[top:]:
                total = math.fsum(term.difference for term in rest)
                lines.append(f"    {total:+.3f}  in {len(rest)} more")
        if self.shared:
            total = math.fsum(term.difference for term in self.shared)
            lines.append(f"  both have {len(self.shared)} (together {total:+.3f})")
        return "\n".join(lines)


def contrast_categories(
    unit_activations: np.ndarray | Tensor,
    label_space: LabelSpace,
    category: str | int | None = None,
    other: str | int | None = None,
) -> Contrast:
    """Takes the difference of two scores apart into terms of single properties.

    Args:
        unit_activations: (K,) activations over their length, of one pixel or the mean of a region.
        category: name or index; None for the best category (but for `other`).
        other: name or index; None for the best of the other categories.
    Raises:
        ProLabError: unusable activations, an unknown category, twice the same one, or a label
            space of a single category.
    """
    u = read_activations(unit_activations, label_space)
    if label_space.num_categories < 2:
        raise ProLabError(
            "a label space of one category holds none to compare it with: use one of two or more"
        )
    weights = category_weights(label_space)
    offsets = category_offsets(label_space)
    order = np.argsort(-(weights @ u + offsets), kind="stable").tolist()
    given = [None if c is None else category_index(label_space, c) for c in (category, other)]
    for i, index in enumerate(given):
        if index is None:
            given[i] = next(j for j in order if j not in given)
    a, b = given
    if a == b:
        name = label_space.categories[a]
        raise ProLabError(f"category {name!r} is compared with itself: name two different ones")
    weights_apart = weights[a] - weights[b]
    differences = u * weights_apart + 0.0  # no "-0.000"
    either = np.flatnonzero(label_space.signatures[a] | label_space.signatures[b])
    either = either[np.lexsort((-u[either], -np.abs(differences[either])))]
    terms = tuple(
        Term(
            index=k,
            name=label_space.properties[k].name,
            activation=float(u[k]),
            weight=float(weights_apart[k]),
            difference=float(differences[k]),
            in_category=bool(label_space.signatures[a, k]),
            in_other=bool(label_space.signatures[b, k]),
        )
        for k in either.tolist()
    )
    return Contrast(
        category=label_space.categories[a],
        category_index=a,
        other=label_space.categories[b],
        other_index=b,
        score=math.fsum(u * weights[a]),
        other_score=math.fsum(u * weights[b]),
        difference=math.fsum(term.difference for term in terms),
        terms=terms,
        offset=float(offsets[a] - offsets[b]),
    )
