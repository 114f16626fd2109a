"""The rasteriser: which face a pixel sees, and how near it is."""

from __future__ import annotations

import numpy as np
import pytest

from prolab_d2.scenes.raster import View, rasterise
from prolab_d2.scenes.shapes import box, cylinder, ellipsoid, extrusion, plate

WIDTH, HEIGHT, FOCAL = 40, 30, 30.0


def view(perspective: bool = True) -> View:
    """At the origin, looking along +z."""
    centre = (WIDTH / 2, HEIGHT / 2)
    return View(np.zeros(3), np.eye(3), FOCAL, HEIGHT, WIDTH, centre, perspective)


def wall(z: float, width: float = 100.0, slant: float = 0.0) -> np.ndarray:
    """(1, 4, 3): a wall across the view at a distance; `slant` moves its upper edge away."""
    quad = plate(width, 100.0, (0.0, -50.0, z))
    quad[:, 2:, 2] += slant
    return quad


def test_a_square_covers_the_pixels_that_its_projection_covers() -> None:
    hits = rasterise(view(), plate(2.0, 2.0, (0.0, -1.0, 10.0)))
    # 30 pixels of focal length times 2 metres over 10 metres.
    rows, columns = np.nonzero(hits.face == 0)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (12, 17, 17, 22)
    assert len(rows) == 36
    assert np.allclose(hits.nearness[rows, columns], 0.1)


def test_the_nearer_face_wins_whatever_the_order() -> None:
    near, far = plate(2.0, 2.0, (0.0, -1.0, 5.0)), wall(9.0)
    for quads, front in (((near, far), 0), ((far, near), 1)):
        hits = rasterise(view(), np.concatenate(quads))
        assert hits.face[HEIGHT // 2, WIDTH // 2] == front
        assert hits.face[0, 0] == 1 - front


def test_depth_of_a_slanted_face_is_that_of_its_plane() -> None:
    camera = view()
    hits = rasterise(camera, wall(10.0, slant=20.0))
    # z = 10 + 20 (y + 50) / 100 along the ray y = s z.
    slope = camera.directions()[..., 1]
    assert np.allclose(1 / hits.nearness, 20.0 / (1 - 0.2 * slope), rtol=1e-5)


def test_faces_seen_from_behind_are_invisible() -> None:
    assert (rasterise(view(), wall(5.0)[:, ::-1]).face == -1).all()
    assert (rasterise(view(), wall(5.0)).face == 0).all()


def test_a_floor_that_passes_below_the_camera_is_cut_at_the_near_plane() -> None:
    floor = np.array([[(-50, -1, -5), (50, -1, -5), (50, -1, 200), (-50, -1, 200)]], dtype=float)
    hits = rasterise(view(), floor)
    assert (hits.face[HEIGHT // 2 + 1 :] == 0).all()
    assert (hits.face[: HEIGHT // 2] == -1).all()
    expected = (np.arange(16, HEIGHT) + 0.5 - HEIGHT / 2) / FOCAL
    assert np.allclose(hits.nearness[16:, 5], expected, atol=1e-6)


def test_without_perspective_size_does_not_depend_on_distance() -> None:
    for z in (3.0, 30.0):
        hits = rasterise(view(perspective=False), plate(0.5, 0.5, (0.0, -0.25, z)))
        assert abs(int((hits.face == 0).sum()) - 15 * 15) <= 31
        assert np.allclose(hits.nearness[hits.face == 0], -z)


@pytest.mark.parametrize(
    "quads",
    [
        box((1.0, 2.0, 3.0)),
        cylinder(0.5, 2.0, sides=7),
        ellipsoid((1.0, 0.5, 0.7), (0.0, 1.0, 0.0)),
        extrusion(np.array([(-1.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.5), (-1.0, 1.0)]), 2.0),
    ],
    ids=["box", "cylinder", "ellipsoid", "extrusion"],
)
def test_faces_of_a_solid_look_outwards(quads: np.ndarray) -> None:
    middle = quads.reshape(-1, 3).mean(axis=0)
    outward = np.cross(quads[:, 3] - quads[:, 1], quads[:, 2] - quads[:, 0])
    assert (np.einsum("fi,fi->f", outward, quads.mean(axis=1) - middle) > 0).all()


def test_a_solid_has_no_holes() -> None:
    quads = box((4.0, 4.0, 4.0), (0.0, -2.0, 8.0))
    hits = rasterise(view(), np.concatenate([quads, wall(50.0)]))
    inside = hits.face < len(quads)
    rows, columns = np.nonzero(inside)
    assert inside[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
