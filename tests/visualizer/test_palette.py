"""Colours that carry a meaning stay apart for the three kinds of colour blindness."""

from __future__ import annotations

from itertools import combinations

import matplotlib
import numpy as np
import pytest

from prolab_d2.colors import seen_distances
from prolab_d2.visualizer.palette import HEAT, NEUTRAL, SUPPORTS, UNEXPECTED


@pytest.mark.parametrize("pair", list(combinations([SUPPORTS, UNEXPECTED, NEUTRAL], 2)))
def test_bars_can_be_told_apart_with_every_kind_of_colour_vision(pair: tuple) -> None:
    assert min(seen_distances(*pair)) > 25  # CIELAB; about 2 can just be seen


def test_red_and_green_would_not_do() -> None:
    assert min(seen_distances((214, 39, 40), (44, 120, 44))) < 25


def test_the_heat_map_gets_lighter_all_the_way() -> None:
    ramp = matplotlib.colormaps[HEAT](np.linspace(0, 1, 64))[:, :3] * 255
    black = [seen_distances((0, 0, 0), color) for color in ramp]
    lightness = ramp @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > 0).all()
    assert min(black[-1]) > 85, "both ends stay apart for every kind of colour vision"
