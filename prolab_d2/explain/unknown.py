"""Regions that no category explains: what they look like, in the words of the properties.

A pixel fits no signature when its best score is low, or when the second-best category fits nearly
as well. Both are read from unit activations u; nothing has to be trained.

Shapes: K properties, N categories, h x w map size, H x W image size.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from prolab_d2.errors import ProLabError
from prolab_d2.explain.evidence import Evidence
from prolab_d2.explain.inputs import ACTIVE_FRACTION, category_weights, read_activations
from prolab_d2.label_space import LabelSpace

__all__ = ["UNKNOWN_MEASURES", "UnknownRegion", "describe_unknown", "unknown_map", "unknown_masks"]

UNKNOWN_MEASURES = ("score", "margin", "both")


@dataclass(frozen=True, eq=False)
class UnknownRegion:
    """A region that fits no signature, and what can be said about it."""

    mask: np.ndarray  # (H, W) bool
    area: float  # share of the image, in (0, 1]
    score: float  # of the best category
    margin: float  # to the second-best; 0 in a label space of one
    properties: tuple[Evidence, ...]  # active ones, the strongest first; shares are those of `best`
    nearest: tuple[tuple[str, float], ...]  # categories and their scores, the best first

    def describe(self, top: int = 6, width: int = 88) -> str:
        """One readable paragraph."""
        near = ", ".join(f"{name} {score:.3f}" for name, score in self.nearest[:3])
        seen = "; ".join(item.name for item in self.properties[:top])
        rest = len(self.properties) - top
        more = f"; and {rest} more" if rest > 0 else ""
        text = f"fits nothing known (best: {near}). Seen: {seen}{more}"
        return textwrap.fill(text, width, subsequent_indent="  ")


def unknown_map(unit_activations: Tensor, label_space: LabelSpace, measure: str = "both") -> Tensor:
    """How badly each pixel fits the category that fits it best.

    Args:
        unit_activations: (K, ...) activations over their length.
        measure: "score", 1 minus the best score; "margin", 1 minus what the best score is ahead of
            the second; "both", 1 minus the mean of these two.
    Returns:
        (...) float32 in [0, 1]; 0 fits perfectly.
    Raises:
        ProLabError: an unknown measure.
    """
    if measure not in UNKNOWN_MEASURES:
        raise ProLabError(f"unknown measure {measure!r}: use one of {list(UNKNOWN_MEASURES)}")
    flat = unit_activations.float().flatten(1)
    weights = torch.from_numpy(category_weights(label_space)).to(flat)
    best = (weights @ flat).topk(min(2, len(weights)), dim=0).values
    score = best[0]
    margin = best[0] - best[1] if len(best) > 1 else best[0]
    fit = {"score": score, "margin": margin, "both": (score + margin) / 2}[measure]
    return (1 - fit).clamp(0, 1).reshape(unit_activations.shape[1:])


def unknown_masks(
    unknown: np.ndarray, size: tuple[int, int], threshold: float, least_area: float
) -> list[np.ndarray]:
    """The regions in which `unknown_map` lies above a threshold.

    Thin ones, such as the seams between two categories, do not count.

    Args:
        unknown: (h, w).
        size: (H, W) of the masks.
        threshold: 0 to 1.
        least_area: share of the image below which a region is left out.
    Returns:
        (H, W) bool masks, the largest first.
    """
    core = np.ones((3, 3), dtype=np.uint8)
    opened = cv2.morphologyEx((unknown > threshold).astype(np.uint8), cv2.MORPH_OPEN, core)
    count, components, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA]
    order = sorted(range(1, count), key=lambda i: -areas[i])
    kept = [i for i in order if areas[i] >= max(least_area * opened.size, 1)]
    resized = cv2.resize(
        components.astype(np.int32), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT
    )
    masks = [resized == i for i in kept]
    return [mask for mask in masks if mask.any()]


def describe_unknown(
    mask: np.ndarray, mean_activations: np.ndarray, label_space: LabelSpace
) -> UnknownRegion:
    """What a region looks like, category or not.

    Args:
        mask: (H, W) bool.
        mean_activations: (K,) mean of the unit activations over the region.
    """
    u = read_activations(mean_activations, label_space)
    weights = category_weights(label_space)
    scores = weights @ u
    ranked = np.argsort(-scores, kind="stable").tolist()
    active = np.flatnonzero((u >= ACTIVE_FRACTION * u.max()) & (u > 0))
    order = active[np.argsort(-u[active], kind="stable")].tolist()
    return UnknownRegion(
        mask=mask,
        area=float(mask.mean()),
        score=float(scores[ranked[0]]),
        margin=float(scores[ranked[0]] - scores[ranked[1]]) if len(ranked) > 1 else 0.0,
        properties=tuple(
            Evidence(
                k, label_space.properties[k].name, float(u[k]), float(u[k] * weights[ranked[0], k])
            )
            for k in order
        ),
        nearest=tuple((label_space.categories[j], float(scores[j])) for j in ranked[:5]),
    )
