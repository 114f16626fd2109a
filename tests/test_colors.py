from __future__ import annotations

import numpy as np

from prolab_d2.colors import distinct_colors, more_colors, seen_distances


def test_the_first_colors_do_not_depend_on_how_many_are_asked_for() -> None:
    assert distinct_colors(40)[:12] == distinct_colors(12)
    assert distinct_colors(0) == ()


def test_hundreds_of_categories_get_distinct_colors() -> None:
    colors = np.array(distinct_colors(1203))
    assert colors.shape == (1203, 3)
    assert colors.min() >= 0 and colors.max() <= 255
    assert len(np.unique(colors, axis=0)) == 1203


def test_colors_repeat_when_all_are_used_up() -> None:
    assert len(distinct_colors(5000)) == 5000


def test_few_colors_differ_in_lightness_or_along_blue_and_yellow() -> None:
    # Red-blind and green-blind eyes see little but these two axes.
    colors = np.array(distinct_colors(9)) / 255
    axes = np.stack([colors @ [0.3, 0.6, 0.1], colors[:, 2] - colors[:, :2].mean(axis=1)], axis=1)
    distances = np.linalg.norm(axes[:, None] - axes[None], axis=-1)
    assert distances[~np.eye(9, dtype=bool)].min() > 0.08


def test_more_colors_keep_away_from_those_in_use() -> None:
    used = [*distinct_colors(6), (0, 0, 0)]
    more = more_colors(used, 4)
    assert len(set(more)) == 4 and not set(more) & set(used)
    assert min(seen_distances(a, b)[0] for a in more for b in used) > 20
    assert more_colors([], 3) == list(distinct_colors(3))


def test_more_colors_keep_away_from_each_other() -> None:
    # Nothing violet among these: the two colours farthest from them are both violet.
    used = [(112, 178, 222), (150, 96, 84), (92, 88, 108), (206, 176, 196), (168, 204, 92)]
    used += [(44, 110, 62), (112, 154, 42), (190, 140, 80), (158, 162, 172), (246, 206, 60)]
    used += [(38, 74, 176), (20, 146, 160), (222, 44, 92), (242, 118, 44)]
    one, other = more_colors(used, 2)
    assert seen_distances(one, other)[0] > 100
    assert min(seen_distances(a, b)[0] for a in (one, other) for b in used) > 40
