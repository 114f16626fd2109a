"""Training targets of the property supervision, as a mask and the table that it indexes.

Shapes: K properties, N categories, H x W image size.

A pixel is supervised by the multi-hot property row of its category (paper, section 3.2). A dense
target would take K x H x W floats per image; the mask and one shared (N, K) table say the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from prolab_d2.errors import ProLabError

__all__ = ["PropertyTargets", "make_property_targets"]


@dataclass(frozen=True, eq=False)
class PropertyTargets:
    """Property targets of one image in compact form; made by `make_property_targets`.

    Attributes:
        mask: (H, W) int64, category ids in [0, N) or `ignore_label`.
        signatures: (N, K) bool, one table shared by all images.
        ignore_label: the id of pixels without a label, outside [0, N).
    """

    mask: Tensor
    signatures: Tensor
    ignore_label: int

    @property
    def valid(self) -> Tensor:
        """(H, W) bool: pixels that carry a label."""
        return self.mask != self.ignore_label

    def multi_hot(self) -> Tensor:
        """The paper's dense form, (K, H, W) float32 in {0, 1}; all zero at unlabelled pixels."""
        categories, properties = self.signatures.shape
        columns = torch.zeros(properties, categories + 1, device=self.mask.device)
        columns[:, :categories] = self.signatures.t()
        return columns[:, self.mask.masked_fill(~self.valid, categories)]

    def to(self, device: torch.device | str) -> PropertyTargets:
        return PropertyTargets(self.mask.to(device), self.signatures.to(device), self.ignore_label)


def make_property_targets(
    mask: Tensor | np.ndarray, signatures: Tensor | np.ndarray, ignore_label: int
) -> PropertyTargets:
    """Checks a mask of category ids and pairs it with the signatures that its ids select.

    Args:
        mask: (H, W), any integer type; an int64 mask is used as it is, without a copy.
        signatures: (N, K) bool; used as it is, without a copy.
        ignore_label: the id of pixels without a label, outside [0, N).

    Raises:
        ProLabError: wrong shape or type, `ignore_label` inside [0, N), or an id outside [0, N).
    """
    signatures = torch.as_tensor(signatures)
    if signatures.ndim != 2 or signatures.dtype != torch.bool:
        raise ProLabError(
            f"signatures of shape {tuple(signatures.shape)} and type {signatures.dtype}, property "
            "targets: give an (N, K) bool tensor"
        )
    # NumPy compares 8-bit ids ten times as fast as torch, which also wraps what they meet.
    ids = mask.cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if ids.ndim != 2 or ids.dtype.kind not in "biu":
        raise ProLabError(
            f"mask of shape {ids.shape} and type {ids.dtype}, property targets: give an "
            "(H, W) integer tensor of category ids"
        )
    categories = signatures.shape[0]
    if 0 <= ignore_label < categories:
        raise ProLabError(
            f"ignore_label {ignore_label} is also the id of a category, property targets: choose "
            f"a value outside 0..{categories - 1}"
        )
    unknown = ids >= categories
    if ids.dtype.kind == "i":
        unknown |= ids < 0
    unknown &= ids != ignore_label
    if unknown.any():
        raise ProLabError(
            f"label id {ids[unknown][0]} in a mask for {categories} categories, property "
            f"targets: ids are 0..{categories - 1} and {ignore_label} for unlabelled"
        )
    if not isinstance(mask, Tensor):
        mask = torch.from_numpy(np.ascontiguousarray(ids, dtype=np.int64))
    return PropertyTargets(mask.to(torch.int64), signatures, ignore_label)
