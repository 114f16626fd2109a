"""Property maths: logits, activations, category scores and losses.

The one place that knows banks, sigmoid and cosine. Everything from the features on is computed in
float32 with autocast off (float64 stays float64): with a temperature of 0.04, logits rounded to
bfloat16 would be off by 0.4.

Shapes: B batch, C feature channels, D embedding, K properties, N categories, h x w feature size,
H x W image size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prolab_d2.errors import ProLabError
from prolab_d2.modeling.feature_products import logits_and_products
from prolab_d2.modeling.feature_scores import FeatureScorer
from prolab_d2.modeling.losses import LOSS_KINDS, LossOptions, banded_loss, target_members
from prolab_d2.modeling.neighbour_products import neighbour_products
from prolab_d2.modeling.ranks import mean_over_ranks
from prolab_d2.modeling.resized_length import squared_length_rows

if TYPE_CHECKING:
    from prolab_d2.label_space import LabelSpace

__all__ = ["PropertySpace"]

SIMILARITIES = ("cosine_sigmoid", "cosine")
UNLABELLED = ("ignore", "count")
_EPS = 1e-12
# Logits whose scores are computed at a time: bounds the memory of the steps in between.
_SCORE_ENTRIES = 2**22


class PropertySpace(nn.Module):
    """Turns pixel embeddings into property activations and category scores (paper, section 3.3)."""

    def __init__(
        self,
        bank: np.ndarray | Tensor,
        signatures: np.ndarray | Tensor,
        similarity: str = "cosine_sigmoid",
        temperature: float = 0.04,
        normalize_embedding: bool = False,
        property_weights: np.ndarray | Tensor | None = None,
    ) -> None:
        """
        Args:
            bank: (K, D), one embedding per property; the rows are divided by their length here.
            signatures: (N, K) of 0 and 1, the properties of every category.
            similarity: "cosine_sigmoid" compares sigmoid(logits / temperature) with the
                signatures, "cosine" the logits themselves (temperature unused).
            temperature: above 0.
            normalize_embedding: divide every pixel embedding by its length first.
            property_weights: (K,), from 0, what activations and signatures are multiplied with
                before they are compared; None for 1 each. The loss does without.
        Raises:
            ProLabError: shapes do not fit, values are not finite, or an option is unknown.
        """
        super().__init__()
        bank = _copy(bank, torch.float32)
        signatures = _copy(signatures, torch.bool)
        if bank.ndim != 2 or signatures.ndim != 2 or bank.shape[0] != signatures.shape[1]:
            raise ProLabError(
                f"bank {tuple(bank.shape)} and signatures {tuple(signatures.shape)} do not belong "
                "together: give (K, D) and (N, K) with the same number K of properties"
            )
        if not bank.isfinite().all():
            raise ProLabError("the property bank has values that are not finite: build it again")
        _one_of("similarity", similarity, SIMILARITIES)
        if not temperature > 0:
            raise ProLabError(f"temperature is {temperature}: give a number above 0")
        self.similarity = similarity
        self.temperature = float(temperature)
        self.normalize_embedding = bool(normalize_embedding)
        # Constants that come with the label space, so no checkpoint needs to hold them as weights.
        self.register_buffer("bank", F.normalize(bank, dim=1, eps=_EPS), persistent=False)
        self.register_buffer("signatures", signatures, persistent=False)
        if property_weights is not None:
            property_weights = _copy(property_weights, torch.float32)
        self.register_buffer("property_weights", property_weights, persistent=False)
        self.register_buffer("unit_signatures", self._unit_signatures(), persistent=False)
        # (N, K): times unit activations they give the scores.
        self.register_buffer("category_weights", self._category_weights(), persistent=False)
        self.register_buffer("members", target_members(signatures), persistent=False)

    @classmethod
    def of_label_space(cls, label_space: LabelSpace, **options: Any) -> PropertySpace:
        """With bank, signatures and property weights of a label space; `options` as above."""
        return cls(
            label_space.bank,
            label_space.signatures,
            property_weights=label_space.property_weights,
            **options,
        )

    @property
    def num_properties(self) -> int:
        return self.bank.shape[0]

    @property
    def embedding_dim(self) -> int:
        return self.bank.shape[1]

    @property
    def num_categories(self) -> int:
        return self.signatures.shape[0]

    def extra_repr(self) -> str:
        return (
            f"categories={self.num_categories}, properties={self.num_properties}, "
            f"embedding_dim={self.embedding_dim}, similarity={self.similarity!r}, "
            f"temperature={self.temperature}, normalize_embedding={self.normalize_embedding}"
        )

    def logits(self, embedding: Tensor) -> Tensor:
        """(B, D, h, w) pixel embeddings -> (B, K, h, w), their products with the bank."""
        with _full_precision(embedding):
            embedding = _widen(embedding)
            logits = _conv1x1(embedding, self.bank.to(embedding.dtype))
            if self.normalize_embedding:
                # The length divides K products instead of D components.
                logits = logits / _length(embedding)
            return logits

    def activations(self, logits: Tensor) -> Tensor:
        """(B, K, h, w): sigmoid(logits / temperature), or the logits themselves for "cosine"."""
        with _full_precision(logits):
            logits = _widen(logits)
            if self.similarity == "cosine":
                return logits
            return torch.sigmoid(logits / self.temperature)

    def unit_activations(self, logits: Tensor) -> Tensor:
        """(B, K, h, w): the activations of every pixel divided by their length.

        With property weights by the length of the weighted activations: activations of one pixel
        keep their proportions, the weights are in `category_weights`.
        """
        activations = self.activations(logits)
        with _full_precision(logits):
            weighted = activations
            if self.property_weights is not None:
                weighted = activations * self.property_weights.to(activations.dtype)[:, None, None]
            return activations / _length(weighted)

    def scores_from_unit(self, unit_activations: Tensor) -> Tensor:
        """(B, K, h, w) from `unit_activations` -> (B, N, h, w), times `category_weights`."""
        with _full_precision(unit_activations):
            unit_activations = _widen(unit_activations)
            return _conv1x1(
                unit_activations,
                _as_exact(self.category_weights, self._category_weights, unit_activations.dtype),
            )

    def category_scores(self, logits: Tensor) -> Tensor:
        """Cosine similarity of every pixel's activations to every signature, both weighted.

        Args:
            logits: (B, K, h, w), unbounded.
        Returns:
            (B, N, h, w) in [0, 1] for "cosine_sigmoid", [-1, 1] for "cosine".
        """
        row_entries = logits[:, :, :1].numel()
        rows = max(1, _SCORE_ENTRIES // max(1, row_entries))
        bands = logits.split(rows, dim=2)
        return torch.cat([self.scores_from_unit(self.unit_activations(x)) for x in bands], dim=2)

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """One 1x1 convolution for projection and bank, differentiable in `weight` and `bias`.

        Args:
            weight: (D, C, 1, 1), the projection to the pixel embedding.
            bias: (D,) or None.
        Returns:
            Weight (K, C, 1, 1) and bias (K,) that give the logits (without `normalize_embedding`).
        """
        with _full_precision(weight):
            weight = _widen(weight)
            bank = self.bank.to(weight.dtype)
            folded = (bank @ weight.flatten(1))[:, :, None, None]
            if bias is None:
                return folded, bank.new_zeros(len(bank))
            return folded, bank @ bias.to(weight.dtype)

    def logits_from_features(self, features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """`logits` of the projected features (B, C, h, w), without an embedding if possible."""
        with _full_precision(features):
            features = _widen(features)
            if self.normalize_embedding:
                return self.logits(_project(features, weight, bias))
            return _project(features, *self.fold(weight, bias))

    def scorer(self, weight: Tensor, bias: Tensor | None) -> FeatureScorer:
        """`category_scores` of projected features, not for training. Nothing of K channels is kept.

        To be made while nothing waits for it: what is the same for all pixels is computed here.

        Args:
            weight, bias: of the projection, as for `fold`.
        Returns:
            A function of features (B, C, h, w) that gives scores (B, N, h, w), channels last in
            memory, in the type of `weight` but float32 at least.
        """
        with _full_precision(weight):
            weight = _widen(weight.flatten(1))
            sigmoid = self.similarity == "cosine_sigmoid"
            return FeatureScorer(
                self.bank.to(weight.dtype),
                self.signatures,
                weight,
                None if bias is None else bias.to(weight.dtype),
                temperature=self.temperature if sigmoid else 1.0,
                sigmoid=sigmoid,
                normalize_embedding=self.normalize_embedding,
                property_weights=self.property_weights,
                category_weights=_as_exact(
                    self.category_weights, self._category_weights, weight.dtype
                ),
            )

    def loss_from_features(
        self,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        kind: str = "cosine",
        unlabelled: str = "ignore",
        ignore_label: int = 255,
    ) -> Tensor:
        """`loss` of the projected features (B, C, h, w), without an embedding."""
        with _full_precision(features):
            features = _widen(features)
            if self.normalize_embedding:
                dtype = features.dtype
                weight = weight.flatten(1).to(dtype)
                bias = None if bias is None else bias.to(dtype)
                logits, products = logits_and_products(features, weight, bias, self.bank.to(dtype))
            else:
                logits, products = _project(features, *self.fold(weight, bias)), None
            return self._loss(logits, products, labels, kind, unlabelled, ignore_label)

    def loss(
        self,
        embedding: Tensor,
        labels: Tensor,
        kind: str = "cosine",
        unlabelled: str = "ignore",
        ignore_label: int = 255,
    ) -> Tensor:
        """How far the activations at the size of the labels are from the signatures.

        The numbers are those of: resize the embedding bilinearly to the labels, normalise it if
        asked to, multiply with the bank, activate, compare. Nothing is computed in that order.
        As there, with `normalize_embedding` a pixel whose embedding is exactly zero divides by
        1e-12: its gradient is finite, but 1e12 times that of an embedding of length 1.

        Args:
            embedding: (B, D, h, w).
            labels: (B, H, W) integers in [0, N) or `ignore_label`.
            kind: "cosine" (1 - cosine similarity, mean over pixels), "bce" or "mse" (mean over
                pixels and properties).
            unlabelled: "ignore" leaves pixels without a label out of sum and count; "count" gives
                them an all-zero target, as the published training does.
            ignore_label: label of the pixels without a label, outside [0, N).
        Returns:
            Scalar. 0 with a gradient of zero when "ignore" leaves no pixel.
        Raises:
            ProLabError: a label or option is none of the above, or "bce" meets "cosine"
                similarity, whose activations are no probabilities.
        """
        with _full_precision(embedding):
            embedding = _widen(embedding)
            logits = _conv1x1(embedding, self.bank.to(embedding.dtype))
            products = neighbour_products(embedding) if self.normalize_embedding else None
            return self._loss(logits, products, labels, kind, unlabelled, ignore_label)

    def _loss(
        self,
        logits: Tensor,
        products: Tensor | None,
        labels: Tensor,
        kind: str,
        unlabelled: str,
        ignore_label: int,
    ) -> Tensor:
        _one_of("loss", kind, LOSS_KINDS)
        _one_of("unlabelled", unlabelled, UNLABELLED)
        sigmoid = self.similarity == "cosine_sigmoid"
        if kind == "bce" and not sigmoid:
            raise ProLabError(
                "the loss 'bce' needs activations in [0, 1], which the similarity 'cosine' does "
                "not give: use the similarity 'cosine_sigmoid', or the loss 'cosine' or 'mse'"
            )
        if labels.ndim != 3 or len(labels) != len(logits):
            raise ProLabError(
                f"labels {tuple(labels.shape)} do not fit {len(logits)} images: give (B, H, W)"
            )
        rows, pixels = self._rows(labels, ignore_label, unlabelled == "count")
        cosine = kind == "cosine"
        entries = 1 if cosine else self.num_properties
        denominator = mean_over_ranks(pixels.to(logits.dtype), logits.requires_grad)
        denominator = torch.where(denominator > 0, denominator, 1) * entries
        dtype = logits.dtype
        targets = (
            _as_exact(self.unit_signatures, self._unit_signatures, dtype)
            if cosine
            else self.signatures.to(dtype)
        )
        options = LossOptions(
            kind, self.temperature if sigmoid else None, count_unlabelled=unlabelled == "count"
        )
        lengths = None if products is None else squared_length_rows(products, labels.shape[-1])
        loss = banded_loss(logits, rows, targets, options, denominator, lengths, self.members)
        return loss + pixels / denominator if cosine else loss

    def _unit_signatures(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """(N, K) signatures over their length."""
        return F.normalize(self.signatures.to(dtype), dim=1, eps=_EPS)

    def _category_weights(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """(N, K) weighted signatures over their length, times the weights of the activations."""
        if self.property_weights is None:
            return self._unit_signatures(dtype)
        weights = self.property_weights.to(dtype)
        return F.normalize(self.signatures * weights, dim=1, eps=_EPS) * weights

    def _rows(self, labels: Tensor, ignore_label: int, count: bool) -> tuple[Tensor, Tensor]:
        """Row of the signature table of every pixel, N if unlabelled; number of pixels to count."""
        categories = self.num_categories
        if 0 <= ignore_label < categories:
            raise ProLabError(
                f"ignore_label {ignore_label} is the id of one of the {categories} categories: "
                "take the ignore_label of the data set, such as 255 or, for 16-bit masks, 65535"
            )
        labels = labels.long()
        unlabelled = labels == ignore_label
        low, high = torch.aminmax(labels.masked_fill(unlabelled, 0))
        if labels.is_cuda:
            # Reading them would wait for the GPU in every step, so there it is a device-side
            # assertion; the data-set mapper has told which file is wrong long before.
            torch._assert_async((low >= 0) & (high < categories), "a label is no category")
        elif low < 0 or high >= categories:
            wrong = int(low if low < 0 else high)
            raise ProLabError(
                f"label {wrong} is neither in [0, {categories}) nor the ignore_label "
                f"{ignore_label}: correct the mask, the ignore_label or the label space"
            )
        pixels = labels.new_tensor(labels.numel()) if count else (~unlabelled).sum()
        return labels.masked_fill(unlabelled, categories), pixels


def _copy(values: np.ndarray | Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor of its own: the arrays of a label space are read-only."""
    if not isinstance(values, Tensor):
        values = torch.from_numpy(np.array(values))
    return values.detach().to(dtype, copy=True)


def _as_exact(table: Tensor, make: Callable[[torch.dtype], Tensor], dtype: torch.dtype) -> Tensor:
    """The table in a type, as exact as that can hold: made anew where it was kept in another."""
    return table if table.dtype == dtype else make(dtype)


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ProLabError(f"{what} is {value!r}: use one of {list(allowed)}")


@contextmanager
def _full_precision(x: Tensor) -> Iterator[None]:
    with torch.autocast(x.device.type, enabled=False):
        yield


def _widen(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _length(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(_EPS)


def _project(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    bias = None if bias is None else bias.to(features.dtype)
    return _conv1x1(features, weight.flatten(1).to(features.dtype), bias)


def _conv1x1(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """1x1 convolution (B, C, h, w) -> (B, O, h, w) as a matrix product with weight (O, C).

    Not `F.conv2d`: on recent GPUs convolutions, unlike matrix products, round their inputs to
    TF32 unless told otherwise.
    """
    return F.linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)
