"""What can be asked of one image, as pictures and HTML. Texts of others are escaped.

Shapes: K properties, h x w map size, H x W image size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from prolab_d2.canvas import SMALL, Canvas
from prolab_d2.errors import ProLabError
from prolab_d2.explain import find_changes
from prolab_d2.explain.neighbours import PixelNeighbour, likeness_map, nearest_pixels
from prolab_d2.predictor import Prediction, Predictor
from prolab_d2.report.bars import bar, color_ramp, patch
from prolab_d2.report.pictures import data_uri, jpeg_within
from prolab_d2.report.tables import contrast_table, evidence_tables, short_name
from prolab_d2.report.unknown import unknown_figures
from prolab_d2.visualizer import draw_segmentation, heat_map, mark_region, telling_properties
from prolab_d2.visualizer.heatmaps import heat_range
from prolab_d2.visualizer.overlay import color_of, percent

__all__ = ["PLACES", "PixelAnswer", "Session"]

LARGEST_SIDE, HEAT_WIDTH, PEEK_WIDTH, LIKENESS_WIDTH = 900, 620, 420, 420
PEEK_BYTES = 14_000
NEIGHBOURS = 5
# Properties that are listed before any is asked for.
LISTED = 12
UNKNOWN_BYTES = 60_000
# Where two categories are compared.
PIXEL, SEGMENT, CATEGORY = PLACES = (
    "the chosen pixel",
    "its segment",
    "all pixels of the first category",
)


@dataclass(frozen=True)
class PixelAnswer:
    """Everything about one pixel."""

    x: int
    y: int
    category: str
    rival: str | None  # the next best category
    picture: np.ndarray  # the overlay with the pixel marked
    evidence: str  # HTML
    neighbours: str  # HTML
    likeness: np.ndarray  # picture of the similarity to all other pixels, neighbours numbered


class Session:
    """One image with its prediction, and the categories of its visitor."""

    def __init__(self, name: str, predictor: Predictor, prediction: Prediction) -> None:
        """
        Args:
            name: of the image, as the visitor knows it.
            predictor: that made the prediction.
        """
        self.name = name
        self.predictor = predictor
        self.prediction = prediction
        self.pixel: tuple[int, int] | None = None  # the one chosen last

    @cached_property
    def overlay(self) -> np.ndarray:
        """The segmentation, RGB, of a size that a laptop shows well."""
        one = self.prediction
        return draw_segmentation(one.image, one.labels, one.metadata, largest=LARGEST_SIDE)

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the label space: what can be compared."""
        return self.prediction.label_space.categories

    def found(self) -> list[str]:
        """Categories of the label space in the image, those with the largest area first."""
        counts = np.bincount(self.prediction.labels.ravel())
        names = [self.prediction.categories[i] for i in np.argsort(-counts, kind="stable")]
        there = [name for name, n in zip(names, -np.sort(-counts), strict=True) if n]
        return [name for name in there if name in self.categories]

    def legend(self) -> str:
        """HTML: colour, name and area of every category in the image."""
        labels, colors = self.prediction.labels, self.prediction.metadata.stuff_colors
        ids, counts = np.unique(labels, return_counts=True)
        items = [
            f"<li>{patch(colors[ids[i]])} <bdi>{short_name(self.prediction.categories[ids[i]])}"
            f"</bdi> {percent(counts[i] / labels.size)}</li>"
            for i in np.argsort(-counts, kind="stable").tolist()
        ]
        return f'<ul class="legend">{"".join(items)}</ul>'

    def at_picture(self, x: float, y: float) -> tuple[int, int]:
        """The pixel of the image under a pixel of `overlay`."""
        height, width = self.prediction.labels.shape
        rows, columns = self.overlay.shape[:2]
        return (
            min(int((x + 0.5) * width / columns), width - 1),
            min(int((y + 0.5) * height / rows), height - 1),
        )

    def ask(self, x: int, y: int) -> PixelAnswer:
        """What is at column x and row y of the image, why, and what is like it.

        Raises:
            ProLabError: a pixel outside the image, or background.
        """
        one = self.prediction
        explanation = one.explain(x, y)
        own = int(one.labels[y, x])
        likeness = likeness_map(one.unit_activations, one.mean_activations(one.pixel(x, y)))
        near = nearest_pixels(likeness, one.labels, one.categories, without=(own,), top=NEIGHBOURS)
        self.pixel = (x, y)
        color = color_of(one.metadata, explanation.category)
        heading = (
            f"<h3>{patch(color)} <bdi>{short_name(explanation.category)}</bdi> "
            f"<small>score {explanation.score_text} at pixel {x}, {y}</small></h3>"
        )
        return PixelAnswer(
            x=x,
            y=y,
            category=explanation.category,
            picture=mark_region(self.overlay, one.pixel(x, y)),
            evidence=heading
            + '<p class="muted">Point at a property to see in the picture where it is active.</p>'
            + evidence_tables(explanation, self._peek),
            rival=explanation.others[0][0] if explanation.others else None,
            neighbours=self._neighbours(
                [
                    (explanation.category, explanation.score + explanation.offset),
                    *explanation.others[:NEIGHBOURS],
                ],
                near,
            ),
            likeness=_numbered(
                heat_map(one.image, np.maximum(likeness, 0), LIKENESS_WIDTH),
                [(x, y)] + [(n.x, n.y) for n in near],
                one.labels.shape,
            ),
        )

    def property_choices(self) -> list[tuple[str, int]]:
        """(name, index) of all properties, those first whose heat maps show most."""
        space = self.prediction.label_space
        first = telling_properties(self.prediction.properties, LISTED)
        rest = [k for k in range(space.num_properties) if k not in first]
        return [(space.properties[k].name, k) for k in (*first, *rest)]

    def listed_properties(self) -> str:
        """HTML: the properties whose heat maps show most, to be pointed at."""
        one = self.prediction
        rows = [
            f'<tr class="property" tabindex="0"><td>{bar(mean, "supports")}</td>'
            f"<td>{mean:.2f}</td><td>{short_name(one.label_space.properties[k].name)}"
            f"{self._peek(k)}</td></tr>"
            for k in telling_properties(one.properties, LISTED)
            for mean in [float(one.properties[k].mean())]
        ]
        return (
            "<h4>Those that tell most places apart, and their mean activation</h4>"
            f"<table>{''.join(rows)}</table>"
            '<p class="muted">Point at one to see in the picture where it is active.</p>'
        )

    def unknown(self) -> str:
        """HTML: the regions that fit no category, and what they show."""
        figures = unknown_figures(self.prediction, UNKNOWN_BYTES)
        if not figures:
            return '<p class="muted">Nothing in this image: all of it fits some category.</p>'
        return (
            '<p class="muted">Regions whose best category fits badly, or hardly better than the '
            "next, with the properties that they show. Name them under New categories.</p>"
            f"{figures}"
        )

    def heat(self, index: int) -> tuple[np.ndarray, str]:
        """The heat map of a property as a picture, and what it is in HTML."""
        one = self.prediction
        largest = heat_range(one.properties)
        picture = heat_map(one.image, one.properties[index], HEAT_WIDTH, largest)
        owners = [
            name
            for name, row in zip(self.categories, one.label_space.signatures, strict=True)
            if row[index]
        ]
        names = ", ".join(f"<bdi>{short_name(name)}</bdi>" for name in owners[:20])
        more = f" and {len(owners) - 20} more" if len(owners) > 20 else ""
        text = (
            f'<p class="scale">activation 0 {color_ramp()} {largest:.3g}; mean '
            f"{one.properties[index].mean():.2f}</p><p>expected of: {names or 'none'}{more}</p>"
        )
        return picture, text

    def compare(
        self, category: str | None, other: str | None, place: str
    ) -> tuple[np.ndarray, str]:
        """Why the one and not the other: the overlay with the place marked, and HTML.

        Args:
            category, other: names; None where none is chosen.
            place: one of `PLACES`.
        Raises:
            ProLabError: a category is not chosen or unknown, twice the same, no pixel chosen yet,
                or a category that is not in the image.
        """
        if category is None or other is None:
            raise ProLabError("two categories can be compared: choose both of them")
        one = self.prediction
        if place == CATEGORY:
            region = one.pixels_of(category)
        elif place in PLACES:
            if self.pixel is None:
                raise ProLabError(
                    f"no pixel is chosen yet: click into the picture, or compare over {CATEGORY}"
                )
            region = (one.pixel if place == PIXEL else one.segment)(*self.pixel)
        else:
            raise ProLabError(f"there is no place {place!r}: choose one of {', '.join(PLACES)}")
        contrast = one.contrast(region, category, other)
        u = one.mean_activations(region)
        changes = find_changes(u, one.label_space, contrast.other_index)
        text = (
            f"<h3><bdi>{short_name(category)}</bdi> or <bdi>{short_name(other)}</bdi> "
            f"<small>{place}</small></h3>{contrast_table(contrast, changes, self._peek)}"
        )
        return mark_region(self.overlay, region), text

    @cached_property
    def _peeks(self) -> dict[int, str]:
        return {}

    def _peek(self, index: int) -> str:
        """A small heat map that the page shows while its row is pointed at."""
        if index not in self._peeks:
            one = self.prediction
            largest = heat_range(one.properties)
            picture = heat_map(one.image, one.properties[index], PEEK_WIDTH, largest)
            source = data_uri(jpeg_within(picture, PEEK_BYTES))
            self._peeks[index] = f'<img class="peek" src="{source}" alt="where it is active">'
        return self._peeks[index]

    def _neighbours(
        self, scores: Sequence[tuple[str, float]], near: Sequence[PixelNeighbour]
    ) -> str:
        categories = "".join(
            f"<tr><td>{bar(score, 'supports')}</td><td>{score:.3f}</td>"
            f"<td><bdi>{short_name(name)}</bdi></td></tr>"
            for name, score in scores
        )
        pixels = "".join(
            f"<tr><td>{bar(n.likeness, 'supports')}</td><td>{n.likeness:.3f}</td>"
            f"<td>{number} <bdi>{short_name(n.category)}</bdi> at {n.x}, {n.y}</td></tr>"
            for number, n in enumerate(near, 1)
        )
        text = f"<h4>Nearest categories: scores</h4><table>{categories}</table>"
        if pixels:
            text += (
                "<h4>Nearest pixels of the other categories: cosine of the activations</h4>"
                f"<table>{pixels}</table>"
            )
        return f"{text}<h4>How like this pixel all others are</h4>"


def _numbered(
    picture: np.ndarray, places: Sequence[tuple[int, int]], size: tuple[int, int]
) -> np.ndarray:
    """Marks pixels of an image of `size` (H, W): a ring at the first, numbers at the others."""
    canvas = Canvas(picture.shape[1], picture.shape[0])
    points = [
        (
            int((x + 0.5) * picture.shape[1] / size[1]),
            int((y + 0.5) * picture.shape[0] / size[0]),
        )
        for x, y in places
    ]
    picture = picture.copy()
    for number, point in reversed(list(enumerate(points))):
        if number == 0:
            cv2.circle(picture, point, 8, (0, 0, 0), 5, cv2.LINE_AA)
            cv2.circle(picture, point, 8, (255, 255, 255), 2, cv2.LINE_AA)
        else:
            cv2.circle(picture, point, 9, (0, 0, 0), -1, cv2.LINE_AA)
            cv2.circle(picture, point, 9, (255, 255, 255), 1, cv2.LINE_AA)
    canvas.paste(picture, 0, 0)
    for number, (x, y) in reversed(list(enumerate(points))):
        if number:
            canvas.text(x, y, str(number), SMALL, color=(255, 255, 255), anchor="mm")
    return canvas.picture()
