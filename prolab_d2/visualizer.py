"""Pictures of predictions: overlay with names and legend, evidence of a pixel, property heat maps.

Every function takes and returns RGB pictures, uint8 arrays of shape (H, W, 3). Sizes suit a laptop
screen: small images are enlarged, large ones reduced, texts are wrapped to the room they have and
never cut. Colours of evidence and heat maps can be told apart with every kind of colour vision.

Shapes: K properties, N categories, h x w map size, H x W image size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import matplotlib
import numpy as np
from detectron2.data.catalog import Metadata
from detectron2.utils.visualizer import VisImage, Visualizer, random_color
from matplotlib.colors import to_rgb
from matplotlib.transforms import Bbox

from prolab_d2.canvas import (
    GAP,
    SMALL,
    TEXT,
    TITLE,
    Canvas,
    Color,
    contact_sheet,
    line_height,
    text_width,
    wrap,
)
from prolab_d2.colors import distinct_colors
from prolab_d2.explain import Evidence, Explanation

__all__ = [
    "SegmentationVisualizer",
    "contact_sheet",
    "draw_explanation",
    "draw_segmentation",
    "label_metadata",
    "property_heatmap_sheet",
]

# Long side of a picture that a laptop shows well, with room for a panel beside it.
SMALLEST_LONG_SIDE, LARGEST_LONG_SIDE = 900, 1400
PANEL_WIDTH = 470
# Of Okabe and Ito's palette, made to be told apart with every kind of colour vision.
SUPPORTS, UNEXPECTED, NEUTRAL = (0, 114, 178), (230, 159, 0), (215, 215, 215)
MUTED = (95, 95, 95)
HEAT = "inferno"  # black to yellow, lightness rises evenly
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
    """
    labels = labels.astype(np.int32)
    if fit_screen:
        factor = _screen_factor(labels.shape)
        size = tuple(max(1, round(side * factor)) for side in labels.shape[::-1])
        image = cv2.resize(
            image, size, interpolation=cv2.INTER_CUBIC if factor >= 1 else cv2.INTER_AREA
        )
        labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
    picture = SegmentationVisualizer(image, metadata).draw_sem_seg(labels, alpha=alpha).get_image()
    if legend:
        picture = np.concatenate([picture, _legend(labels, picture.shape[1], metadata)], axis=0)
    return picture


def _screen_factor(size: tuple[int, int]) -> float:
    long_side = max(size)
    return min(max(long_side, SMALLEST_LONG_SIDE), LARGEST_LONG_SIDE) / long_side


def _legend(labels: np.ndarray, width: int, metadata: Metadata) -> np.ndarray:
    """A strip of colour patches, names and areas, largest first, in as many rows as it needs."""
    ids, counts = np.unique(labels, return_counts=True)
    entries = [
        (int(ids[i]), f"{metadata.stuff_classes[ids[i]]} {_percent(counts[i] / labels.size)}")
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


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 else "< 1 %"


def draw_explanation(
    image: np.ndarray,
    labels: np.ndarray,
    metadata: Metadata,
    explanation: Explanation,
    x: int,
    y: int,
    *,
    top: int = 8,
) -> np.ndarray:
    """The overlay with the explained pixel marked, and beside it the properties behind its score.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) category ids.
        metadata: names and colours.
        explanation: of pixel (x, y), column and row in the image.
        top: at most this many properties in each part of the panel.
    """
    picture = draw_segmentation(image, labels, metadata)
    factor = _screen_factor(labels.shape)
    picture = _mark(picture, round((x + 0.5) * factor), round((y + 0.5) * factor))
    color = metadata.stuff_colors[explanation.category_index]
    panel = _evidence_panel(explanation, f"pixel {x}, {y}", color, top)
    height = max(picture.shape[0], panel.shape[0])
    canvas = Canvas(picture.shape[1] + panel.shape[1], height)
    canvas.paste(picture, 0, 0)
    canvas.paste(panel, picture.shape[1], 0)
    return canvas.picture()


def _mark(picture: np.ndarray, x: int, y: int) -> np.ndarray:
    """A white ring with black borders around a pixel, to be seen on every background."""
    picture = np.ascontiguousarray(picture)
    for radius, thickness, color in ((11, 7, (0, 0, 0)), (11, 3, (255, 255, 255))):
        cv2.circle(picture, (x, y), radius, color, thickness, cv2.LINE_AA)
    cv2.circle(picture, (x, y), 2, (255, 255, 255), -1, cv2.LINE_AA)
    return picture


def _evidence_panel(explanation: Explanation, place: str, color: Color, top: int) -> np.ndarray:
    absent = set(explanation.missing)
    present = [item for item in explanation.evidence if item not in absent]
    name = explanation.category
    parts = [
        (f"What speaks for {name}: shares of the score", present, SUPPORTS),
        (f"Expected of {name}, but not seen here: shares", list(explanation.missing), NEUTRAL),
        (f"Seen here, but not expected of {name}: activations",
         list(explanation.unexpected), UNEXPECTED),
    ]  # fmt: skip
    # Drawn twice: the first time only tells how tall the panel must be.
    canvas = Canvas(PANEL_WIDTH, 1)
    height = _fill_panel(canvas, explanation, place, color, parts, top)
    canvas = Canvas(PANEL_WIDTH, height)
    _fill_panel(canvas, explanation, place, color, parts, top)
    return canvas.picture()


def _fill_panel(
    canvas: Canvas,
    explanation: Explanation,
    place: str,
    color: Color,
    parts: list[tuple[str, list[Evidence], Color]],
    top: int,
) -> int:
    """Writes the panel and gives the height that it takes."""
    width, patch = PANEL_WIDTH - 2 * GAP, 22
    canvas.rectangle(GAP, GAP, patch, patch, color, MUTED)
    title = f"{explanation.category} {explanation.score:.3f}"
    lines = wrap(title, TITLE, width - patch - 8, bold=True)
    y = canvas.lines(GAP + patch + 8, GAP, lines, TITLE, bold=True)
    others = ", ".join(f"{name} {score:.3f}" for name, score in explanation.others[:2])
    below = f"{place}; next best: {others}" if others else place
    y = canvas.lines(GAP, y + 4, wrap(below, SMALL, width), SMALL, color=MUTED)
    longest = max((item.activation for _, items, _ in parts for item in items), default=0.0)
    for heading, items, fill in parts:
        if not items:
            continue
        y = canvas.lines(GAP, y + 14, wrap(heading, TEXT, width, bold=True), TEXT, bold=True) + 2
        shown = items[:top]
        for item in shown:
            y = _evidence_row(canvas, y, item, longest, fill)
        if len(items) > top:
            more = f"... and {len(items) - top} more"
            y = canvas.lines(GAP, y, [more], SMALL, color=MUTED)
    return y + GAP


def _evidence_row(canvas: Canvas, y: int, item: Evidence, longest: float, fill: Color) -> int:
    """A bar as long as the activation, its number, and the property's name below."""
    number_width, bar_height = 56, 11
    room = PANEL_WIDTH - 2 * GAP - number_width
    length = round(room * max(item.activation, 0.0) / longest) if longest > 0 else 0
    canvas.rectangle(GAP, y + 4, room, bar_height, (242, 242, 242))
    canvas.rectangle(GAP, y + 4, length, bar_height, fill, MUTED)
    value = item.activation if fill == UNEXPECTED else item.share
    canvas.text(PANEL_WIDTH - GAP, y + 4 + bar_height // 2, f"{value:.3f}", SMALL, anchor="rm")
    lines = wrap(item.name, SMALL, PANEL_WIDTH - 2 * GAP)
    return canvas.lines(GAP, y + bar_height + 7, lines, SMALL) + 5


def property_heatmap_sheet(
    image: np.ndarray,
    properties: np.ndarray,
    names: Sequence[str],
    *,
    top: int = 12,
    columns: int = 4,
    tile_width: int = 310,
) -> np.ndarray:
    """Heat maps of the most active properties over the image, with names and one colour bar.

    Args:
        image: (H, W, 3) uint8 RGB.
        properties: (K, h, w) activations that cover the image; above 0 is active.
        names: K readable names.
        top: how many properties, those with the highest mean activation first.
    """
    properties = np.asarray(properties, dtype=np.float32)
    means = properties.mean(axis=(1, 2))
    chosen = np.argsort(-means, kind="stable")[:top].tolist()
    # Activations lie in [0, 1]; logits of "cosine" similarity get the scale they need.
    largest = max(1.0, float(properties.max(initial=0.0)))
    height = max(1, round(tile_width * image.shape[0] / image.shape[1]))
    grey = cv2.cvtColor(
        cv2.resize(image, (tile_width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
    )
    tiles = [_heat_tile(grey, properties[k] / largest) for k in chosen]
    # The parts of a number with its name stay on one line.
    titles = [f"{names[k]} (mean\u00a0{means[k]:.2f})" for k in chosen]
    sheet = contact_sheet(tiles, titles, columns=columns)
    bar = _color_bar(sheet.shape[1], largest)
    return np.concatenate([sheet, bar], axis=0)


def _heat_tile(grey: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """(H, W) grey picture and (h, w) heat in [0, 1] -> (H, W, 3) picture."""
    size = (grey.shape[1], grey.shape[0])
    heat = cv2.resize(np.clip(heat, 0, 1), size, interpolation=cv2.INTER_LINEAR)
    colors = matplotlib.colormaps[HEAT](heat)[..., :3] * 255
    # The photograph stays visible where nothing is active and hardly tints the colours.
    light = grey[..., None] / 255
    return np.clip(colors * (0.7 + 0.3 * light) + 38 * light, 0, 255).round().astype(np.uint8)


def _color_bar(width: int, largest: float) -> np.ndarray:
    length, thickness = min(360, width - 2 * GAP - 260), 14
    canvas = Canvas(width, thickness + 2 * GAP)
    middle = GAP + thickness // 2
    start = GAP + 8 + text_width("activation 0", TEXT)
    canvas.text(GAP, middle, "activation 0", TEXT, anchor="lm")
    ramp = matplotlib.colormaps[HEAT](np.linspace(0, 1, max(length, 2)))[None, :, :3] * 255
    canvas.paste(np.repeat(ramp, thickness, axis=0).astype(np.uint8), start, GAP)
    canvas.text(start + length + 8, middle, f"{largest:.3g}", TEXT, anchor="lm")
    return canvas.picture()
