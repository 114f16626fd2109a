"""Colours that mean something in pictures and reports; safe for every kind of colour vision."""

from __future__ import annotations

from prolab_d2.canvas import Color

__all__ = ["EMPTY", "HEAT", "MUTED", "NEUTRAL", "SUPPORTS", "UNEXPECTED"]

# Of Okabe and Ito's palette, made to be told apart with every kind of colour vision.
SUPPORTS: Color = (0, 114, 178)
UNEXPECTED: Color = (230, 159, 0)
NEUTRAL: Color = (215, 215, 215)
EMPTY: Color = (242, 242, 242)  # behind a bar
MUTED: Color = (95, 95, 95)  # less important text, outlines
HEAT = "inferno"  # of Matplotlib: black to yellow, lightness rises evenly
