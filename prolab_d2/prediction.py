"""What was predicted for one image, and why: labels, explanations of any region, pictures.

Shapes: K properties, N categories, h x w feature size (stride 4), H x W image size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from os import PathLike

import numpy as np
import torch
from detectron2.data.catalog import Metadata

from prolab_d2.canvas import save_picture
from prolab_d2.errors import ProLabError
from prolab_d2.explain.changes import Changes, find_changes
from prolab_d2.explain.contrast import Contrast, contrast_categories
from prolab_d2.explain.evidence import Explanation, explain_pixel
from prolab_d2.explain.findings import Finding, doubtful_first, find_categories
from prolab_d2.explain.inputs import category_index
from prolab_d2.explain.regions import check_mask, pixel_mask, polygon_mask, segment_mask
from prolab_d2.explain.unknown import (
    DEFAULT_MEASURE,
    DEFAULT_THRESHOLD,
    UnknownRegion,
    describe_unknown,
    unknown_map,
    unknown_masks,
)
from prolab_d2.label_space import LabelSpace
from prolab_d2.modeling.inference import Maps, low_resolution_maps
from prolab_d2.modeling.property_space import PropertySpace
from prolab_d2.modeling.region_means import region_means
from prolab_d2.visualizer import (
    draw_contrast,
    draw_explanation,
    draw_segmentation,
    draw_sheet,
    property_heatmap_sheet,
)

__all__ = ["Prediction", "require_properties"]


def require_properties(property_space: PropertySpace | None) -> PropertySpace:
    """
    Raises:
        ProLabError: there is none, because the model is a baseline without properties.
    """
    if property_space is None:
        raise ProLabError(
            "this checkpoint has no properties to explain with: use one that was trained with "
            "MODEL.PROLAB.SUPERVISION property"
        )
    return property_space


class Prediction:
    """The labels of one image, and on request the properties behind them.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright.
        labels: (H, W) int64 category ids.
        label_space: what ids and properties mean.
        metadata: names and colours of the ids, as Detectron2's Visualizer reads them.
        unknown_threshold: what a region's `unknown_map` has to exceed to fit no category.
    """

    def __init__(
        self,
        image: np.ndarray,
        labels: np.ndarray,
        label_space: LabelSpace,
        metadata: Metadata,
        logits: Maps,
        property_space: PropertySpace | None,
        unknown_threshold: float = DEFAULT_THRESHOLD,
    ) -> None:
        """
        Args:
            logits: low-resolution property logits (1, K, h, w), unused without `property_space`.
            property_space: None for a model without properties.
            unknown_threshold: of `unknown_regions`.
        """
        self.image = image
        self.labels = labels
        self.label_space = label_space
        self.metadata = metadata
        self._logits = logits
        self._property_space = property_space
        self.unknown_threshold = unknown_threshold

    @property
    def categories(self) -> tuple[str, ...]:
        """What the ids of `labels` mean: the label space's, after a background if any."""
        return tuple(self.metadata.stuff_classes)

    @cached_property
    def _label_space_ids(self) -> np.ndarray:
        """(H, W) `labels` as indices of the label space, -1 for background."""
        return self.labels - (len(self.categories) - self.label_space.num_categories)

    @property
    def has_properties(self) -> bool:
        return self._property_space is not None

    @cached_property
    def unit_activations(self) -> np.ndarray:
        """(K, h, w) float32: property activations over their length, at about a quarter size."""
        with torch.inference_mode():
            return low_resolution_maps(self._unit_maps)[0].cpu().numpy()

    @cached_property
    def properties(self) -> np.ndarray:
        """(K, h, w) float32: property activations, at about a quarter size.

        They lie in [0, 1] with "cosine_sigmoid" similarity.
        """
        space = self._space()
        with torch.inference_mode():
            return low_resolution_maps(self._logits.map_values(space.activations))[0].cpu().numpy()

    def explain(
        self, x: int, y: int, category: str | int | None = None, top: int = 8
    ) -> Explanation:
        """The properties behind the score of a category at one pixel.

        Args:
            x, y: column and row in the image.
            category: name or index; None for the pixel's label.
            top: how many unexpected properties and other categories are listed at most.
        Raises:
            ProLabError: a pixel outside the image, an unknown category, or a model without
                properties.
        """
        return self.explain_region(self.pixel(x, y), category, top)

    def explain_region(
        self, region: np.ndarray, category: str | int | None = None, top: int = 8
    ) -> Explanation:
        """The properties behind the mean score of a category in a region.

        Args:
            region: (H, W) bool, such as `pixel`, `segment`, `polygon` or `pixels_of` give it.
            category: name or index; None for the label of most of its pixels.
            top: how many unexpected properties and other categories are listed at most.
        Raises:
            ProLabError: no such region or category, no category for a region of mostly background,
                or a model without properties.
        """
        region = check_mask(region, self.labels.shape)
        chosen = self._label_of(region) if category is None else category
        return explain_pixel(self.mean_activations(region), self.label_space, chosen, top)

    def contrast(
        self,
        region: np.ndarray,
        category: str | int | None = None,
        other: str | int | None = None,
    ) -> Contrast:
        """Why a region is one category and not another.

        Args:
            region: as for `explain_region`.
            category: name or index; None for the label of most of its pixels.
            other: name or index; None for the best of the others.
        Raises:
            ProLabError: as `explain_region`, or twice the same category.
        """
        region = check_mask(region, self.labels.shape)
        chosen = self._label_of(region) if category is None else category
        return contrast_categories(self.mean_activations(region), self.label_space, chosen, other)

    def changes(self, region: np.ndarray, category: str | int) -> Changes:
        """The fewest properties that would have to appear or vanish for another answer.

        Args:
            region: as for `explain_region`.
            category: the wanted answer, name or index.
        """
        return find_changes(self.mean_activations(region), self.label_space, category)

    def mean_activations(self, region: np.ndarray) -> np.ndarray:
        """(K,) float64: the mean of the unit activations over the pixels of a region."""
        region = check_mask(region, self.labels.shape)
        with torch.inference_mode():
            return region_means(self._unit_maps, region.astype(np.int64) - 1, 1)[0]

    @cached_property
    def category_activations(self) -> np.ndarray:
        """(N, K) float64: `mean_activations` of the pixels of every category, NaN without any."""
        with torch.inference_mode():
            return region_means(
                self._unit_maps, self._label_space_ids, self.label_space.num_categories
            )

    def findings(self, *, least_area: float = 0.0, most: int | None = None) -> list[Finding]:
        """The categories found in the image, explained; options as in `find_categories`."""
        return find_categories(
            self._label_space_ids,
            self.category_activations,
            self.label_space,
            least_area=least_area,
            most=most,
        )

    def unknown_map(self, measure: str = DEFAULT_MEASURE) -> np.ndarray:
        """(h, w) float32 in [0, 1]: how badly the image fits its categories, at about a quarter
        size; measures as in `explain.unknown_map`.
        """
        space = self._space()
        with torch.inference_mode():
            maps = self._logits.map_values(lambda z: unknown_map(z, space, measure)[:, None])
            return low_resolution_maps(maps)[0, 0].cpu().numpy()

    def unknown_regions(
        self,
        *,
        measure: str = DEFAULT_MEASURE,
        threshold: float | None = None,
        least_area: float = 0.002,
    ) -> list[UnknownRegion]:
        """Regions that no category explains, with the properties that they show.

        Args:
            measure: as in `explain.unknown_map`.
            threshold: of that map, 0 to 1; lower finds more. None for `unknown_threshold`, which
                holds for the default measure: with `tools/calibrate_unknown.py` it is exceeded
                by a stated share of the rightly classified cells.
            least_area: share of the image below which a region is left out.
        Raises:
            ProLabError: another measure without a threshold, or a model without properties.
        """
        if threshold is None:
            if measure != DEFAULT_MEASURE:
                raise ProLabError(
                    f"the threshold is calibrated for the measure {DEFAULT_MEASURE!r}: give one "
                    f"for {measure!r}"
                )
            threshold = self.unknown_threshold
        masks = unknown_masks(self.unknown_map(measure), self.labels.shape, threshold, least_area)
        return [
            describe_unknown(mask, self.mean_activations(mask), self.label_space) for mask in masks
        ]

    def pixel(self, x: int, y: int) -> np.ndarray:
        """(H, W) bool: the region of one pixel, column x and row y."""
        return pixel_mask(x, y, self.labels.shape)

    def segment(self, x: int, y: int) -> np.ndarray:
        """(H, W) bool: the segment of one label around a pixel."""
        return segment_mask(self.labels, x, y)

    def polygon(self, points: Sequence[tuple[float, float]]) -> np.ndarray:
        """(H, W) bool: the region inside a polygon of (x, y) corners."""
        return polygon_mask(points, self.labels.shape)

    def pixels_of(self, category: str | int) -> np.ndarray:
        """(H, W) bool: all pixels with the label of a category.

        Raises:
            ProLabError: an unknown category, or one that is not found in this image.
        """
        index = category_index(self.label_space, category)
        region = self._label_space_ids == index
        if not region.any():
            found = ", ".join(self.categories[i] for i in np.unique(self.labels)[:12])
            raise ProLabError(
                f"no pixel of the image is labelled {self.label_space.categories[index]}: use one "
                f"of the categories found in it, {found}"
            )
        return region

    def _label_of(self, region: np.ndarray) -> int:
        """Index in the label space of the label of most pixels of a region."""
        category = int(np.bincount(self._label_space_ids[region] + 1).argmax()) - 1
        if category < 0:
            raise ProLabError(
                "most of the region is background, which has no properties: name the category "
                "whose evidence there you want to see"
            )
        return category

    def draw(
        self, *, alpha: float = 0.55, legend: bool = True, fit_screen: bool = True
    ) -> np.ndarray:
        """The overlay as an RGB picture, uint8; options as in `draw_segmentation`."""
        return draw_segmentation(
            self.image,
            self.labels,
            self.metadata,
            alpha=alpha,
            legend=legend,
            fit_screen=fit_screen,
        )

    def draw_explanation(self, x: int, y: int, category: str | int | None = None) -> np.ndarray:
        """The overlay with a marked pixel and its evidence, as an RGB picture."""
        return self.draw_region_explanation(self.pixel(x, y), f"pixel {x}, {y}", category)

    def draw_region_explanation(
        self, region: np.ndarray, place: str = "region", category: str | int | None = None
    ) -> np.ndarray:
        """The overlay with a marked region and its evidence, as an RGB picture.

        Args:
            region, category: as for `explain_region`.
            place: what the picture calls the region.
        """
        explanation = self.explain_region(region, category)
        return draw_explanation(self.image, self.labels, self.metadata, explanation, region, place)

    def draw_contrast(
        self,
        region: np.ndarray,
        place: str = "region",
        category: str | int | None = None,
        other: str | int | None = None,
    ) -> np.ndarray:
        """The overlay with a marked region and why it is one category and not another.

        Args:
            region, category, other: as for `contrast`.
            place: what the picture calls the region.
        """
        contrast = self.contrast(region, category, other)
        changes = self.changes(region, contrast.other_index)
        return draw_contrast(
            self.image, self.labels, self.metadata, contrast, region, place, changes=changes
        )

    def draw_properties(self, top: int = 12) -> np.ndarray:
        """Heat maps of the most active properties, as an RGB picture."""
        return property_heatmap_sheet(self.image, self.properties, self._names, top=top)

    def draw_sheet(self, title: str = "", most: int = 3) -> np.ndarray:
        """Overlay, heat maps, evidence of the least certain categories and a contrast on one sheet.

        Args:
            title: above everything; none without.
            most: how many categories are explained.
        """
        findings = self.findings(least_area=0.01)
        findings = (doubtful_first(findings) or findings)[:most]
        return draw_sheet(
            self.image,
            self.labels,
            self.metadata,
            self.properties,
            self._names,
            findings,
            title=title,
        )

    @property
    def _names(self) -> list[str]:
        return [entry.name for entry in self.label_space.properties]

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the overlay; the suffix decides the format.

        Raises:
            ProLabError: unknown suffix, or a place that cannot be written to.
        """
        save_picture(self.draw(), path)

    def _space(self) -> PropertySpace:
        return require_properties(self._property_space)

    @cached_property
    def _unit_maps(self) -> Maps:
        # Not the low-resolution average of windows: shares must add up to the score of the label.
        return self._logits.map_values(self._space().unit_activations)
