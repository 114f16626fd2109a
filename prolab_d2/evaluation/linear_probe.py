"""How much of the categories is in the features and activations of a model: a linear probe.

A logistic regression is fitted from what the network says about single pixels to their categories,
and compared with the model's own answer on pixels of other images. It tells a network that has not
learnt something from signatures that lose it.

Shapes: P pixels, C channels of the head, K properties, N categories.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prolab_d2.errors import ProLabError
from prolab_d2.modeling import PropertySegmentor

__all__ = ["ProbeResult", "Samples", "linear_probe", "sample_pixels"]


@dataclass(frozen=True)
class Samples:
    """What the network says about some labelled pixels, at a quarter of the resolution.

    Attributes:
        features: (P, C) of the decode head.
        activations: (P, K) of the properties; None where it has none.
        answers: (P,) the model's own categories.
        labels: (P,) the true ones.
    """

    features: np.ndarray
    activations: np.ndarray | None
    answers: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class ProbeResult:
    """IoU of every category in percent on the sampled pixels, NaN for one that does not occur.

    `own` is the model's answer, `features` and `activations` those of the probes.
    """

    own: np.ndarray
    features: np.ndarray
    activations: np.ndarray | None


@torch.inference_mode()
def sample_pixels(
    model: PropertySegmentor, inputs: Iterable[dict[str, Any]], per_image: int, seed: int = 0
) -> Samples:
    """Runs the network on images and keeps randomly chosen pixels that have a label.

    Args:
        inputs: what the mapper gives for testing, with "sem_seg" (at the size of the file).
        per_image: pixels drawn in every image, with repetition.
    Raises:
        ProLabError: no image, or none with labels.
    """
    rng = np.random.default_rng(seed)
    rows: list[tuple[Tensor, ...]] = []
    for one in inputs:
        image, labels = one["image"], one["sem_seg"]
        size = [-(-side // 4) for side in image.shape[-2:]]
        y, x = (torch.from_numpy(rng.integers(0, side, per_image)) for side in size)
        place = [
            ((at + 0.5) * (full / side)).long().clamp(max=full - 1)
            for at, full, side in zip((y, x), labels.shape, size, strict=True)
        ]
        label = labels[place[0], place[1]]
        rows.append(_pixels(model, image, y, x, label != model.ignore_label) + (label,))
    if not rows:
        raise ProLabError("linear probe: there are no images; name another data set")
    features, activations, answers, kept, labels = (
        None if part[0] is None else torch.cat(part).cpu().numpy()
        for part in zip(*rows, strict=True)
    )
    labels = labels[kept]
    if not len(labels):
        raise ProLabError("linear probe: no pixel has a label; name another data set")
    return Samples(features, activations, answers, labels)


def _pixels(
    model: PropertySegmentor, image: Tensor, y: Tensor, x: Tensor, kept: Tensor
) -> tuple[Tensor | None, ...]:
    """Features, activations and answers at the kept places, and which were kept."""
    features = model.decode_head(model.backbone(model._batch([model._normalise(image)]).tensor))
    y, x = y[kept].to(model.device), x[kept].to(model.device)

    def at(maps: Tensor) -> Tensor:
        return maps[0, :, y, x].T.float()

    if not model.has_properties:
        logits = model._category_logits(features, model.projection)
        return at(features), None, at(logits).argmax(1), kept
    space = model.property_space
    logits = space.logits_from_features(features, model.projection.weight, model.projection.bias)
    answers = at(space.category_scores(logits)).argmax(1)
    return at(features), at(space.activations(logits)), answers, kept


def linear_probe(train: Samples, val: Samples, num_categories: int) -> ProbeResult:
    """Fits the probes on one set of samples and compares them on another."""
    from sklearn.linear_model import LogisticRegression

    def fit(given: np.ndarray | None, asked: np.ndarray | None) -> np.ndarray | None:
        if given is None or asked is None:
            return None
        mean, std = given.mean(0), given.std(0) + 1e-6
        probe = LogisticRegression(max_iter=1000).fit((given - mean) / std, train.labels)
        return _iou(val.labels, probe.predict((asked - mean) / std), num_categories)

    return ProbeResult(
        own=_iou(val.labels, val.answers, num_categories),
        features=fit(train.features, val.features),
        activations=fit(train.activations, val.activations),
    )


def _iou(labels: Sequence[int], answers: Sequence[int], num_categories: int) -> np.ndarray:
    matrix = np.zeros((num_categories, num_categories))
    np.add.at(matrix, (labels, answers), 1)
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    with np.errstate(invalid="ignore"):
        return 100 * matrix.diagonal() / union
