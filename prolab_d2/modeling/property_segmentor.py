"""The meta-architecture: backbone, decode head, projection, property space.

Shapes: B batch, C feature channels, D embedding, K properties, N categories, h x w feature size
(stride 4), H x W image size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.backbone import Backbone
from detectron2.structures import ImageList
from torch import Tensor, nn

from prolab_d2.data.datasets.categories import BACKGROUND
from prolab_d2.data.reading import default_ignore_label
from prolab_d2.errors import ProLabError
from prolab_d2.label_space import LabelSpace
from prolab_d2.label_space.property_weights import read_property_weights
from prolab_d2.modeling import other_categories
from prolab_d2.modeling.augmented_inference import (
    View,
    augmented_labels,
    augmented_probabilities,
)
from prolab_d2.modeling.decode_heads import DecodeHead, build_decode_head
from prolab_d2.modeling.inference import (
    Forward,
    Maps,
    WindowOptions,
    category_labels,
    category_score_maps,
    low_resolution_maps,
    predict_maps,
)
from prolab_d2.modeling.losses import LOSS_KINDS
from prolab_d2.modeling.property_space import UNLABELLED, PropertySpace
from prolab_d2.modeling.ranks import mean_over_ranks
from prolab_d2.modeling.text_space import TextSpace

__all__ = ["PropertySegmentor"]

SUPERVISIONS = ("property", "category", "text")
OUTPUTS = ("labels", "scores")


@META_ARCH_REGISTRY.register()
class PropertySegmentor(nn.Module):
    """Semantic segmentation by property activations (ProLab, section 3), or one of two baselines.

    With `supervision="property"` a 1x1 projection turns the features of the decode head into pixel
    embeddings and the `PropertySpace` turns these into activations, scores and a loss. With
    `supervision="category"` the same projection gives N logits and the loss is cross-entropy. With
    `supervision="text"` the `TextSpace` turns pixel embeddings into N logits, with the same loss.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        decode_head: DecodeHead,
        label_space: LabelSpace,
        property_space: PropertySpace,
        text_temperature: float = 0.07,
        aux_head: DecodeHead | None = None,
        supervision: str = "property",
        loss: str = "cosine",
        unlabelled: str = "ignore",
        ignore_label: int = 255,
        loss_weight: float = 1.0,
        aux_loss_weight: float = 0.4,
        dropout: float = 0.1,
        pixel_mean: Sequence[float] = (0.0, 0.0, 0.0),
        pixel_std: Sequence[float] = (1.0, 1.0, 1.0),
        window: WindowOptions | None = None,
        output: str = "labels",
        background_threshold: float = 0.0,
        category_warmup: bool = False,
    ) -> None:
        """
        Args:
            backbone: gives the features that the heads read.
            decode_head: gives features (B, C, h, w).
            label_space: names; the numbers come from `property_space`.
            aux_head: a second head with a loss of its own; it takes no part in inference.
            text_temperature: divides the cosine similarities (text supervision).
            supervision: "property", "category" or "text".
            loss: "cosine", "bce" or "mse" (property supervision).
            unlabelled: "ignore" or "count" (property supervision).
            ignore_label: id of pixels without a label, outside [0, N).
            dropout: probability that a feature channel is dropped before the projection.
            pixel_mean, pixel_std: per channel, in the units (0 to 255) and order of the input.
            window: sliding windows at inference; the whole image at once without.
            output: "labels" or "scores", see `forward`.
            background_threshold: above 0, answers have a background category in front of those of
                the label space; it wins where no category has at least half this probability.
            category_warmup: have projections to category logits besides those to embeddings
                (property supervision); `in_category_warmup` says which of them learn.
        Raises:
            ProLabError: an option is none of its values, or text supervision meets a label space
                without embeddings of its sentences.
        """
        super().__init__()
        for key, value, allowed in (
            ("MODEL.PROLAB.SUPERVISION", supervision, SUPERVISIONS),
            ("MODEL.PROLAB.LOSS", loss, LOSS_KINDS),
            ("MODEL.PROLAB.UNLABELLED", unlabelled, UNLABELLED),
            ("TEST.OUTPUT", output, OUTPUTS),
        ):
            if value not in allowed:
                raise ProLabError(f"{key} is {value!r}: use one of {list(allowed)}")
        self.backbone = backbone
        self.decode_head = decode_head
        self.aux_head = aux_head
        self.label_space = label_space
        self.property_space = property_space
        self.supervision = supervision
        self.loss_options = {"kind": loss, "unlabelled": unlabelled}
        self.ignore_label = ignore_label
        self.loss_weight = loss_weight
        self.aux_loss_weight = aux_loss_weight
        self.window = window
        self.output = output
        self.background_threshold = background_threshold
        self.output_properties = False
        self.output_unit_activations = False

        self.text_space = None
        if supervision == "text":
            self.text_space = TextSpace(label_space.category_embeddings, text_temperature)
        one_hot = supervision == "category"
        width = label_space.num_categories if one_hot else label_space.embedding_dim
        self.dropout = nn.Dropout2d(dropout)
        self.projection = _projection(decode_head.out_channels, width)
        self.aux_projection = _projection(aux_head.out_channels, width) if aux_head else None
        self.has_category_warmup = category_warmup and self.has_properties
        self.in_category_warmup = False
        self.category_projection = self.aux_category_projection = None
        if self.has_category_warmup:
            num_categories = label_space.num_categories
            self.category_projection = _projection(decode_head.out_channels, num_categories)
            if aux_head:
                self.aux_category_projection = _projection(aux_head.out_channels, num_categories)
        self.register_buffer("pixel_mean", _per_channel(pixel_mean), persistent=False)
        self.register_buffer("pixel_std", _per_channel(pixel_std), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode, *, label_space: LabelSpace | None = None) -> dict[str, Any]:
        """`label_space` takes the place of the one that the config names."""
        prolab = cfg.MODEL.PROLAB
        label_space = label_space or LabelSpace.load(prolab.LABEL_SPACE)
        if prolab.PROPERTY_WEIGHTS:
            weights = read_property_weights(prolab.PROPERTY_WEIGHTS, label_space)
            label_space = label_space.with_property_weights(weights)
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        aux = cfg.MODEL.AUX_HEAD
        window = cfg.TEST.SLIDING_WINDOW
        return {
            "backbone": backbone,
            "decode_head": build_decode_head(cfg.MODEL.DECODE_HEAD, shapes),
            "aux_head": build_decode_head(aux, shapes) if aux.NAME else None,
            "label_space": label_space,
            "property_space": PropertySpace.of_label_space(
                label_space,
                similarity=prolab.SIMILARITY,
                temperature=prolab.TEMPERATURE,
                normalize_embedding=prolab.NORMALIZE_EMBEDDING,
            ),
            "text_temperature": prolab.TEXT_TEMPERATURE,
            "supervision": prolab.SUPERVISION,
            "loss": prolab.LOSS,
            "unlabelled": prolab.UNLABELLED,
            "ignore_label": _ignore_label(cfg, label_space),
            "loss_weight": prolab.LOSS_WEIGHT,
            "aux_loss_weight": aux.LOSS_WEIGHT,
            "dropout": prolab.DROPOUT,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "window": WindowOptions(
                tuple(window.CROP_SIZE), tuple(window.STRIDE), window.BATCH_SIZE
            )
            if window.ENABLED
            else None,
            "output": cfg.TEST.OUTPUT,
            "background_threshold": cfg.TEST.BACKGROUND_THRESHOLD,
            "category_warmup": prolab.CATEGORY_WARMUP_ITERS > 0,
        }

    def with_label_space(self, label_space: LabelSpace) -> PropertySegmentor:
        """The same network for other categories, see `other_categories.with_label_space`."""
        return other_categories.with_label_space(self, label_space)

    def with_category_offsets(self, offsets: Any) -> PropertySegmentor:
        """Adds numbers to the scores, see `other_categories.with_category_offsets`."""
        return other_categories.with_category_offsets(self, offsets)

    def with_convex_combination(self, label_space: LabelSpace) -> PropertySegmentor:
        """ConSE for one-hot networks, see `other_categories.with_convex_combination`."""
        return other_categories.with_convex_combination(self, label_space)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    @property
    def has_properties(self) -> bool:
        """Whether answers come from property activations; the baselines have category logits."""
        return self.supervision == "property"

    @property
    def categories(self) -> tuple[str, ...]:
        """What the ids of the answers mean: the label space's, after a background if any."""
        names = self.label_space.categories
        return (BACKGROUND, *names) if self.background_threshold > 0 else names

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """
        Args:
            batched_inputs: per image a dict with "image" (3, H, W) uint8 or float in the colour
                order of the config; in training also "sem_seg" (H, W) int64; at inference
                optionally "height" and "width", the size of the answer in pixels, and "views", a
                list of dicts with an "image" and "flip" (it is the mirror image): labels and
                scores then come from the mean probabilities of these views.
        Returns:
            In training {"loss_property", "loss_category" or "loss_text": scalar, "loss_aux":
            scalar}. Else per image a dict with "labels" (height, width) int64 or "sem_seg" (N,
            height, width) float32, scores, or probabilities with views; with a background (N + 1,
            height, width) probabilities, 0 is the background and category c is c + 1; on request
            "properties" (K, h, w), activations, and "unit_activations" (K, h, w), the activations
            over their length, both covering the resized image.
        """
        if self.training:
            return self._losses(batched_inputs)
        with torch.inference_mode():
            return [self._infer(one) for one in batched_inputs]

    def _normalise(self, image: Tensor) -> Tensor:
        return (image.to(self.device) - self.pixel_mean) / self.pixel_std

    def _batch(self, images: list[Tensor]) -> ImageList:
        """Stacks images, zero-padded at the bottom and right to what the backbone can divide."""
        stacked = ImageList.from_tensors(images, max(self.backbone.size_divisibility, 4))
        # Convolutions on CPU and on tensor cores are fastest in this memory format.
        stacked.tensor = stacked.tensor.contiguous(memory_format=torch.channels_last)
        return stacked

    def _losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        images = self._batch([self._normalise(one["image"]) for one in batched_inputs])
        labels = self._labels([one["sem_seg"] for one in batched_inputs], images.tensor.shape[-2:])
        features = self.backbone(images.tensor)
        kind = "category" if self.in_category_warmup else self.supervision
        losses = {
            f"loss_{kind}": self.loss_weight
            * self._head_loss(
                self.decode_head(features), self.projection, self.category_projection, labels
            )
        }
        if self.aux_head is not None:
            losses["loss_aux"] = self.aux_loss_weight * self._head_loss(
                self.aux_head(features), self.aux_projection, self.aux_category_projection, labels
            )
        return losses

    def _labels(self, masks: list[Tensor], size: tuple[int, int]) -> Tensor:
        """(B, H, W) int64 labels, `ignore_label` where the images are padded."""
        labels = masks[0].new_full((len(masks), *size), self.ignore_label)
        for label, mask in zip(labels, masks, strict=True):
            label[: mask.shape[0], : mask.shape[1]] = mask
        return labels.to(self.device)

    def _head_loss(
        self,
        features: Tensor,
        projection: nn.Conv2d,
        category_projection: nn.Conv2d | None,
        labels: Tensor,
    ) -> Tensor:
        features = self.dropout(features)
        if not self.has_properties:
            return self._category_loss(features, projection, labels)
        if self.in_category_warmup:
            loss, idle = self._category_loss(features, category_projection, labels), projection
        else:
            loss, idle = self._property_loss(features, projection, labels), category_projection
        if idle is not None:
            # Distributed training needs a gradient for every parameter, in every step.
            loss = loss + 0 * sum(parameter.sum() for parameter in idle.parameters())
        return loss

    def _property_loss(self, features: Tensor, projection: nn.Conv2d, labels: Tensor) -> Tensor:
        return self.property_space.loss_from_features(
            features,
            projection.weight,
            projection.bias,
            labels,
            ignore_label=self.ignore_label,
            **self.loss_options,
        )

    def _category_loss(self, features: Tensor, projection: nn.Conv2d, labels: Tensor) -> Tensor:
        logits = F.interpolate(
            self._category_logits(features, projection),
            labels.shape[-2:],
            mode="bilinear",
            align_corners=False,
        )
        total = F.cross_entropy(logits, labels, ignore_index=self.ignore_label, reduction="sum")
        pixels = (labels != self.ignore_label).sum().to(total.dtype)
        pixels = mean_over_ranks(pixels, training=total.requires_grad)
        return total / torch.where(pixels > 0, pixels, 1)

    def _category_logits(self, features: Tensor, projection: nn.Conv2d) -> Tensor:
        """(B, N, h, w) of a baseline, in float32 as the property logits are."""
        with torch.autocast(features.device.type, enabled=False):
            projected = projection(features.float())
        return projected if self.text_space is None else self.text_space.logits(projected)

    def _logits(self, images: Tensor) -> Tensor:
        """(B, K, h, w) property logits, or (B, N, h, w) category logits of a baseline."""
        features = self.decode_head(self.backbone(images))
        if not self.has_properties:
            return self._category_logits(features, self.projection)
        return self.property_space.logits_from_features(
            features, self.projection.weight, self.projection.bias
        )

    def _category_scores(self) -> Forward:
        """Images to (B, N, h, w) category scores, or category logits of a baseline."""
        if not self.has_properties:
            return self._logits
        # Before the network runs: PyTorch's threads, woken for this, would go on spinning beside
        # those that score.
        scorer = self.property_space.scorer(self.projection.weight, self.projection.bias)
        return lambda images: scorer(self.decode_head(self.backbone(images)))

    @torch.inference_mode()
    def predict_logits(self, image: Tensor) -> Maps:
        """What labels, scores and explanations are computed from.

        Args:
            image: (3, H, W), as `forward` takes it.
        Returns:
            Maps (1, K, h, w) of property logits, or (1, N, h, w) of category logits without
            properties: of the whole image, or one for each sliding window.
        """
        return self._predict(self._logits, image)

    def _predict_scores(self, image: Tensor) -> Maps:
        """Maps (1, N, h, w) of category scores, of category logits without properties.

        For who wants no properties: nothing of K channels is kept.
        """
        return self._with_offsets(self._predict(self._category_scores(), image))

    def _predict(self, forward: Forward, image: Tensor) -> Maps:
        image = self._normalise(image)
        return predict_maps(
            forward,
            self._batch([image]).tensor,
            tuple(image.shape[-2:]),
            self.window,
            size_divisibility=max(self.backbone.size_divisibility, 4),
        )

    def predict_labels(self, logits: Maps, size: tuple[int, int]) -> Tensor:
        """(height, width) int64 labels from what `predict_logits` returned, at any size."""
        if self.background_threshold > 0:
            view = View(self.score_maps(logits), False)
            return augmented_labels([view], size, self.background_threshold)[0]
        maps, weights = self._scores(logits)
        return category_labels(maps, size, weights)[0]

    def predict_labels_of_views(
        self, views: Sequence[dict[str, Any]], size: tuple[int, int]
    ) -> Tensor:
        """(height, width) int64 labels from several views, see `forward`."""
        return augmented_labels(self._predict_views(views), size, self.background_threshold)[0]

    def _predict_views(self, views: Sequence[dict[str, Any]]) -> list[View]:
        return [View(self._predict_scores(view["image"]), view["flip"]) for view in views]

    def score_maps(self, logits: Maps) -> Maps:
        """Maps (1, N, h, w) of the scores that decide, from what `predict_logits` returned."""
        maps, weights = self._scores(logits)
        return maps if weights is None else maps.weighted(weights)

    def _scores(self, logits: Maps) -> tuple[Maps, Tensor | None]:
        """Maps that are linear in the category scores, and the weights that turn them into these.

        Unit activations are what windows average; category logits of the baselines need no weights.
        """
        if not self.has_properties:
            return self._with_offsets(logits), None
        space = self.property_space
        if self.label_space.category_offsets is not None:
            return self._with_offsets(logits.map_values(space.category_scores)), None
        return logits.map_values(space.unit_activations), space.category_weights

    def _with_offsets(self, scores: Maps) -> Maps:
        """Scores with the offsets of the categories; resizing and averaging keep constants."""
        offsets = self.label_space.category_offsets
        if offsets is None:
            return scores
        added = torch.tensor(offsets, device=self.device)[:, None, None]
        return scores.map_values(lambda values: values + added)

    def _infer(self, one: dict[str, Any]) -> dict[str, Tensor]:
        image, views = one["image"], one.get("views")
        wants_properties = self.output_unit_activations or self.output_properties
        result, weights = {}, None
        if wants_properties and self.has_properties:
            logits = self.predict_logits(image)
            maps, weights = self._scores(logits)
            if self.output_unit_activations:
                unit = logits.map_values(self.property_space.unit_activations)
                result["unit_activations"] = low_resolution_maps(unit)[0]
            if self.output_properties:
                activations = logits.map_values(self.property_space.activations)
                result["properties"] = low_resolution_maps(activations)[0]
        elif not views:
            maps = self._predict_scores(image)
        size = (one.get("height", image.shape[-2]), one.get("width", image.shape[-1]))
        labels = self.output == "labels"
        if views or self.background_threshold > 0:
            if views:
                views = self._predict_views(views)
            else:
                views = [View(maps if weights is None else maps.weighted(weights), False)]
            answer = (augmented_labels if labels else augmented_probabilities)(
                views, size, self.background_threshold
            )
        else:
            answer = (category_labels if labels else category_score_maps)(maps, size, weights)
        result["labels" if labels else "sem_seg"] = answer[0]
        return result


def _projection(channels: int, width: int) -> nn.Conv2d:
    projection = nn.Conv2d(channels, width, 1)
    nn.init.normal_(projection.weight, std=0.01)
    nn.init.zeros_(projection.bias)
    return projection


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)


def _ignore_label(cfg: CfgNode, label_space: LabelSpace) -> int:
    """What the mapper writes where the training data has no label."""
    usual = default_ignore_label(label_space.num_categories)
    names = cfg.DATASETS.TRAIN[:1]
    return MetadataCatalog.get(names[0]).get("ignore_label", usual) if names else usual
