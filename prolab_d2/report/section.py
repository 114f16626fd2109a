"""One image of the report: its pictures, and every category found in it explained.

Shapes: K properties, h x w map size, H x W image size.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
from detectron2.data.catalog import Metadata

from prolab_d2.explain import Finding, doubtful_first
from prolab_d2.markup import escape
from prolab_d2.prediction import Prediction
from prolab_d2.report.bars import color_ramp, patch
from prolab_d2.report.pictures import data_uri, jpeg_within
from prolab_d2.report.tables import (
    LONGEST_NAME,
    contrast_table,
    evidence_tables,
    short_name,
)
from prolab_d2.report.unknown import unknown_figures
from prolab_d2.visualizer import draw_segmentation, heat_map, telling_properties
from prolab_d2.visualizer.heatmaps import heat_range
from prolab_d2.visualizer.overlay import color_of, percent

__all__ = ["SECTION_BYTES", "failed_section", "image_section"]

# What one image may add to the page; a megabyte with some room left.
SECTION_BYTES = 950_000
MOST_CATEGORIES, LEAST_AREA = 12, 0.001
HEAT_MAPS = 8
LARGEST_SIDE, HEAT_WIDTH = 900, 280
# Parts of the room for pictures: overlay, photograph, all heat maps, all unknown regions.
SHARES = (0.36, 0.26, 0.28, 0.1)


def image_section(number: int, name: str, prediction: Prediction) -> str:
    """The HTML of one image, of at most `SECTION_BYTES`.

    Args:
        number: of the image in the report, for links.
        name: what the page calls it.
    """
    findings = prediction.findings(least_area=LEAST_AREA, most=MOST_CATEGORIES)
    texts = _categories(findings, prediction.metadata)
    names = [short_name(entry.name) for entry in prediction.label_space.properties]
    chosen = telling_properties(prediction.properties, HEAT_MAPS)
    height, width = prediction.labels.shape
    parts = [
        f'<section id="image-{number}">',
        f"<h2><bdi>{escape(name, LONGEST_NAME)}</bdi> <small>{width} &times; {height}</small></h2>",
        '<div class="columns"><div class="pictures">',
        "",  # overlay and photograph
        "<h3>Where properties are active</h3>",
        "",  # heat maps
        "",  # unknown regions
        f'</div><div class="categories">{texts}',
        "</div></div></section>\n",
    ]
    used = sum(len(part.encode()) for part in parts) + len("".join(names[k] for k in chosen)) * 6
    # Base64 makes four characters of three bytes; some more are elements around the pictures.
    room = max(int((SECTION_BYTES - used - 30_000) * 0.75), 20_000)
    parts[3] = _stage(number, prediction, room)
    parts[5] = _heat_maps(prediction, names, chosen, room)
    unknown = unknown_figures(prediction, int(room * SHARES[3]))
    parts[6] = f"<h3>What fits no category well</h3>{unknown}" if unknown else ""
    return "".join(parts)


def failed_section(number: int, name: str, reason: str) -> str:
    """An image that could not be used, and why."""
    return (
        f'<section id="image-{number}"><h2><bdi>{escape(name, LONGEST_NAME)}</bdi></h2>'
        f'<p class="problem">{escape(reason, 1000)}</p></section>\n'
    )


def _stage(number: int, prediction: Prediction, room: int) -> str:
    """Overlay and photograph, one of them shown; radio buttons need no script."""
    overlay = draw_segmentation(
        prediction.image, prediction.labels, prediction.metadata, largest=LARGEST_SIDE
    )
    size = (overlay.shape[1], overlay.shape[0])
    photo = cv2.resize(prediction.image, size, interpolation=cv2.INTER_AREA)
    buttons, pictures = [], []
    for i, (what, picture) in enumerate((("Categories", overlay), ("Photograph", photo))):
        checked = " checked" if i == 0 else ""
        button = f"view-{number}-{i}"
        buttons.append(
            f'<input type="radio" name="view-{number}" id="{button}"{checked}>'
            f'<label for="{button}">{what}</label>'
        )
        source = data_uri(jpeg_within(picture, int(room * SHARES[i])))
        pictures.append(f'<img src="{source}" width="{size[0]}" height="{size[1]}" alt="{what}">')
    return "".join(buttons) + f'<div class="stage">{"".join(pictures)}</div>'


def _heat_maps(
    prediction: Prediction, names: Sequence[str], chosen: Sequence[int], room: int
) -> str:
    properties = prediction.properties
    largest = heat_range(properties)
    each = int(room * SHARES[2] / max(len(chosen), 1))
    figures = []
    for k in chosen:
        picture = heat_map(prediction.image, properties[k], HEAT_WIDTH, largest)
        source = data_uri(jpeg_within(picture, each))
        figures.append(
            f'<figure><img src="{source}" width="{picture.shape[1]}" height="{picture.shape[0]}" '
            f'alt=""><figcaption>{names[k]} '
            f"<small>mean&nbsp;{properties[k].mean():.2f}</small></figcaption></figure>"
        )
    scale = f'<p class="scale">activation 0 {color_ramp()} {largest:.3g}</p>'
    return f'<div class="heat">{"".join(figures)}</div>{scale}'


def _categories(findings: Sequence[Finding], metadata: Metadata) -> str:
    if not findings:
        return "<p>No category is found: all of it is background.</p>"
    doubtful = doubtful_first(findings)
    first = doubtful[0] if doubtful else findings[0]
    return "".join(
        _category(finding, metadata, finding is first, bool(doubtful)) for finding in findings
    )


def _category(finding: Finding, metadata: Metadata, is_open: bool, compared: bool) -> str:
    explanation = finding.explanation
    badge = ' <span class="badge">least certain</span>' if is_open and compared else ""
    rival = ""
    if finding.contrast is not None:
        rival = (
            f'<span class="rival">{finding.contrast.difference:+.2f} to '
            f"<bdi>{short_name(finding.contrast.other)}</bdi></span>"
        )
    summary = (
        f"<summary>{patch(color_of(metadata, explanation.category))}"
        f"<b><bdi>{short_name(explanation.category)}</bdi></b>"
        f"<span>{escape(percent(finding.area))}</span><span>score {explanation.score_text}</span>"
        f"{rival}{badge}</summary>"
    )
    content = evidence_tables(explanation)
    if finding.contrast is not None:
        content += contrast_table(finding.contrast, finding.changes)
    return f"<details{' open' if is_open else ''}>{summary}{content}</details>"
