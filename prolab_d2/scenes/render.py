"""From geometry to picture: visibility, textures, sun and shadow, sky and haze.

Shapes: H x W image size, F faces, P visible points. Drawn at twice the size and averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prolab_d2.scenes.materials import Points, look
from prolab_d2.scenes.model import Finish, Geometry
from prolab_d2.scenes.noise import smooth
from prolab_d2.scenes.palette import Weather, linear
from prolab_d2.scenes.raster import Hits, View, rasterise

__all__ = ["SAMPLES", "Sun", "camera", "render"]

SAMPLES = 2
"""Samples per pixel along each side."""

_SHADOW_SIZE = 640
_SHADOW_REACH = 46.0


@dataclass(frozen=True)
class Sun:
    """Attributes: direction (3,) towards the sun; weather."""

    direction: np.ndarray
    weather: Weather


def camera(
    position: tuple[float, float, float],
    yaw: float,
    pitch: float,
    roll: float,
    field_of_view: float,
    size: tuple[int, int],
) -> View:
    """A camera that looks along +z, turned by yaw (to the right), pitch (up) and roll, in radians.

    Args:
        field_of_view: horizontal, in radians.
        size: height and width of the samples.
    """
    height, width = size
    forward = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    right = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
    up = np.cross(forward, right)
    right, up = (
        right * np.cos(roll) + up * np.sin(roll),
        up * np.cos(roll) - right * np.sin(roll),
    )
    scale = width / 2 / np.tan(field_of_view / 2)
    rotation = np.stack([right, up, forward])
    return View(np.array(position), rotation, scale, height, width, (width / 2, height / 2))


def _sun_view(sun: Sun, eye: View) -> View:
    """A view from the sun over the ground before the camera."""
    forward = -sun.direction
    right = np.cross(np.array([0.0, 1.0, 0.0]), forward)
    right /= np.linalg.norm(right)
    up = np.cross(forward, right)
    ahead = eye.rotation[2] * np.array([1.0, 0.0, 1.0])
    middle = eye.position + ahead * (_SHADOW_REACH * 0.45)
    scale = _SHADOW_SIZE / _SHADOW_REACH
    half = _SHADOW_SIZE / 2
    rotation = np.stack([right, up, forward])
    return View(middle, rotation, scale, _SHADOW_SIZE, _SHADOW_SIZE, (half, half), False)


def render(geometry: Geometry, eye: View, sun: Sun) -> tuple[np.ndarray, Hits]:
    """Draws the scene.

    Args:
        eye: a camera with SAMPLES times the height and width of the picture.
    Returns:
        Linear light (H * SAMPLES, W * SAMPLES, 3) float32 before exposure; what each sample hits.
    """
    hits = rasterise(eye, geometry.quads)
    rays = eye.directions().reshape(-1, 3)
    flat = hits.face.ravel()
    covered, free = np.flatnonzero(flat >= 0), np.flatnonzero(flat < 0)
    picture = np.empty_like(rays)
    picture[free] = _sky(rays[free], sun)
    rays = rays[covered]
    face = flat[covered]
    surface = geometry.surface[face]
    depth = 1.0 / hits.nearness.ravel()[covered]
    point = eye.position.astype(np.float32) + rays * depth[:, None]

    flat_normal, tangent, bitangent, origin = _frames(geometry.quads)
    normal = flat_normal[face]
    curved = np.flatnonzero(geometry.round[surface])
    if len(curved):
        which = surface[curved]
        outward = np.einsum(
            "pij,pj->pi",
            geometry.round_form[which],
            point[curved] - geometry.round_centre[which],
        )
        normal[curved] = outward / np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-6)

    facing = np.abs(_dot(flat_normal[face], rays)) / np.sqrt(_dot(rays, rays))
    footprint = depth / np.float32(eye.scale / SAMPLES) / np.maximum(facing, 0.12)
    offset = point - origin[face]
    u = _dot(offset, tangent[face])
    v = _dot(offset, bitangent[face])
    # On curved surfaces the faces' own axes would show seams: use directions of the world.
    u[curved] = point[curved, 0] + 0.6 * point[curved, 2]
    v[curved] = point[curved, 1] + 0.3 * point[curved, 2]

    albedo, mirror, glow = _appearance(geometry, surface, u, v, footprint, normal, sun)
    light = _light(geometry, eye, sun, point, normal, face)
    light *= _occlusion(hits).ravel()[covered][:, None]
    shaded = albedo * light
    shaded += (_sky_colour(sun) - shaded) * mirror[:, None]
    glowing = np.flatnonzero(glow)
    shaded[glowing] = albedo[glowing] * 1.6
    air = 1 - np.exp(depth * np.float32(-sun.weather.haze / 100.0))
    shaded += (_light_of(sun.weather.horizon) * np.float32(1.05) - shaded) * air[:, None]
    picture[covered] = shaded
    return picture.reshape(eye.height, eye.width, 3), hits


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(P,) products of the rows of two (P, 3) arrays."""
    return a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1] + a[:, 2] * b[:, 2]


def _light_of(srgb: tuple[float, float, float]) -> np.ndarray:
    return linear(srgb).astype(np.float32)


def _frames(quads: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Normals, two axes and the origin of every face, (F, 3) float32 each."""
    normal = np.cross(quads[:, 3] - quads[:, 1], quads[:, 2] - quads[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    tangent = quads[:, 1] - quads[:, 0]
    short = np.linalg.norm(tangent, axis=1) < 1e-6
    tangent[short] = (quads[:, 2] - quads[:, 3])[short]
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    bitangent = np.cross(tangent, normal)
    return tuple(a.astype(np.float32) for a in (normal, tangent, bitangent, quads[:, 0]))


def _appearance(
    geometry: Geometry,
    surface: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    footprint: np.ndarray,
    normal: np.ndarray,
    sun: Sun,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Albedo (P, 3), mirrored share (P,) and glow (P,) of every point."""
    albedo = np.empty((len(surface), 3), dtype=np.float32)
    mirror = np.zeros(len(surface), dtype=np.float32)
    glow = np.zeros(len(surface), dtype=np.float32)
    finish = geometry.finish[surface]
    for kind in np.flatnonzero(np.bincount(finish)):
        at = np.flatnonzero(finish == kind)
        which = surface[at]
        seen = look(
            Finish(kind),
            Points(
                u[at],
                v[at],
                footprint[at],
                normal[at],
                geometry.colour[which],
                geometry.second[which],
                geometry.numbers[which],
                _sky_colour(sun),
            ),
        )
        albedo[at] = seen.albedo
        mirror[at] = seen.mirror
        glow[at] = seen.glow
    return albedo, mirror, glow


def _sky_colour(sun: Sun) -> np.ndarray:
    """(3,) mean colour of the sky."""
    weather = sun.weather
    return 0.5 * (_light_of(weather.zenith) + _light_of(weather.horizon))


def _light(
    geometry: Geometry,
    eye: View,
    sun: Sun,
    point: np.ndarray,
    normal: np.ndarray,
    face: np.ndarray,
) -> np.ndarray:
    """(P, 3) light on every point: sun with shadow, sky from above, a warm glow from the ground."""
    weather = sun.weather
    lambert = np.clip(normal @ sun.direction.astype(np.float32), 0, 1)
    lit = np.flatnonzero(lambert > 0)
    lambert[lit] *= _sunlit(geometry, _sun_view(sun, eye), point[lit], normal[lit], face[lit])
    sky = _sky_colour(sun)
    sky = sky / sky.mean() * np.float32(weather.ambient_strength * 0.5)
    up = 0.5 + 0.5 * normal[:, 1:2]
    ambient = sky * (0.45 + 0.55 * up) + np.float32((0.10, 0.085, 0.07)) * (1 - up)
    ambient += lambert[:, None] * (_light_of(weather.sun) * np.float32(weather.sun_strength))
    return ambient


def _sunlit(
    geometry: Geometry, view: View, point: np.ndarray, normal: np.ndarray, face: np.ndarray
) -> np.ndarray:
    """(P,) share of a few neighbouring samples of the sun's view that see the point."""
    hits = rasterise(view, geometry.quads)
    to_screen = (view.rotation * ((view.scale,), (-view.scale,), (-1.0,))).astype(np.float32)
    lifted = point + normal * np.float32(0.05) - view.position.astype(np.float32)
    column, row, nearness = (lifted @ to_screen.T).T
    column = column + np.float32(view.centre[0])
    row = row + np.float32(view.centre[1])
    # Beyond the sun's view, everything is lit.
    inside = (column > 1) & (column < view.width - 1) & (row > 1) & (row < view.height - 1)
    within = np.flatnonzero(inside)
    column, row, face = column[within], row[within], face[within]
    nearness = nearness[within] + np.float32(0.12)
    blocker, blocking = hits.nearness.ravel(), hits.face.ravel()
    taps = ((-0.7, -0.3), (0.3, -0.7), (0.7, 0.3), (-0.3, 0.7))
    seen = np.zeros(len(within), dtype=np.float32)
    for right, down in taps:
        cell = (row + down).astype(np.int32) * view.width + (column + right).astype(np.int32)
        seen += (blocker[cell] < nearness) | (blocking[cell] == face)
    lit = np.ones(len(point), dtype=np.float32)
    lit[within] = seen / len(taps)
    return lit


def _occlusion(hits: Hits) -> np.ndarray:
    """At most 1 per sample: darkens what lies behind a nearer neighbour (depth minus its blur)."""
    nearness = hits.nearness[::SAMPLES, ::SAMPLES]
    depth = np.where(nearness > 0, 1.0 / np.maximum(nearness, 1e-3), 80.0)
    depth = np.minimum(depth, 80.0).astype(np.float32)
    radius = max(depth.shape[0] // 48, 2)
    behind = (depth - _blur(depth, radius)) / depth
    darker = 1.0 - np.clip(behind * 1.6, 0.0, 0.35)
    return darker.repeat(SAMPLES, axis=0).repeat(SAMPLES, axis=1)


def _blur(field: np.ndarray, radius: int) -> np.ndarray:
    """Box mean of width 2 radius + 1 along both axes, edges repeated."""
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (radius + 1, radius)
        total = np.cumsum(np.pad(field, pad, mode="edge"), axis=axis, dtype=np.float64)
        size = 2 * radius + 1
        high = total[size:] if axis == 0 else total[:, size:]
        low = total[:-size] if axis == 0 else total[:, :-size]
        field = ((high - low) / size).astype(np.float32)
    return field


def _sky(rays: np.ndarray, sun: Sun) -> np.ndarray:
    """(P, 3) sky along the rays: gradient, clouds, glow about the sun."""
    weather = sun.weather
    ray = rays / np.sqrt(_dot(rays, rays))[:, None]
    direction = sun.direction.astype(np.float32)
    height = np.clip(ray[:, 1], 0, 1)
    share = 1 - np.exp(-4.0 * height)
    zenith, horizon = _light_of(weather.zenith), _light_of(weather.horizon)
    colour = horizon + (zenith - horizon) * share[:, None]
    above = np.maximum(height, 0.02) + 0.12
    # The azimuth of the sun also decides which part of the cloud tile is seen.
    u = ray[:, 0] / above + 13.7 * direction[0]
    v = ray[:, 2] / above + 17.3 * direction[2]
    puff = 0.65 * smooth(u, v * 1.6, 3.2) + 0.35 * smooth(u + 5, v * 1.6, 1.1)
    edge = 0.72 - 0.42 * weather.clouds
    cover = np.clip((puff - edge) / 0.16, 0, 1) * np.clip(height * 9, 0, 1)
    white = 0.55 * _light_of(weather.sun) + 0.42 * horizon + 0.03
    shade = white * (0.82 + 0.35 * np.clip(puff - edge, 0, 1))[:, None]
    colour = colour + (shade - colour) * (cover * 0.85)[:, None]
    halo = np.clip(ray @ direction, 0, 1) ** 40 * np.float32(0.5 * (1 - 0.8 * weather.clouds))
    return colour + halo[:, None] * _light_of(weather.sun)
