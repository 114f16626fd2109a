"""Plots of how well properties can be seen; data as `grounding_report.grounding_data` gives it."""

from __future__ import annotations

import textwrap
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from prolab_d2.visualizer.palette import MUTED, NEUTRAL, SUPPORTS, UNEXPECTED

__all__ = ["plot_grounding", "plot_reliability"]

# Rows of a plot that can be read; with more properties the ends of the order are shown.
MOST_ROWS = 48
MOST_CURVES = 12


def _rgb(color: tuple[int, int, int]) -> tuple[float, ...]:
    return tuple(value / 255 for value in color)


def _chosen(properties: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Properties that occur, the most visible first; of too many the first and the last ones."""
    known = [one for one in properties if not np.isnan(one["visibility"])]
    known.sort(key=lambda one: -one["visibility"])
    half = most // 2
    return known if len(known) <= most else [*known[:half], *known[-half:]]


def plot_grounding(data: dict[str, Any], path: Path, title: str) -> None:
    """Average precision over the base rate, calibration error, and mIoU lost without a property."""
    rows = _chosen(data["properties"], MOST_ROWS)
    figure = Figure(figsize=(13, 1.6 + 0.3 * max(len(rows), 4)), layout="constrained")
    precision, error, loss = figure.subplots(1, 3, sharey=True, width_ratios=(3, 1.6, 2.4))
    places = np.arange(len(rows))
    base = [100 * one["base_rate"] for one in rows]
    found = [100 * one["average_precision"] for one in rows]
    precision.barh(
        places, found, color=_rgb(SUPPORTS), height=0.7, label="average precision by signature"
    )
    precision.scatter(
        base, places, marker="D", s=22, color=_rgb(UNEXPECTED), edgecolor="black",
        linewidth=0.5, zorder=3, label="base rate (chance)",
    )  # fmt: skip
    annotated = [
        (place, 100 * one["annotated"]["average_precision"])
        for place, one in zip(places, rows, strict=True)
        if one.get("annotated")
    ]
    if annotated:
        at, values = zip(*annotated, strict=True)
        precision.scatter(
            values, at, marker="X", s=30, color=_rgb(NEUTRAL), edgecolor="black",
            linewidth=0.6, zorder=3, label="average precision by annotation",
        )  # fmt: skip
    precision.set_xlabel("average precision, %")
    precision.set_xlim(0, 100)
    names = [textwrap.shorten(one["name"], 52, placeholder=" ...") for one in rows]
    precision.set_yticks(places, names, fontsize=8)
    precision.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    error.barh(places, [one["calibration_error"] for one in rows], color=_rgb(MUTED), height=0.7)
    error.scatter(
        [one["active_calibration_error"] for one in rows], places, marker="o", s=22,
        color=_rgb(SUPPORTS), edgecolor="black", linewidth=0.5, zorder=3,
    )  # fmt: skip
    error.set_xlabel("calibration error\n(circle: of active cells)")
    losses = np.array([one["mIoU_loss"] for one in rows])
    colors = [_rgb(SUPPORTS) if value >= 0 else _rgb(UNEXPECTED) for value in losses]
    loss.barh(places, losses, color=colors, edgecolor="black", linewidth=0.4, height=0.7)
    loss.axvline(0, color="black", linewidth=0.8)
    loss.set_xlabel("mIoU lost without it, points\n(left of 0: gained)")
    for axes in (precision, error, loss):
        _plain(axes)
    figure.suptitle(title, fontsize=11)
    _save(figure, path)


def plot_reliability(data: dict[str, Any], path: Path, title: str) -> None:
    """Activation against how often it is true, for the properties with the largest error."""
    known = [one for one in data["properties"] if one["base_rate"] > 0]
    known.sort(key=lambda one: -one["calibration_error"])
    rows = known[:MOST_CURVES]
    columns = min(4, max(len(rows), 1))
    lines = max(-(-len(rows) // columns), 1)
    figure = Figure(figsize=(3 * columns, 2.9 * lines + 0.5), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, one in zip(grid, rows, strict=False):
        reliability = one["reliability"]
        confidence, truth, pixels = (
            np.asarray(reliability[key], dtype=float) for key in ("confidence", "truth", "pixels")
        )
        share = pixels / max(pixels.sum(), 1)
        centres = (np.arange(len(pixels)) + 0.5) / len(pixels)
        axes.bar(centres, share, width=0.9 / len(pixels), color=_rgb(NEUTRAL))
        axes.plot([0, 1], [0, 1], color=_rgb(MUTED), linestyle="--", linewidth=1)
        shown = pixels > 0
        axes.plot(confidence[shown], truth[shown], "o-", color=_rgb(SUPPORTS), markersize=4)
        name = textwrap.shorten(one["name"], 60, placeholder=" ...")
        axes.set_title(
            f"{textwrap.fill(name, 32)}\nerror {one['calibration_error']:.3f}", fontsize=8
        )
        _plain(axes)
    for axes in grid[len(rows) :]:
        axes.set_visible(False)
    figure.supxlabel("activation", fontsize=9)
    figure.supylabel("line: share of cells that have it; grey: share of all cells", fontsize=9)
    figure.suptitle(title, fontsize=11)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    """As a PNG of few colours, a third as large as with all of them."""
    drawn = BytesIO()
    figure.savefig(drawn, dpi=110, format="png")
    few = Image.open(drawn).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    few.save(path, format="png", optimize=True)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color=_rgb(NEUTRAL), linewidth=0.6)
    axes.set_axisbelow(True)
