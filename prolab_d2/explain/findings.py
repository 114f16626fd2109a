"""What there is to say about one image: every category found in it, explained and contrasted.

Shapes: K properties, N categories, H x W image size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prolab_d2.explain.changes import Changes, find_changes
from prolab_d2.explain.contrast import Contrast, contrast_categories
from prolab_d2.explain.evidence import Explanation, explain_pixel
from prolab_d2.label_space import LabelSpace

__all__ = ["Finding", "doubtful_first", "find_categories"]


@dataclass(frozen=True)
class Finding:
    """One category in one image: means over all of its pixels."""

    category_index: int
    area: float  # share of the image, in (0, 1]
    explanation: Explanation
    contrast: Contrast | None  # with the best other category; None where there is no other
    changes: Changes | None  # to that other category


def find_categories(
    labels: np.ndarray,
    category_activations: np.ndarray,
    label_space: LabelSpace,
    *,
    least_area: float = 0.0,
    most: int | None = None,
    top: int = 8,
) -> list[Finding]:
    """The categories of an image, those with the largest area first.

    Args:
        labels: (H, W) indices of categories, below 0 where there is none.
        category_activations: (N, K) mean unit activations of the pixels of every category.
        least_area: categories below this share of the image are left out, but never all.
        most: how many categories at most.
        top: unexpected properties and other categories in each explanation.
    """
    counts = np.bincount(labels[labels >= 0], minlength=label_space.num_categories)
    order = [j for j in np.argsort(-counts, kind="stable").tolist() if counts[j]]
    kept = [j for j in order if counts[j] >= least_area * labels.size] or order[:1]
    findings = []
    for j in kept[:most]:
        u = category_activations[j]
        contrast = changes = None
        if label_space.num_categories > 1:
            contrast = contrast_categories(u, label_space, j)
            changes = find_changes(u, label_space, contrast.other_index)
        explanation = explain_pixel(u, label_space, j, top)
        findings.append(Finding(j, counts[j] / labels.size, explanation, contrast, changes))
    return findings


def doubtful_first(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that can be compared, those first whose score is least ahead of another one."""
    compared = [finding for finding in findings if finding.contrast is not None]
    return sorted(
        compared, key=lambda finding: finding.contrast.difference + finding.contrast.offset
    )
