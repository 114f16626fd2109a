"""Figures that tell whether a label space is any good.

Shapes: N categories, K properties.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prolab_d2.label_space.label_space import LabelSpace

__all__ = ["Summary", "summarize"]


@dataclass(frozen=True)
class Summary:
    """Counts and means over a label space.

    Attributes:
        sentences: number of descriptions.
        properties_per_category: mean and extremes.
        categories_per_property: mean.
        shared_properties: how many properties belong to more than one category.
        closest: the two categories whose signatures are most alike, None with one category.
        closest_distance: their cosine distance, 0 for equal signatures.
        confused: groups of categories with equal signatures.
    """

    categories: int
    properties: int
    sentences: int
    properties_per_category: float
    fewest_properties: int
    most_properties: int
    categories_per_property: float
    shared_properties: int
    closest: tuple[str, str] | None
    closest_distance: float
    confused: list[tuple[str, ...]]

    def __str__(self) -> str:
        lines = [
            f"{self.categories} categories, {self.sentences} sentences, "
            f"{self.properties} properties",
            f"properties per category: {self.properties_per_category:.2f} "
            f"({self.fewest_properties} to {self.most_properties})",
            f"categories per property: {self.categories_per_property:.2f}, "
            f"{self.shared_properties} of {self.properties} properties are shared",
        ]
        if self.closest:
            lines.append(
                f"most alike: {self.closest[0]} and {self.closest[1]} "
                f"(cosine distance of signatures {self.closest_distance:.3f})"
            )
        return "\n".join(lines)


def summarize(space: LabelSpace) -> Summary:
    per_category = space.signatures.sum(1)
    per_property = space.signatures.sum(0)
    closest, distance = _closest_pair(space)
    return Summary(
        categories=space.num_categories,
        properties=space.num_properties,
        sentences=sum(map(len, space.descriptions.values())),
        properties_per_category=float(per_category.mean()),
        fewest_properties=int(per_category.min()),
        most_properties=int(per_category.max()),
        categories_per_property=float(per_property.mean()),
        shared_properties=int((per_property > 1).sum()),
        closest=closest,
        closest_distance=distance,
        confused=space.confused_categories(),
    )


def _closest_pair(space: LabelSpace) -> tuple[tuple[str, str] | None, float]:
    if space.num_categories < 2:
        return None, 1.0
    rows = space.signatures.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    similarity = rows @ rows.T
    np.fill_diagonal(similarity, -1.0)
    first, second = divmod(int(similarity.argmax()), space.num_categories)
    pair = (space.categories[first], space.categories[second])
    return pair, max(0.0, 1.0 - float(similarity[first, second]))
