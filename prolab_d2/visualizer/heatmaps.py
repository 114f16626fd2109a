"""Heat maps of property activations over the image.

Shapes: K properties, h x w map size, H x W image size.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import matplotlib
import numpy as np

from prolab_d2.canvas import GAP, TEXT, Canvas, contact_sheet, size_at_width, text_width
from prolab_d2.visualizer.palette import HEAT

__all__ = ["heat_map", "heat_range", "property_heatmap_sheet", "telling_properties"]


def telling_properties(properties: np.ndarray, top: int) -> list[int]:
    """The properties whose heat maps together show most: strong in one place, weak in another.

    The first varies most over the image; each further one has much variation that none of those
    before it shows already.

    Args:
        properties: (K, h, w) activations.
        top: how many at most.
    """
    values = np.asarray(properties, dtype=np.float64).reshape(len(properties), -1)
    values = values - values.mean(axis=1, keepdims=True)
    spread = np.linalg.norm(values, axis=1)
    shown = np.zeros(len(values))  # largest correlation with a chosen one
    chosen: list[int] = []
    while len(chosen) < min(top, len(values)):
        gain = spread * (1 - shown)
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        last = values[chosen[-1]]
        products = values @ last / np.maximum(spread * spread[chosen[-1]], 1e-12)
        shown = np.maximum(shown, np.clip(products, 0, 1))
    return chosen


def property_heatmap_sheet(
    image: np.ndarray,
    properties: np.ndarray,
    names: Sequence[str],
    *,
    chosen: Sequence[int] | None = None,
    top: int = 12,
    columns: int = 4,
    tile_width: int = 310,
) -> np.ndarray:
    """Heat maps of properties over the image, with names and one colour bar.

    Args:
        image: (H, W, 3) uint8 RGB.
        properties: (K, h, w) activations that cover the image; above 0 is active.
        names: K readable names.
        chosen: which properties; None for the `top` ones with the highest mean activation.
    """
    properties = np.asarray(properties, dtype=np.float32)
    means = properties.mean(axis=(1, 2))
    if chosen is None:
        chosen = np.argsort(-means, kind="stable")[:top].tolist()
    largest = heat_range(properties)
    tiles = [heat_map(image, properties[k], tile_width, largest) for k in chosen]
    # The parts of a number with its name stay on one line.
    titles = [f"{names[k]} (mean\u00a0{means[k]:.2f})" for k in chosen]
    sheet = contact_sheet(tiles, titles, columns=columns)
    bar = _color_bar(sheet.shape[1], largest)
    return np.concatenate([sheet, bar], axis=0)


def heat_range(properties: np.ndarray) -> float:
    """The activation of the brightest colour: activations lie in [0, 1], but "cosine" logits."""
    return max(1.0, float(properties.max(initial=0.0)))


def heat_map(
    image: np.ndarray, activation: np.ndarray, width: int, largest: float = 1.0
) -> np.ndarray:
    """One property's heat map over the image, `width` pixels wide, see `size_at_width`.

    Args:
        image: (H, W, 3) uint8 RGB.
        activation: (h, w), covers the image.
        largest: the activation of the brightest colour; 0 has the darkest.
    """
    size = size_at_width(image, width)
    grey = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    heat = np.clip(np.asarray(activation, dtype=np.float32) / largest, 0, 1)
    heat = cv2.resize(heat, size, interpolation=cv2.INTER_LINEAR)
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
