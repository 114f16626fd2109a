"""Weights of the properties, chosen on labelled pixels: which to drop, and how much each counts.

Scores are cos(w a, w Y_j) with activations a, signatures Y and weights w; the network stays.

Shapes: P pixels, K properties, N categories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from prolab_d2.evaluation.grounding import visibility
from prolab_d2.evaluation.property_metrics import PropertyMetrics, property_histograms
from prolab_d2.evaluation.sem_seg_metrics import SemSegMetrics, confusion_matrix

__all__ = ["METHODS", "Pixels", "choose_weights", "mean_iou"]

# Score entries that a search for properties to drop may compute.
_MOST_ENTRIES = 10**10
_LEAST_GAIN = 0.0005
_STEPS, _RATE, _SHRINK = 300, 0.03, 1e-3
_IGNORED = -1


@dataclass(frozen=True)
class Pixels:
    """What the network says about labelled pixels: activations (P, K) float32, labels (P,)."""

    activations: np.ndarray
    labels: np.ndarray


def mean_iou(pixels: Pixels, signatures: np.ndarray, weights: np.ndarray) -> float:
    """Of the answers with these weights (K,), in [0, 1]."""
    category_weights = signatures * weights**2
    lengths = np.sqrt(category_weights.sum(axis=1, keepdims=True)).clip(1e-12)
    scores = pixels.activations @ (category_weights / lengths).T.astype(np.float32)
    confusion = confusion_matrix(scores.argmax(axis=1), pixels.labels, len(signatures), _IGNORED)
    return SemSegMetrics(confusion).mean_iou


def _visible(pixels: Pixels, signatures: np.ndarray) -> np.ndarray:
    """(K,) `visibility`, 0 for properties that do not occur or are below chance."""
    histograms = property_histograms(
        torch.from_numpy(pixels.activations.T),
        torch.from_numpy(pixels.labels),
        torch.tensor(signatures),
    )
    return np.nan_to_num(visibility(PropertyMetrics(histograms))).clip(0, 1)


def weigh_by_visibility(pixels: Pixels, signatures: np.ndarray) -> np.ndarray:
    """Every property counts as much as it is visible, and 0.01 at least."""
    return _visible(pixels, signatures).clip(0.01)


def drop_invisible(pixels: Pixels, signatures: np.ndarray) -> np.ndarray:
    """Without the least visible properties, as many as is best for the mean IoU, at most half."""
    weights = best = np.ones(signatures.shape[1])
    best_value = mean_iou(pixels, signatures, best)
    for k in np.argsort(_visible(pixels, signatures), kind="stable")[: len(weights) // 2]:
        fewer = weights.copy()
        fewer[k] = 0
        if not _still_different(signatures, fewer):
            continue
        weights, value = fewer, mean_iou(pixels, signatures, fewer)
        if value > best_value:
            best, best_value = weights, value
    return best


def drop_harmful(pixels: Pixels, signatures: np.ndarray) -> np.ndarray:
    """Without the properties whose loss helps the mean IoU most, one after the other."""
    n, k = signatures.shape
    most = max(_MOST_ENTRIES // (n * k * k), 1000)
    step = -(-len(pixels.labels) // most)
    some = Pixels(pixels.activations[::step], pixels.labels[::step])
    weights = np.ones(k)
    value = mean_iou(some, signatures, weights)
    while True:
        found = [
            (mean_iou(some, signatures, fewer), fewer) for fewer in _one_less(signatures, weights)
        ]
        best = max(found, key=lambda item: item[0], default=(0.0, weights))
        if best[0] < value + _LEAST_GAIN:
            return weights
        value, weights = best


def _one_less(signatures: np.ndarray, weights: np.ndarray) -> Iterator[np.ndarray]:
    for k in np.flatnonzero(weights):
        fewer = weights.copy()
        fewer[k] = 0
        if _still_different(signatures, fewer):
            yield fewer


def _still_different(signatures: np.ndarray, weights: np.ndarray) -> bool:
    """Whether every category has a property left, and no two become the same."""
    left = signatures[:, weights > 0]
    return bool(left.any(axis=1).all()) and (
        len(np.unique(left, axis=0)) == len(np.unique(signatures, axis=0))
    )


def fit(pixels: Pixels, signatures: np.ndarray, balanced: bool = False) -> np.ndarray:
    """The weights with the least cross-entropy of the scores over a temperature.

    Args:
        balanced: categories count with the square root of their pixels.
    """
    activations, labels = torch.from_numpy(pixels.activations), torch.from_numpy(pixels.labels)
    table = torch.tensor(signatures).float()
    counts = torch.bincount(labels, minlength=len(table)).float()
    emphasis = counts.clamp_min(1).rsqrt() if balanced else torch.ones_like(counts)
    logs = torch.zeros(table.shape[1], requires_grad=True)  # of the squared weights
    scale = torch.tensor(3.0, requires_grad=True)  # log of 1 / temperature
    optimizer = torch.optim.Adam([logs, scale], lr=_RATE)
    generator = torch.Generator().manual_seed(0)
    for _ in range(_STEPS):
        chosen = torch.randint(len(labels), (min(16384, len(labels)),), generator=generator)
        squares, a = logs.exp(), activations[chosen]
        lengths = (a.square() @ squares).clamp_min(1e-12).sqrt()[:, None]
        of_signatures = (table @ squares).clamp_min(1e-12).sqrt()
        scores = (a * squares) @ table.T / lengths / of_signatures
        loss = F.cross_entropy(scale.exp() * scores, labels[chosen], emphasis)
        # Weights that the pixels say nothing about stay near 1.
        loss = loss + _SHRINK * logs.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    weights = (logs.detach() / 2).exp()
    return (weights / weights.max()).double().numpy()


def fit_balanced(pixels: Pixels, signatures: np.ndarray) -> np.ndarray:
    """`fit`, where rare categories count more."""
    return fit(pixels, signatures, balanced=True)


METHODS: dict[str, Callable[[Pixels, np.ndarray], np.ndarray]] = {
    "equal": lambda _, signatures: np.ones(signatures.shape[1]),
    "drop_invisible": drop_invisible,
    "drop_harmful": drop_harmful,
    "visibility": weigh_by_visibility,
    "fitted": fit,
    "fitted_balanced": fit_balanced,
}


def choose_weights(
    pixels: Pixels, held: Pixels, signatures: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, float], str]:
    """Weights by every method, and the best of them.

    Args:
        pixels: to choose the weights on.
        held: of other images, to choose the method on.
        signatures: (N, K) bool.
    Returns:
        (K,) weights and the mean IoU on `held` by method, and the name of the best method.
    """
    weights = {name: method(pixels, signatures) for name, method in METHODS.items()}
    values = {name: mean_iou(held, signatures, own) for name, own in weights.items()}
    return weights, values, max(values, key=values.get)
