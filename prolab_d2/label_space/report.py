"""Figures that tell whether a label space is any good.

Shapes: N categories, K properties.
"""

from __future__ import annotations

from dataclasses import dataclass

from prolab_d2.label_space.label_space import LabelSpace
from prolab_d2.label_space.quality import closest_pairs

__all__ = ["Summary", "summarize"]

_PAIRS = 5


@dataclass(frozen=True)
class Summary:
    """Counts and means over a label space; `str()` of it is a short text.

    Attributes:
        sentences: number of descriptions.
        properties_per_category: mean, with the two extremes.
        shared_per_category: mean number of a category's properties that another one has, too.
        categories_per_property: mean.
        shared_properties: how many properties belong to more than one category.
        alike: the pairs of categories whose signatures are most alike, with their cosine distance,
            0 for equal signatures; the nearest first, none with one category.
        confused: groups of categories with equal signatures.
    """

    categories: int
    properties: int
    sentences: int
    properties_per_category: float
    fewest_properties: int
    most_properties: int
    shared_per_category: float
    categories_per_property: float
    shared_properties: int
    alike: tuple[tuple[str, str, float], ...]
    confused: list[tuple[str, ...]]

    @property
    def closest(self) -> tuple[str, str] | None:
        """The two categories that are most alike, None with one category."""
        return self.alike[0][:2] if self.alike else None

    @property
    def closest_distance(self) -> float:
        """Their cosine distance, 1 with one category."""
        return self.alike[0][2] if self.alike else 1.0

    def __str__(self) -> str:
        lines = [
            f"{self.categories} categories, {self.sentences} sentences, "
            f"{self.properties} properties",
            f"properties per category: {self.properties_per_category:.2f} "
            f"({self.fewest_properties} to {self.most_properties}), "
            f"{self.shared_per_category:.2f} of them shared with another category",
            f"categories per property: {self.categories_per_property:.2f}, "
            f"{self.shared_properties} of {self.properties} properties are shared",
        ]
        if self.alike:
            (first, second, nearest), *others = self.alike
            others = [f"{a} and {b} ({distance:.3f})" for a, b, distance in others if distance < 1]
            lines.append(
                f"most alike: {first} and {second} (cosine distance of signatures {nearest:.3f})"
                + "".join(f", {pair}" for pair in others)
            )
        return "\n".join(lines)


def summarize(space: LabelSpace) -> Summary:
    per_category = space.signatures.sum(1)
    per_property = space.signatures.sum(0)
    shared = per_property > 1
    return Summary(
        categories=space.num_categories,
        properties=space.num_properties,
        sentences=sum(map(len, space.descriptions.values())),
        properties_per_category=float(per_category.mean()),
        fewest_properties=int(per_category.min()),
        most_properties=int(per_category.max()),
        shared_per_category=float(space.signatures[:, shared].sum(1).mean()),
        categories_per_property=float(per_property.mean()),
        shared_properties=int(shared.sum()),
        alike=tuple(
            (space.categories[i], space.categories[j], distance)
            for i, j, distance in closest_pairs(space.signatures, _PAIRS)
        ),
        confused=space.confused_categories(),
    )
