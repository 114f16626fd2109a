"""Calibrated stacking: an offset for every new category, chosen without a pixel of any.

Training teaches a network to answer as one of its categories, so that these win nearly everywhere
when new ones are asked for, too. Calibrated stacking (Chao et al., ECCV 2016) takes a constant off
the scores of the trained categories. Here every new category has a constant of its own, which is
added to its scores: signatures and sentences lie at different distances from what the network
answers. It is the largest that costs the trained categories no more than their share of a given
number of points of mIoU, on images of the training.

Shapes: P pixels, N categories, of which S are trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from prolab_d2.errors import ProLabError
from prolab_d2.evaluation.low_resolution import category_places, dataset_categories, read_logits
from prolab_d2.evaluation.property_metrics import sample_at_cell_centres
from prolab_d2.evaluation.sem_seg_metrics import SemSegMetrics, confusion_matrix
from prolab_d2.modeling.inference import low_resolution_maps
from prolab_d2.predictor import Predictor

__all__ = [
    "COST",
    "IMAGES",
    "Stacking",
    "area_under_curve",
    "choose_offsets",
    "choose_stacking",
    "seen_unseen_area",
]

# What the new categories may cost the trained ones: points of mIoU.
COST = 1.0
IMAGES = 100
# Scores that are kept; with more, fewer pixels of every image.
_MOST_SCORES = 2**26
_CHUNK = 4096
# Points of the curve of seen and unseen mIoU.
_POINTS = 1000
_IGNORED = -1


@dataclass(frozen=True)
class Stacking:
    """Offsets of the new categories, and what they were chosen on.

    Attributes:
        offsets: by name of a new category, in the unit of the network's scores.
        cost: what was allowed, in points of mIoU.
        data_sets: their images are those of the training.
        images, pixels: how many; only pixels of trained categories count.
        trained_alone: mIoU of the trained categories on them in percent, without new ones.
        trained_with_new: with all of these and their offsets.
    """

    offsets: dict[str, float]
    cost: float
    data_sets: tuple[str, ...]
    images: int
    pixels: int
    trained_alone: float
    trained_with_new: float

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def for_categories(self, names: Sequence[str]) -> np.ndarray:
        """(N,) float32: as `LabelSpace.with_category_offsets` takes them."""
        return np.array([self.offsets.get(name, 0.0) for name in names], dtype=np.float32)

    def describe(self) -> str:
        """Two readable lines."""
        offsets = ", ".join(f"{name} {value:+.3f}" for name, value in self.offsets.items())
        return (
            f"offsets of the new categories: {offsets}\n"
            f"chosen on {self.images} images of {', '.join(self.data_sets)}, where the trained "
            f"categories have {self.trained_with_new:.1f} mIoU with them and "
            f"{self.trained_alone:.1f} alone"
        )


def choose_stacking(
    predictor: Predictor,
    trained_as: Sequence[str | None],
    data_sets: Sequence[str],
    cost: float = COST,
    images: int = IMAGES,
) -> Stacking:
    """The offsets of a predictor's new categories, chosen on images of its training.

    Args:
        predictor: knows N categories, trained and new ones.
        trained_as: the trained category that each of them is, None for a new one.
        data_sets: registered names, with masks. Their pixels of other categories than the trained
            ones, such as the new ones, are not used.
        cost: see `choose_offsets`.
        images: how many, evenly spaced, of all data sets together.
    Raises:
        ProLabError: there is no new category, none that was trained, or no pixel of those.
    """
    trained = np.array([name is not None for name in trained_as])
    if trained.all() or not trained.any():
        raise ProLabError(
            "calibrated stacking weighs new categories against trained ones, and "
            f"{'there are no new ones' if trained.all() else 'none of these was trained'}: do "
            "without it"
        )
    predictor = predictor.with_category_offsets(None)
    parts = list(_sampled(predictor, trained_as, data_sets, images))
    scores, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    if not len(labels):
        raise ProLabError(
            f"no pixel of {', '.join(data_sets)} has a trained category, on which the offsets of "
            "the new ones could be chosen: name the data set of the training"
        )
    offsets = choose_offsets(scores, labels, trained, cost)
    alone, _ = _best(scores, np.flatnonzero(trained))
    names = predictor.label_space.categories
    return Stacking(
        {names[j]: float(offsets[j]) for j in np.flatnonzero(~trained)},
        cost,
        tuple(data_sets),
        len(parts),
        len(labels),
        100 * _mean_iou(alone, labels, len(names)),
        100 * _mean_iou((scores + offsets).argmax(1), labels, len(names)),
    )


def _sampled(
    predictor: Predictor, categories: Sequence[str | None], data_sets: Sequence[str], images: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scores (P, N) and labels (P,) of every image, for pixels of some categories.

    Args:
        categories: what the data sets call the N categories; None for one not to look at.
    """
    place = {name: j for j, name in enumerate(categories) if name is not None}
    budget = max(_MOST_SCORES // (len(categories) * images), 1)
    for data_set in data_sets:
        columns = category_places(dataset_categories(data_set), tuple(place))
        columns = np.append(columns, _IGNORED)
        columns = np.append(np.array(list(place.values())), _IGNORED)[columns]
        number = -(-images // len(data_sets))
        for _, logits, mask in read_logits(predictor, data_set, number):
            if mask is None:
                raise ProLabError(
                    f"data set {data_set} has images without a mask: name another one"
                )
            with torch.inference_mode():
                scores = low_resolution_maps(predictor.model.score_maps(logits))[0]
            labels = columns[sample_at_cell_centres(mask, tuple(scores.shape[-2:]))].ravel()
            used = np.flatnonzero(labels != _IGNORED)
            used = used[:: max(-(-len(used) // budget), 1)]
            yield scores.flatten(1).T[torch.from_numpy(used)].cpu().numpy(), labels[used]


def choose_offsets(
    scores: np.ndarray, labels: np.ndarray, trained: np.ndarray, cost: float = COST
) -> np.ndarray:
    """Calibrated stacking with an offset for every new category.

    Args:
        scores: (P, N).
        labels: (P,) the true category of every pixel, a trained one.
        trained: (N,) bool.
        cost: points by which the mIoU of the trained categories may fall; each new category may
            cost an equal part of them when it alone competes with the trained ones.
    Returns:
        (N,) float64, 0 for trained categories.
    """
    offsets = np.zeros(len(trained))
    answers, best = _best(scores, np.flatnonzero(trained))
    share = cost / 100 / max((~trained).sum(), 1)
    for j in np.flatnonzero(~trained):
        offsets[j] = _largest_offset(best - scores[:, j], answers, labels, len(trained), share)
    return offsets


def _largest_offset(
    leads: np.ndarray, answers: np.ndarray, labels: np.ndarray, num_categories: int, cost: float
) -> float:
    """The offset of one new category.

    Args:
        leads: (P,) how far the best trained category is ahead of it.
        answers, labels: (P,) that category and the true one.
        cost: as a fraction of 1.
    """
    order = np.argsort(leads, kind="stable")
    counts = [np.bincount(ids, minlength=num_categories) for ids in (labels, answers)]
    hits = np.bincount(labels[answers == labels], minlength=num_categories)
    counted = counts[0] > 0
    labelled, predicted, hits = (count[counted] for count in (*counts, hits))
    least = (hits / (labelled + predicted - hits)).mean() - cost
    number = np.cumsum(counted) - 1  # of a category among those that count
    for start in range(0, len(order), _CHUNK):
        # Pixels go to the new category one after the other, the least certain first.
        pixels = order[start : start + _CHUNK]
        gone = np.zeros((len(pixels), len(labelled)), dtype=np.int64)
        known = np.flatnonzero(counted[answers[pixels]])
        gone[known, number[answers[pixels[known]]]] = 1
        lost = gone * (answers[pixels] == labels[pixels])[:, None]
        predicted_after, hits_after = predicted - gone.cumsum(0), hits - lost.cumsum(0)
        iou = hits_after / (labelled + predicted_after - hits_after)
        too_much = iou.mean(axis=1) < least - 1e-9
        if too_much.any():
            return float(leads[pixels[too_much.argmax()]])
        predicted, hits = predicted_after[-1], hits_after[-1]
    return float(leads[order[-1]])


def seen_unseen_area(
    predictor: Predictor, seen: Sequence[bool], data_set: str, images: int = IMAGES
) -> float:
    """`area_under_curve` on a data set of all categories, in percent.

    Args:
        predictor: knows the N categories of the data set, with offsets or without.
        seen: (N,) whether they were trained.
        images: how many, evenly spaced.
    """
    names = predictor.label_space.categories
    parts = list(_sampled(predictor, names, [data_set], images))
    scores, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    return 100 * area_under_curve(scores, labels, np.asarray(seen, dtype=bool))


def area_under_curve(scores: np.ndarray, labels: np.ndarray, seen: np.ndarray) -> float:
    """The area under the curve of mIoU of unseen over that of seen categories (AUSUC).

    Its points come from adding every possible constant to the scores of the unseen ones (Chao et
    al., 2016, with accuracies); at every mIoU of the seen the best point that reaches it counts.

    Args:
        scores: (P, N).
        labels: (P,) in [0, N).
        seen: (N,) bool.
    Returns:
        From 0 to 1; NaN without pixels of seen and of unseen categories.
    """
    n = len(seen)
    (first, best), (second, best_unseen) = (
        _best(scores, np.flatnonzero(group)) for group in (seen, ~seen)
    )
    labelled = np.bincount(labels, minlength=n)
    groups = [group & (labelled > 0) for group in (seen, ~seen)]
    if not all(group.any() for group in groups):
        return float("nan")

    def right(pixels: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return np.bincount(labels[pixels][answers[pixels] == labels[pixels]], minlength=n)

    order = np.argsort(best - best_unseen, kind="stable")
    predicted, hits = np.bincount(first, minlength=n), right(order, first)
    curve = []
    for pixels in (order[:0], *np.array_split(order, _POINTS)):
        predicted = predicted - np.bincount(first[pixels], minlength=n)
        predicted += np.bincount(second[pixels], minlength=n)
        hits = hits - right(pixels, first) + right(pixels, second)
        curve.append(
            [(hits / np.maximum(labelled + predicted - hits, 1))[g].mean() for g in groups]
        )
    x, y = np.array(sorted(curve)).T
    at_least = np.maximum.accumulate(y[::-1])[::-1]
    return float((np.diff(x, prepend=0.0) * at_least).sum())


def _best(scores: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P,) best category among `columns`, and its score."""
    answers = columns[scores[:, columns].argmax(1)]
    return answers, scores[np.arange(len(scores)), answers]


def _mean_iou(answers: np.ndarray, labels: np.ndarray, num_categories: int) -> float:
    return SemSegMetrics(confusion_matrix(answers, labels, num_categories, _IGNORED)).mean_iou
