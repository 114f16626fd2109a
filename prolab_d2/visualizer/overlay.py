"""The image under its coloured labels, with names and a legend.

Shapes: N categories, H x W image size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from detectron2.data.catalog import Metadata
from detectron2.utils.visualizer import VisImage, Visualizer, random_color
from matplotlib.colors import to_rgb
from matplotlib.transforms import Bbox

from prolab_d2.canvas import GAP, TEXT, Canvas, Color, line_height, text_width
from prolab_d2.colors import distinct_colors
from prolab_d2.visualizer.palette import MUTED

__all__ = [
    "SegmentationVisualizer",
    "color_of",
    "draw_segmentation",
    "label_metadata",
    "mark_region",
    "percent",
]

# Long side of a picture that a laptop shows well, with room for a panel beside it.
SMALLEST_LONG_SIDE, LARGEST_LONG_SIDE = 900, 1400
# A region of fewer pixels of the picture gets a ring around it, not only an outline.
SMALL_REGION = 150
# Regions below this part of the picture get no name, unless nothing else shows their category.
NAMED_AREA, NAMED_LARGEST_AREA = 0.06, 0.003
EDGE_ALPHA = 230  # of 255


def label_metadata(
    categories: Sequence[str], colors: Sequence[Sequence[int]] | None = None
) -> Metadata:
    """Names and colours in the form that Detectron2's Visualizer reads.

    Args:
        categories: N names.
        colors: N triples of 0 to 255; None for `distinct_colors(N)`.
    """
    chosen = distinct_colors(len(categories)) if colors is None else colors
    return Metadata().set(
        stuff_classes=list(categories), stuff_colors=[tuple(map(int, c)) for c in chosen]
    )


def color_of(metadata: Metadata, category: str) -> Color:
    """The colour of a category by its name: ids are shifted where a background comes first."""
    return metadata.stuff_colors[metadata.stuff_classes.index(category)]


class SegmentationVisualizer(Visualizer):
    """Detectron2's Visualizer with even colours and names that keep clear of one another.

    The original outlines only regions without holes, and writes a name over another one or over
    the border of a neighbouring region.
    """

    def draw_sem_seg(
        self, sem_seg: np.ndarray, area_threshold: int | None = None, alpha: float = 0.55
    ) -> VisImage:
        """Colours and names the categories of a (H, W) map of ids; others stay as they are.

        Args:
            area_threshold: regions with fewer pixels get no name; by default it depends on the
                size of the image.
            alpha: opacity of the colours.
        """
        self._colors = np.zeros((*sem_seg.shape, 4), dtype=np.uint8)
        self._places: list[_Place] = []
        super().draw_sem_seg(sem_seg, area_threshold, alpha)
        edges = np.zeros(sem_seg.shape, dtype=bool)
        edges[:, 1:] |= sem_seg[:, 1:] != sem_seg[:, :-1]
        edges[1:] |= sem_seg[1:] != sem_seg[:-1]
        self._colors[edges & (self._colors[..., 3] > 0), 3] = EDGE_ALPHA
        extent = (0, self.output.width, self.output.height, 0)
        self.output.ax.imshow(self._colors, extent=extent, interpolation="nearest")
        self._draw_names()
        return self.output

    def draw_binary_mask(
        self,
        binary_mask: np.ndarray,
        color: Any = None,
        *,
        edge_color: Any = None,
        text: str | None = None,
        alpha: float = 0.5,
        area_threshold: int | None = None,
    ) -> VisImage:
        """One category of `draw_sem_seg`: its colour and the places of its name."""
        color = to_rgb(random_color(rgb=True, maximum=1) if color is None else color)
        self._colors[binary_mask > 0] = np.rint(255 * np.array((*color, alpha)))
        for area, x, y in _regions(binary_mask, area_threshold):
            self._places.append(_Place(area, x, y, text or "", color))
        return self.output

    def _draw_names(self) -> None:
        renderer = self.output.canvas.get_renderer()
        frame = self.output.ax.get_window_extent(renderer)
        taken: list[Bbox] = []
        for place in sorted(self._places, key=lambda place: -place.area):
            light = tuple((1 + channel) / 2 for channel in place.color)
            self.draw_text(place.text, (place.x, place.y), color=light)
            text = self.output.ax.texts[-1]
            text.set_parse_math(False)  # a name with two dollar signs is no formula
            text.set_verticalalignment("center")
            box = text.get_window_extent(renderer).padded(2)
            # A name that leaves the picture moves inwards.
            right = max(frame.x0 - box.x0, 0) + min(frame.x1 - box.x1, 0)
            up = max(frame.y0 - box.y0, 0) + min(frame.y1 - box.y1, 0)
            scale = self.output.scale
            text.set_position((place.x + right / scale, place.y - up / scale))
            box = box.translated(right, up)
            fits = box.width <= frame.width and box.height <= frame.height
            if not fits or any(box.overlaps(other) for other in taken):
                text.remove()
            else:
                taken.append(box)


class _Place(NamedTuple):
    area: int
    x: int
    y: int
    text: str
    color: tuple[float, float, float]


def _regions(mask: np.ndarray, threshold: int | None) -> Iterator[tuple[int, int, int]]:
    """(area, x, y) of the regions to name, at the point farthest from their border."""
    number, components, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=4
    )
    areas = stats[1:, cv2.CC_STAT_AREA]
    for component in range(1, number):
        left, top, width, height, area = stats[component].tolist()
        limit = NAMED_LARGEST_AREA if area == areas.max() else NAMED_AREA
        if area < (limit * mask.size if threshold is None else threshold):
            continue
        region = components[top : top + height, left : left + width] == component
        # The border of the picture is a border of the region.
        depth = cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, 3)
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        yield area, left + int(x) - 1, top + int(y) - 1


def draw_segmentation(
    image: np.ndarray,
    labels: np.ndarray,
    metadata: Metadata,
    *,
    alpha: float = 0.55,
    legend: bool = False,
    fit_screen: bool = True,
    largest: int = LARGEST_LONG_SIDE,
) -> np.ndarray:
    """The image under its coloured labels, large regions with their category's name.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) category ids; ids outside [0, N) stay uncoloured.
        metadata: `stuff_classes` and `stuff_colors`, as `label_metadata` gives them.
        alpha: opacity of the colours.
        legend: add a strip with every category in the picture and its share of the area.
        fit_screen: bring the image to a size at which a laptop shows it whole and names can be
            read; without, the picture has the size of the image (as a frame of a video must).
        largest: long side in pixels above which `fit_screen` reduces the image.
    """
    labels = labels.astype(np.int32)
    if fit_screen:
        long_side = max(labels.shape)
        factor = min(max(long_side, min(SMALLEST_LONG_SIDE, largest)), largest) / long_side
        size = tuple(max(1, round(side * factor)) for side in labels.shape[::-1])
        image = cv2.resize(
            image, size, interpolation=cv2.INTER_CUBIC if factor >= 1 else cv2.INTER_AREA
        )
        labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
    picture = SegmentationVisualizer(image, metadata).draw_sem_seg(labels, alpha=alpha).get_image()
    if legend:
        picture = np.concatenate([picture, _legend(labels, picture.shape[1], metadata)], axis=0)
    return picture


def _legend(labels: np.ndarray, width: int, metadata: Metadata) -> np.ndarray:
    """A strip of colour patches, names and areas, largest first, in as many rows as it needs."""
    ids, counts = np.unique(labels, return_counts=True)
    entries = [
        (int(ids[i]), f"{metadata.stuff_classes[ids[i]]} {percent(counts[i] / labels.size)}")
        for i in np.argsort(-counts, kind="stable")
        if 0 <= ids[i] < len(metadata.stuff_classes)
    ]
    row, patch = line_height(TEXT) + 8, TEXT + 3
    places: list[tuple[int, int]] = []
    x, y = GAP, GAP // 2
    for _, text in entries:
        needed = patch + 8 + text_width(text, TEXT)
        if x > GAP and x + needed > width - GAP:
            x, y = GAP, y + row
        places.append((x, y))
        x += needed + 2 * GAP
    canvas = Canvas(width, y + row + GAP // 2)
    for (category, text), (x, y) in zip(entries, places, strict=True):
        canvas.rectangle(x, y + 4, patch, patch, metadata.stuff_colors[category], MUTED)
        canvas.text(x + patch + 8, y + row // 2, text, TEXT, anchor="lm")
    return canvas.picture()


def percent(share: float) -> str:
    """A share of 0 to 1 as text, such as "12 %"."""
    return f"{100 * share:.0f} %" if share >= 0.005 else "< 1 %"


def mark_region(picture: np.ndarray, region: np.ndarray) -> np.ndarray:
    """The picture with the outline of a region, white with black borders, to be seen everywhere.

    Args:
        picture: RGB, such as `draw_segmentation` of the image.
        region: (H, W) bool; resized to the picture.
    """
    picture = picture.copy(order="C")
    size = (picture.shape[1], picture.shape[0])
    ys, xs = region.nonzero()
    mask = cv2.resize(region.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)
    if np.count_nonzero(mask) < SMALL_REGION:
        factor = size[0] / region.shape[1]
        center = [round((at.mean() + 0.5) * factor) for at in (xs, ys)]
        for radius, thickness, color in ((11, 7, (0, 0, 0)), (11, 3, (255, 255, 255))):
            cv2.circle(picture, center, radius, color, thickness, cv2.LINE_AA)
        cv2.circle(picture, center, 2, (255, 255, 255), -1, cv2.LINE_AA)
        return picture
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for thickness, color in ((5, (0, 0, 0)), (2, (255, 255, 255))):
        cv2.drawContours(picture, contours, -1, color, thickness, cv2.LINE_AA)
    return picture
