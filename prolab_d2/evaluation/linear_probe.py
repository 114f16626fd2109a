"""How much of the categories is in the features and activations of a model: a linear probe.

A logistic regression is fitted from what the network says about single pixels to their categories,
and compared with the model's own answer on pixels of other images. It tells a network that has not
learnt something from signatures that lose it. The categories may also be those of a data set that
the network was not trained on: then it tells what properties say about them (paper: 92.5 on
PAS-20, 57.7 on PC-59).

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
from prolab_d2.evaluation.sem_seg_metrics import SemSegMetrics, confusion_matrix
from prolab_d2.modeling import PropertySegmentor
from prolab_d2.modeling.inference import category_labels

__all__ = [
    "LinearMap",
    "ProbeResult",
    "Samples",
    "fit_linear_map",
    "linear_probe",
    "probe_images",
    "sample_pixels",
]


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
class LinearMap:
    """Scores of categories, linear in features or activations; the largest decides.

    Attributes:
        weight: (N', C) or (N', K).
        bias: (N',).
        categories: (N',) ids of those that the pixels of the fit have.
    """

    weight: np.ndarray
    bias: np.ndarray
    categories: np.ndarray

    def answers(self, given: np.ndarray) -> np.ndarray:
        """(P, C) or (P, K) -> (P,) ids."""
        return self.categories[(given @ self.weight.T + self.bias).argmax(1)]


@dataclass(frozen=True)
class ProbeResult:
    """IoU of every category in percent on the sampled pixels, NaN for one that does not occur.

    `own` is the model's answer, None where its categories are others; `features` and `activations`
    are those of the probes, `map` is the probe of the activations, None without any.
    """

    own: np.ndarray | None
    features: np.ndarray
    activations: np.ndarray | None
    map: LinearMap | None


@torch.inference_mode()
def sample_pixels(
    model: PropertySegmentor,
    inputs: Iterable[dict[str, Any]],
    per_image: int,
    seed: int = 0,
    ignore_label: int | None = None,
) -> Samples:
    """Runs the network on images and keeps randomly chosen pixels that have a label.

    Args:
        inputs: what the mapper gives for testing, with "sem_seg" (at the size of the file).
        per_image: pixels drawn in every image, with repetition.
        ignore_label: of the data set; that of the training when left out.
    Raises:
        ProLabError: no image, or none with labels.
    """
    ignore_label = model.ignore_label if ignore_label is None else ignore_label
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
        rows.append(_pixels(model, image, y, x, label != ignore_label) + (label,))
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


def fit_linear_map(given: np.ndarray, labels: np.ndarray) -> LinearMap:
    """Logistic regression from (P, C) or (P, K) to (P,) labels.

    Raises:
        ProLabError: all pixels are of one category.
    """
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(labels)) < 2:
        raise ProLabError(
            "linear probe: all pixels to fit on are of one category; take more images or pixels"
        )
    mean, std = given.mean(0), given.std(0) + 1e-6
    probe = LogisticRegression(max_iter=1000).fit((given - mean) / std, labels)
    weight, bias = probe.coef_, probe.intercept_
    if len(weight) == 1:  # two categories have one difference
        weight, bias = np.stack([-weight[0], weight[0]]) / 2, np.stack([-bias[0], bias[0]]) / 2
    weight = weight / std
    return LinearMap(weight, bias - weight @ mean, probe.classes_)


def linear_probe(
    train: Samples, val: Samples, num_categories: int, own_categories: bool = True
) -> ProbeResult:
    """Fits the probes on one set of samples and compares them on another.

    Args:
        num_categories: N of the data set.
        own_categories: whether they are those that the model answers.
    """
    maps = [
        None if given is None else fit_linear_map(given, train.labels)
        for given in (train.features, train.activations)
    ]
    iou = [
        None if fitted is None else _iou(val.labels, fitted.answers(asked), num_categories)
        for fitted, asked in zip(maps, (val.features, val.activations), strict=True)
    ]
    own = _iou(val.labels, val.answers, num_categories) if own_categories else None
    return ProbeResult(own, *iou, maps[1])


@torch.inference_mode()
def probe_images(
    model: PropertySegmentor,
    inputs: Iterable[dict[str, Any]],
    fitted: LinearMap,
    num_categories: int,
    ignore_label: int,
) -> SemSegMetrics:
    """Evaluates a probe of the property activations on whole images, as a decoder is evaluated.

    Args:
        inputs: as for `sample_pixels`.
    """
    weight = torch.from_numpy(fitted.weight).float().to(model.device)
    bias = torch.from_numpy(fitted.bias).float().to(model.device)[:, None, None]
    space = model.property_space

    def scores(logits: Tensor) -> Tensor:
        return torch.einsum("nk,bkhw->bnhw", weight, space.activations(logits)) + bias

    confusion = np.zeros((num_categories, num_categories), dtype=np.int64)
    for one in inputs:
        label = one["sem_seg"].numpy()
        maps = model.predict_logits(one["image"]).map_values(scores)
        answers = fitted.categories[category_labels(maps, label.shape)[0].cpu().numpy()]
        confusion += confusion_matrix(answers, label, num_categories, ignore_label)
    return SemSegMetrics(confusion)


def _iou(labels: Sequence[int], answers: Sequence[int], num_categories: int) -> np.ndarray:
    matrix = np.zeros((num_categories, num_categories))
    np.add.at(matrix, (labels, answers), 1)
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    with np.errstate(invalid="ignore"):
        return 100 * matrix.diagonal() / union
