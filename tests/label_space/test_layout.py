from __future__ import annotations

import numpy as np
import pytest

from prolab_d2 import LabelSpace
from prolab_d2.label_space.clustering import unit_rows
from prolab_d2.label_space.layout import neighbour_map, principal_axes, similarity_order


def random_rows(n: int, dim: int = 16) -> np.ndarray:
    return unit_rows(np.random.default_rng(0).normal(size=(n, dim)))


def kept_neighbours(rows: np.ndarray, points: np.ndarray, count: int = 5) -> float:
    """Part of the nearest rows that are among the nearest points as well."""
    far = 2 * np.eye(len(rows)) * 1e6
    true = (far - rows @ rows.T).argsort(1)[:, :count]
    shown = (far + ((points[:, None] - points) ** 2).sum(-1)).argsort(1)[:, :count]
    return float(np.mean([len({*a} & {*b}) / count for a, b in zip(true, shown, strict=True)]))


@pytest.mark.parametrize("n", [1, 2, 3, 40])
def test_an_order_holds_every_number_once(n: int) -> None:
    rows = random_rows(n)
    assert sorted(similarity_order(rows @ rows.T)) == list(range(n))


def test_the_order_joins_groups_that_were_apart() -> None:
    group = np.array([0, 1, 2] * 5)
    centres = np.eye(3, 16)
    rows = unit_rows(centres[group] + 0.05 * random_rows(15))
    order = similarity_order(rows @ rows.T)
    assert (np.diff(group[order]) != 0).sum() == 2


def test_the_order_follows_a_line() -> None:
    angles = np.random.default_rng(1).permutation(20) * 0.05
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    walk = np.abs(np.diff(angles[similarity_order(rows @ rows.T)]))
    # No tree can be cut so that all of a line comes in order, but hardly a step is longer than one.
    assert np.median(walk) == pytest.approx(0.05) and walk.max() < 0.5


def test_the_principal_axes_are_those_of_the_rows() -> None:
    flat = np.random.default_rng(0).normal(size=(30, 2)) * [3, 1]
    turned = np.concatenate([flat @ [[0.6, 0.8], [-0.8, 0.6]], np.zeros((30, 3))], axis=1)
    axes = principal_axes(turned)
    distances = np.linalg.norm(axes[:, None] - axes, axis=-1)
    assert np.allclose(distances, np.linalg.norm(flat[:, None] - flat, axis=-1))
    assert axes[:, 0].std() > axes[:, 1].std()
    assert np.allclose(principal_axes(-turned)[np.abs(axes).argmax(0), [0, 1]] > 0, True)


@pytest.mark.parametrize("n", [1, 2, 5, 8, 60])
def test_a_map_fills_the_square_and_repeats(n: int) -> None:
    rows = random_rows(n)
    points = neighbour_map(rows)
    assert points.shape == (n, 2) and np.isfinite(points).all()
    assert points.min() >= 0 and points.max() <= 1
    assert n == 1 or (np.ptp(points, axis=0)[0] == pytest.approx(1))
    assert np.array_equal(points, neighbour_map(rows))


def test_equal_rows_lie_on_one_place() -> None:
    points = neighbour_map(np.repeat(random_rows(1), 10, axis=0))
    assert np.isfinite(points).all()
    pairs = neighbour_map(np.repeat(random_rows(12), 2, axis=0))
    assert np.abs(pairs[::2] - pairs[1::2]).max() < 1e-3


def test_the_map_keeps_more_neighbours_than_the_principal_axes() -> None:
    rows = unit_rows(LabelSpace.load("camvid").bank)
    spread = kept_neighbours(rows, neighbour_map(rows))
    assert spread > 0.5 and spread > kept_neighbours(rows, principal_axes(rows))
    groups = unit_rows(random_rows(40, 32)[np.arange(200) % 40] + 0.4 * random_rows(200, 32))
    assert kept_neighbours(groups, neighbour_map(groups), 4) > 0.8
    assert kept_neighbours(groups, principal_axes(groups), 4) < 0.5
