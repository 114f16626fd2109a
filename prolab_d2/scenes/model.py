"""The contents of a scene before it is drawn: faces, their surfaces, and the things they belong to.

Shapes: F faces, S surfaces, I instances.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from prolab_d2.scenes.palette import CATEGORIES

__all__ = ["Finish", "Geometry", "Model", "Surface"]


class Finish(IntEnum):
    """How the colour of a surface varies over it; see `materials.py`."""

    PLAIN = 0
    BRICK = 1
    TILES = 2
    GRAIN = 3
    LEAVES = 4
    PLANKS = 5
    SHEET = 6
    PAINT = 7
    GLASS = 8
    FACADE = 9
    ROAD = 10
    GLOW = 11
    STRIPES = 12


@dataclass(frozen=True)
class Surface:
    """What a face looks like.

    Attributes:
        finish: the texture.
        colour, second: linear light in [0, 1]; what `second` colours depends on the finish.
        numbers: up to six parameters of the finish.
    """

    finish: Finish
    colour: np.ndarray
    second: np.ndarray | None = None
    numbers: tuple[float, ...] = ()


@dataclass(frozen=True)
class Geometry:
    """All faces of a scene as arrays.

    Attributes:
        quads: (F, 4, 3) world metres.
        surface: (F,) index into the table of surfaces.
        instance: (F,) number of the instance, from 1.
        finish: (S,) `Finish` values.
        colour, second: (S, 3).
        numbers: (S, 6).
        round: (S,) bool: faceted balls and cylinders that should look smooth.
        round_centre, round_form: (S, 3) and (S, 3, 3): there, the outward direction at a point p is
            round_form (p - round_centre).
    """

    quads: np.ndarray
    surface: np.ndarray
    instance: np.ndarray
    finish: np.ndarray
    colour: np.ndarray
    second: np.ndarray
    numbers: np.ndarray
    round: np.ndarray
    round_centre: np.ndarray
    round_form: np.ndarray


@dataclass
class Model:
    """Collects faces. Between `place` and its end, shapes are moved to the given position."""

    attributes: list[dict[str, object]] = field(default_factory=list)
    """One entry per instance; instance n is entry n - 1."""
    _quads: list[np.ndarray] = field(default_factory=list)
    _surfaces: list[tuple[Surface, np.ndarray | None, np.ndarray | None]] = field(
        default_factory=list
    )
    _instances: list[int] = field(default_factory=list)
    _turn: np.ndarray = field(default_factory=lambda: np.eye(3))
    _origin: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def instance(self, category: str | None, **attributes: object) -> int:
        """Starts an instance; `category` None is a thing that no category covers (unlabelled)."""
        if category is not None and category not in CATEGORIES:
            raise KeyError(category)
        self.attributes.append({"category": category, **attributes})
        return len(self.attributes)

    @contextmanager
    def place(self, x: float, y: float, z: float, yaw: float = 0.0) -> Iterator[None]:
        """Shapes added inside stand at (x, y, z), turned by `yaw` radians about the vertical."""
        before = self._turn, self._origin
        cos, sin = np.cos(yaw), np.sin(yaw)
        turn = np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
        self._origin = before[0] @ np.array([x, y, z]) + before[1]
        self._turn = before[0] @ turn
        try:
            yield
        finally:
            self._turn, self._origin = before

    def add(self, instance: int, quads: np.ndarray, surface: Surface) -> None:
        """Adds flat faces (n, 4, 3)."""
        self._append(instance, quads, surface, None, None)

    def add_round(
        self,
        instance: int,
        quads: np.ndarray,
        surface: Surface,
        centre: tuple[float, float, float],
        radii: tuple[float, float, float],
    ) -> None:
        """Adds faces that stand for an ellipsoid; a radius of infinity makes it a cylinder."""
        form = self._turn @ np.diag(1.0 / np.square(radii)) @ self._turn.T
        middle = self._turn @ np.array(centre) + self._origin
        self._append(instance, quads, surface, middle, form)

    def _append(
        self,
        instance: int,
        quads: np.ndarray,
        surface: Surface,
        centre: np.ndarray | None,
        form: np.ndarray | None,
    ) -> None:
        self._quads.append(quads @ self._turn.T + self._origin)
        self._surfaces.append((surface, centre, form))
        self._instances.append(instance)

    def geometry(self) -> Geometry:
        """Everything added so far."""
        sizes = [len(quads) for quads in self._quads]
        number = len(self._surfaces)
        numbers = np.zeros((number, 6), dtype=np.float32)
        second = np.zeros((number, 3), dtype=np.float32)
        centre = np.zeros((number, 3), dtype=np.float32)
        form = np.zeros((number, 3, 3), dtype=np.float32)
        for index, (surface, middle, quadric) in enumerate(self._surfaces):
            numbers[index, : len(surface.numbers)] = surface.numbers
            second[index] = surface.colour if surface.second is None else surface.second
            if middle is not None:
                centre[index] = middle
                form[index] = quadric
        return Geometry(
            quads=np.concatenate(self._quads),
            surface=np.repeat(np.arange(number), sizes),
            instance=np.repeat(self._instances, sizes),
            finish=np.array([surface.finish for surface, _, _ in self._surfaces], dtype=np.uint8),
            colour=np.array([s.colour for s, _, _ in self._surfaces], dtype=np.float32),
            second=second,
            numbers=numbers,
            round=np.array([middle is not None for _, middle, _ in self._surfaces]),
            round_centre=centre,
            round_form=form,
        )
