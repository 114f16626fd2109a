from __future__ import annotations

import numpy as np

from prolab_d2.visualizer import property_heatmap_sheet, telling_properties
from tests.conftest import TINY_NAMES

GREY = 100


def heat_tiles(sheet: np.ndarray, columns: int, width: int, top: int, height: int) -> np.ndarray:
    return np.stack(
        [sheet[top : top + height, 16 + i * (width + 16) :][:, :width] for i in range(columns)]
    )


def test_heat_maps_are_those_of_the_most_active_properties() -> None:
    properties = np.zeros((12, 8, 10), dtype=np.float32)
    properties[4] = 0.9
    properties[7, :, :5] = 0.8
    properties[2] = 0.1
    image = np.full((64, 80, 3), GREY, dtype=np.uint8)
    sheet = property_heatmap_sheet(image, properties, TINY_NAMES, top=3, columns=3, tile_width=160)
    first = int((sheet < 250).all(axis=2)[:, 30].argmax())
    first += int((sheet[first:, 16:176] < 255).any(axis=2).all(axis=1).argmax())
    tiles = heat_tiles(sheet, 3, 160, first, 128).astype(float).mean(axis=3)
    assert tiles[0].std() < 1  # active everywhere
    assert tiles[1][:, :60].mean() > tiles[1][:, 100:].mean() + 50  # active in the left half
    assert tiles[0].mean() > tiles[1].mean() > tiles[2].mean()


def test_heat_map_sheet_of_fewer_properties_than_asked_for() -> None:
    image = np.zeros((30, 40, 3), dtype=np.uint8)
    sheet = property_heatmap_sheet(image, np.ones((2, 3, 4)), ["one", "two"], top=12)
    assert sheet.shape[1] == 2 * 310 + 3 * 16


def test_heat_map_sheet_scales_to_values_above_one() -> None:
    image = np.zeros((30, 40, 3), dtype=np.uint8)
    properties = np.full((1, 3, 4), 7.0)
    sheet = property_heatmap_sheet(image, properties, ["one"], tile_width=400)
    # The brightest colour, light yellow, where the activation is the largest.
    assert (sheet[60:200, 30:300].mean(axis=(0, 1)) > (160, 160, 90)).all()


def test_maps_that_tell_most_vary_and_differ() -> None:
    maps = np.zeros((5, 8, 10))
    maps[0] = 1.0  # everywhere the same
    maps[1, :, :5] = 1.0
    maps[2, :, :5] = 0.9  # the same as map 1
    maps[3, :4] = 0.7  # another
    maps[4] = np.random.default_rng(0).random((8, 10)) * 0.1
    assert telling_properties(maps, 2) == [1, 3]
    assert sorted(telling_properties(maps, 9)) == [0, 1, 2, 3, 4]
    assert telling_properties(maps, 9)[2] == 4, "noise says more than the same once again"


def test_chosen_maps_stand_in_the_order_given() -> None:
    maps = np.zeros((3, 8, 10), dtype=np.float32)
    maps[2] = 1.0
    image = np.full((64, 80, 3), GREY, dtype=np.uint8)
    for chosen, bright in (([2, 0], 0), ([0, 2], 1)):
        sheet = property_heatmap_sheet(image, maps, list("abc"), chosen=chosen, tile_width=160)
        middle = sheet[60:100].astype(float).mean(axis=(0, 2))
        tiles = [middle[16:176].mean(), middle[192:352].mean()]
        assert tiles[bright] > tiles[1 - bright] + 50
