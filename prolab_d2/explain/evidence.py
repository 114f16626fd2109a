"""The properties behind the score of one category, as numbers and as text.

The score of category j is the sum over properties k of the shares Y_jk u_k / |Y_j|, where Y is the
signature table and u the property activations divided by their length (the cosine similarity of
the paper, section 3.3, taken apart). With property weights w the shares are
w_k^2 Y_jk u_k / |w Y_j|, and u are the activations over their weighted length. u is what inference
averages over windows and resizes, so the shares add up to the score that decided the label.

Shapes: K properties, N categories.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from prolab_d2.explain.inputs import (
    ACTIVE_FRACTION,
    category_index,
    category_offsets,
    category_weights,
    read_activations,
)
from prolab_d2.label_space import LabelSpace

__all__ = ["Evidence", "Explanation", "explain_pixel"]


@dataclass(frozen=True)
class Evidence:
    """One property and what it contributes to the score of the explained category."""

    index: int
    name: str
    activation: float  # u_k, the activation over the length of all activations
    share: float  # what it adds to the score; 0 for a property outside the signature


@dataclass(frozen=True)
class Explanation:
    """The score of one category at one pixel (or of the mean over a region), taken apart."""

    category: str
    category_index: int
    score: float
    evidence: tuple[Evidence, ...]  # the whole signature, largest share first: adds up to score
    missing: tuple[Evidence, ...]  # properties of the signature that are not active
    unexpected: tuple[Evidence, ...]  # active properties outside the signature, strongest first
    others: tuple[tuple[str, float], ...]  # the best other categories and their scores
    offset: float = 0.0  # added to the score when the label is decided; to those of others it is

    @property
    def score_text(self) -> str:
        """The score, and its offset if there is one."""
        return f"{self.score:.3f}" + (f" {self.offset:+.3f}" if self.offset else "")

    @property
    def full_share(self) -> float:
        """How much the property that counts most would add to the score if it were as active as
        the strongest one here: the scale of the shares. 0 where nothing speaks for the category.
        """
        items = (*self.evidence, *self.unexpected)
        strongest = max((item.activation for item in items), default=0.0)
        weights = [item.share / item.activation for item in self.evidence if item.activation > 0]
        return strongest * max(weights, default=0.0)

    def describe(self, top: int = 8, width: int = 88) -> str:
        """Readable text of several lines; at most `top` properties under each heading."""
        rival = f" (next best: {self.others[0][0]} {self.others[0][1]:.3f})" if self.others else ""
        lines = [f"{self.category}: score {self.score_text}{rival}"]
        absent = set(self.missing)
        present = [item for item in self.evidence if item not in absent]
        parts = (
            (f"what speaks for {self.category} (shares of the score)", present, "share"),
            (f"expected of {self.category}, not seen here", list(self.missing), "share"),
            (f"seen here, not expected of {self.category}", list(self.unexpected), "activation"),
        )
        for heading, items, value in parts:
            if not items:
                continue
            lines.append(f"  {heading}:")
            for item in items[:top]:
                first = f"    {getattr(item, value):6.3f}  "
                lines.append(textwrap.fill(item.name, width, initial_indent=first,
                                           subsequent_indent=" " * len(first)))  # fmt: skip
            rest = items[top:]
            if rest:
                total = math.fsum(getattr(item, value) for item in rest)
                lines.append(f"    {total:6.3f}  in {len(rest)} more")
        return "\n".join(lines)


def explain_pixel(
    unit_activations: np.ndarray | Tensor,
    label_space: LabelSpace,
    category: str | int | None = None,
    top: int = 8,
) -> Explanation:
    """Takes the score of a category apart into the shares of its properties.

    Args:
        unit_activations: (K,) activations over their length, of one pixel or the mean of a region.
        category: name or index; None for the category with the highest score.
        top: how many unexpected properties and other categories are listed at most.
    Returns:
        An explanation whose shares add up to its score.
    Raises:
        ProLabError: another number of properties than the label space has, values that are not
            finite, or an unknown category.
    """
    u = read_activations(unit_activations, label_space)
    weights = category_weights(label_space)
    offsets = category_offsets(label_space)
    scores = weights @ u + offsets
    chosen = int(scores.argmax()) if category is None else category_index(label_space, category)

    signature = label_space.signatures[chosen]
    threshold = ACTIVE_FRACTION * u.max(initial=0.0)
    active = (u >= threshold) & (u > 0)

    def evidence(k: int) -> Evidence:
        share = weights[chosen, k] * u[k]
        return Evidence(k, label_space.properties[k].name, float(u[k]), float(share))

    order = np.argsort(-u, kind="stable").tolist()
    # As active ones come first, too, unless properties have weights.
    own = tuple(sorted((evidence(k) for k in order if signature[k]), key=lambda item: -item.share))
    ranked = [int(j) for j in np.argsort(-scores, kind="stable") if j != chosen]
    return Explanation(
        category=label_space.categories[chosen],
        category_index=chosen,
        score=math.fsum(item.share for item in own),
        evidence=own,
        missing=tuple(item for item in own if not active[item.index]),
        unexpected=tuple(evidence(k) for k in order if active[k] and not signature[k])[:top],
        others=tuple((label_space.categories[j], float(scores[j])) for j in ranked[:top]),
        offset=float(offsets[chosen]),
    )
