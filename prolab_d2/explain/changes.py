"""What would have to be seen, and what not, for another category to be the answer.

A change makes one property of the wanted category fully active, or lets one property that it does
not have vanish. The best category depends on the direction of the activations alone, so category B
is ahead of r by the sum over properties of u_k (Y_Bk / |B| - Y_rk / |r|), and every change adds to
that a gain of its own: the smallest set of changes is a covering problem, solved exactly. Offsets
of the categories count as they do at the present length of the activations, which changes alter.

Shapes: K properties, N categories, F changes to choose from, R rivals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from prolab_d2.explain.inputs import (
    category_index,
    category_offsets,
    category_weights,
    read_activations,
)
from prolab_d2.label_space import LabelSpace

__all__ = ["Change", "Changes", "find_changes"]

# How far ahead the wanted category has to be, in units of a full activation.
MARGIN = 1e-6
# Entries that the exact search may look at: about a second.
SEARCH_ENTRIES = 2 * 10**8


@dataclass(frozen=True)
class Change:
    """One property that would have to appear or vanish."""

    index: int
    name: str
    activation: float  # now, over the length of all activations
    needed: float  # in the same unit: that of the strongest property, or 0
    appears: bool


@dataclass(frozen=True)
class Changes:
    """The fewest changes after which `category` is the answer; none when it is already."""

    category: str
    category_index: int
    answer: str  # what it is now
    changes: tuple[Change, ...]  # those that do most first
    is_smallest: bool  # False when the search was given up: one change may be too many

    def describe(self) -> str:
        """One or two readable lines."""
        if not self.changes:
            return f"{self.category} is the answer already"
        parts = [f"to be {self.category} instead of {self.answer}:"]
        for heading, appears in (("seen", True), ("not seen", False)):
            names = [change.name for change in self.changes if change.appears == appears]
            if names:
                parts.append(f"  {heading}: {'; '.join(names)}")
        return "\n".join(parts)


def find_changes(
    unit_activations: np.ndarray | Tensor, label_space: LabelSpace, category: str | int
) -> Changes:
    """The smallest set of property activations that would have to change.

    Args:
        unit_activations: (K,) activations over their length, of one pixel or the mean of a region.
        category: the wanted answer, name or index. Categories with the same signature, which no
            score can tell from it, do not count as rivals.
    Raises:
        ProLabError: unusable activations or an unknown category.
    """
    u = read_activations(unit_activations, label_space)
    wanted = category_index(label_space, category)
    weights = category_weights(label_space)
    scores = weights @ u + category_offsets(label_space)
    signature = np.asarray(label_space.signatures[wanted])
    full = float(u.max()) if u.max() > 0 else float(np.abs(u).max()) or 1.0
    needed = np.where(signature, full, np.minimum(u, 0.0))

    rivals = (label_space.signatures != signature).any(axis=1)
    deficits = scores[rivals] - scores[wanted] + MARGIN * full
    gains = (needed - u)[:, None] * (weights[wanted] - weights[rivals]).T
    useful = np.flatnonzero((gains > 0).any(axis=1))
    chosen, is_smallest = _smallest_cover(gains[useful], deficits)
    rival = int(np.where(np.arange(len(scores)) == wanted, -np.inf, scores).argmax())
    own = (needed - u) * (weights[wanted] - weights[rival])
    order = sorted(useful[chosen].tolist(), key=lambda k: (-own[k], k))
    answer = wanted if not chosen else int(scores.argmax())
    return Changes(
        category=label_space.categories[wanted],
        category_index=wanted,
        answer=label_space.categories[answer],
        changes=tuple(
            Change(
                index=k,
                name=label_space.properties[k].name,
                activation=float(u[k]),
                needed=float(needed[k]),
                appears=bool(signature[k]),
            )
            for k in order
        ),
        is_smallest=is_smallest,
    )


def _smallest_cover(gains: np.ndarray, deficits: np.ndarray) -> tuple[list[int], bool]:
    """Rows of `gains` (F, R), as few as possible, whose sum reaches `deficits` (R,).

    All rows together reach it. Returns the rows, and whether no smaller set exists for certain.
    """
    found = _greedy_cover(gains, deficits)
    if len(found) <= 1:
        return found, True
    # Rivals that no set of that size could bring ahead need no further look.
    worst = np.minimum(np.sort(gains, axis=0)[: len(found)], 0).sum(axis=0)
    relevant = deficits - worst > 0
    gains, deficits = gains[:, relevant], deficits[relevant]
    order = np.argsort(-_progress(gains, deficits), kind="stable")
    search = _Search(gains[order])
    for size in range(1, len(found)):
        result = search.run(deficits, size)
        if result is not None:
            return order[result].tolist(), True
        if search.entries > SEARCH_ENTRIES:
            return found, False
    return found, True


def _progress(gains: np.ndarray, deficits: np.ndarray) -> np.ndarray:
    """(F,): how much of the open deficits every row would make good; rivals let go count, too."""
    open_deficits = np.maximum(deficits, 0)
    return (open_deficits - np.maximum(deficits - gains, 0)).sum(axis=1)


def _greedy_cover(gains: np.ndarray, deficits: np.ndarray) -> list[int]:
    chosen: list[int] = []
    left = deficits.copy()
    while (left > 0).any():
        progress = _progress(gains, left)
        progress[chosen] = -np.inf
        best = int(progress.argmax())
        chosen.append(best)
        left = left - gains[best]
    for row in list(chosen):
        if (left + gains[row] <= 0).all():
            left = left + gains[row]
            chosen.remove(row)
    return chosen


class _Search:
    """Depth-first search for a set of a given size, cut off where the best rows cannot suffice."""

    def __init__(self, gains: np.ndarray) -> None:
        self.gains = gains
        self.entries = 0

    def run(self, deficits: np.ndarray, size: int, start: int = 0) -> list[int] | None:
        if (deficits <= 0).all():
            return []
        candidates = self.gains[start:]
        self.entries += candidates.size
        if size == 0 or len(candidates) == 0 or self.entries > SEARCH_ENTRIES:
            return None
        if size == 1:
            fits = np.flatnonzero((candidates >= deficits).all(axis=1))
            return [start + int(fits[0])] if len(fits) else None
        count = min(size, len(candidates))
        best = np.partition(candidates, len(candidates) - count, axis=0)[-count:]
        if (np.maximum(best, 0).sum(axis=0) < deficits).any():
            return None
        for row in range(start, len(self.gains)):
            rest = self.run(deficits - self.gains[row], size - 1, row + 1)
            if rest is not None:
                return [row, *rest]
            if self.entries > SEARCH_ENTRIES:
                return None
        return None
