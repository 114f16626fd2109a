"""Regions that no category explains: what they look like, in the words of the properties.

A pixel fits no signature when its best score is low, or when the second-best category fits nearly
as well. Other measures of the literature are here to be compared with these two; all of them are
read from the logits of the properties, and nothing has to be trained.

Measures are taken where the network answers, before anything is resized: half way between two
categories, activations that were averaged fit neither.

Shapes: B batch, K properties, N categories, h x w map size, H x W image size.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from prolab_d2.errors import ProLabError
from prolab_d2.explain.evidence import Evidence
from prolab_d2.explain.inputs import ACTIVE_FRACTION, category_weights, read_activations
from prolab_d2.label_space import LabelSpace
from prolab_d2.modeling.property_space import PropertySpace

__all__ = [
    "DEFAULT_MEASURE",
    "DEFAULT_THRESHOLD",
    "UNKNOWN_MEASURES",
    "UnknownRegion",
    "describe_unknown",
    "measures_of",
    "unknown_map",
    "unknown_masks",
    "without_seams",
]

# Those of the scores; the others need activations that are probabilities.
_OF_SCORES = ("score", "margin", "both", "entropy")
UNKNOWN_MEASURES = (
    *_OF_SCORES,
    "presence",
    "likelihood",
    "max_logit",
    "evidence",
    "property_entropy",
)
DEFAULT_MEASURE = "score"
# Of checkpoints that have not been calibrated: what tools/calibrate_unknown.py finds for the one
# that comes with the project, at 1 % of the rightly classified cells of its training images.
DEFAULT_THRESHOLD = 0.0655


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


def measures_of(space: PropertySpace) -> tuple[str, ...]:
    """The measures that a property space has."""
    return UNKNOWN_MEASURES if space.similarity == "cosine_sigmoid" else _OF_SCORES


def unknown_map(logits: Tensor, space: PropertySpace, measure: str = DEFAULT_MEASURE) -> Tensor:
    """How badly each pixel fits the category that fits it best.

    Args:
        logits: (B, K, h, w) of the properties, as the network gives them.
        measure: with activations a, log-odds x = logits / temperature and signatures Y:
            "score": 1 minus the best score, in the order of the distance between unit activations
            and the best unit signature;
            "margin": 1 minus what the best score is ahead of the second;
            "both": 1 minus the mean of these two;
            "entropy": of softmax(scores / temperature), over its largest value;
            "presence": 1 minus the largest geometric mean of a over the properties of a category;
            "likelihood": 1 minus the largest geometric mean over categories of the probabilities
            a where Y has a property and 1 - a where not, both kinds counting the same;
            "max_logit": the largest mean of x over the properties of a category, m, as
            sigmoid(-m) (after Hendrycks et al., ICML 2022);
            "evidence": 1 / (1 + mean of log(1 + exp(x))), low with few properties of whatever
            category (after Wang et al., NeurIPS 2021);
            "property_entropy": mean over the properties of the entropy of a, yes or no.
    Returns:
        (B, h, w) float32 in [0, 1]; 0 fits perfectly.
    Raises:
        ProLabError: an unknown measure, or one that the similarity "cosine" does not have.
    """
    if measure not in UNKNOWN_MEASURES:
        raise ProLabError(f"unknown measure {measure!r}: use one of {list(UNKNOWN_MEASURES)}")
    if measure not in measures_of(space):
        raise ProLabError(
            f"the measure {measure!r} needs activations in [0, 1], which the similarity "
            f"{space.similarity!r} does not give: use one of {list(_OF_SCORES)}"
        )
    with torch.autocast(logits.device.type, enabled=False):
        logits = logits.float()
        value = _of_scores if measure in _OF_SCORES else _of_probabilities
        return value(logits, space, measure).clamp(0, 1)


def _of_scores(logits: Tensor, space: PropertySpace, measure: str) -> Tensor:
    scores = space.category_scores(logits)
    if measure == "entropy":
        if space.num_categories == 1:
            return torch.zeros_like(scores[:, 0])
        log_p = torch.log_softmax(scores / space.temperature, dim=1)
        return -(log_p.exp() * log_p).sum(dim=1) / math.log(space.num_categories)
    best = scores.topk(min(2, space.num_categories), dim=1).values
    score = best[:, 0]
    margin = score - best[:, 1] if best.shape[1] > 1 else score
    return 1 - {"score": score, "margin": margin, "both": (score + margin) / 2}[measure]


def _of_probabilities(logits: Tensor, space: PropertySpace, measure: str) -> Tensor:
    log_odds = logits / space.temperature
    if measure == "evidence":
        return 1 / (1 + F.softplus(log_odds).mean(dim=1))
    log_a, log_not = F.logsigmoid(log_odds), F.logsigmoid(-log_odds)
    if measure == "property_entropy":
        a = log_a.exp()
        return -(a * log_a + (1 - a) * log_not).mean(dim=1) / math.log(2)
    own = _means(space.signatures)
    if measure == "presence":
        return -torch.expm1(_per_category(log_a, own).amax(dim=1))
    if measure == "max_logit":
        return torch.sigmoid(-_per_category(log_odds, own).amax(dim=1))
    fit = _per_category(log_a, own) + _per_category(log_not, _means(~space.signatures))
    return -torch.expm1(fit.amax(dim=1) / 2)


def _means(members: Tensor) -> Tensor:
    """(N, K): times values of the properties they give the means over the members of each row."""
    weights = members.float()
    return weights / weights.sum(dim=1, keepdim=True).clamp_min(1)


def _per_category(values: Tensor, weights: Tensor) -> Tensor:
    """(B, K, h, w), (N, K) -> (B, N, h, w)."""
    return F.linear(values.permute(0, 2, 3, 1), weights).permute(0, 3, 1, 2)


def without_seams(unknown: np.ndarray) -> np.ndarray:
    """An `unknown_map` without what is thinner than 3 cells: categories meet in such seams.

    Args:
        unknown: (h, w).
    Returns:
        (h, w), nowhere higher: the grey-scale opening with a square of 3 cells.
    """
    return cv2.morphologyEx(unknown, cv2.MORPH_OPEN, np.ones((3, 3), dtype=np.uint8))


def unknown_masks(
    unknown: np.ndarray, size: tuple[int, int], threshold: float, least_area: float
) -> list[np.ndarray]:
    """The regions in which `unknown_map`, `without_seams`, lies above a threshold.

    Args:
        unknown: (h, w).
        size: (H, W) of the masks.
        threshold: 0 to 1.
        least_area: share of the image below which a region is left out.
    Returns:
        (H, W) bool masks, the largest first.
    """
    high = (without_seams(unknown) > threshold).astype(np.uint8)
    count, components, stats, _ = cv2.connectedComponentsWithStats(high, connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA]
    order = sorted(range(1, count), key=lambda i: -areas[i])
    kept = [i for i in order if areas[i] >= max(least_area * high.size, 1)]
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
