"""Measures of a street. The road runs along z, its middle at x = 0; side is -1 left, 1 right."""

from __future__ import annotations

from dataclasses import dataclass

from prolab_d2.scenes.kit import Kit

__all__ = ["HALF_SIDE_STREET", "KERB", "Plan", "plan_street"]

KERB = 0.13
"""Height of the pavement over the road, in metres."""

HALF_SIDE_STREET = 3.2


@dataclass
class Plan:
    """Measures of a street.

    Attributes:
        half_road: half the width of the road.
        pavement: widths of the pavements left and right.
        verge: width of a grass strip between pavement and lots, left and right.
        end: z of the houses or trees that close the street.
        crossing: z of the middle of a side street, or None.
        taken: (x, z, radius) of everything placed so far.
    """

    half_road: float
    pavement: tuple[float, float]
    verge: tuple[float, float]
    end: float
    crossing: float | None
    taken: list[tuple[float, float, float]]

    def edge(self, side: int) -> float:
        """Distance of the lots from the middle of the road."""
        index = 0 if side < 0 else 1
        return self.half_road + self.pavement[index] + self.verge[index]

    def free(self, x: float, z: float, radius: float) -> bool:
        """Takes the place if nothing else is there."""
        for other_x, other_z, other in self.taken:
            if (x - other_x) ** 2 + (z - other_z) ** 2 < (radius + other) ** 2:
                return False
        self.taken.append((x, z, radius))
        return True


def plan_street(kit: Kit) -> Plan:
    rng = kit.rng
    verges = tuple(float(rng.uniform(1.0, 2.2)) if kit.chance(0.6) else 0.0 for _ in range(2))
    return Plan(
        half_road=float(rng.uniform(2.7, 3.7)),
        pavement=(float(rng.uniform(2.0, 3.0)), float(rng.uniform(2.0, 3.0))),
        verge=(verges[0], verges[1]),
        end=float(rng.uniform(26, 40)) if kit.chance(0.35) else float(rng.uniform(60, 80)),
        crossing=float(rng.uniform(13, 22)) if kit.chance(0.35) else None,
        taken=[],
    )
