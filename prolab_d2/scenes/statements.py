"""Which sentences are true of a drawn thing, by what is stored of it.

A sentence is about the thing as a whole. Those about its parts, its place or its size are decided
by nothing that is stored, and have no rule here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["UNKNOWN", "is_true"]

UNKNOWN = -1

Condition = dict[str, frozenset[str]]


@dataclass(frozen=True)
class _Rule:
    """True where one of `true` holds, unknown where only one of `unknown` does, else false."""

    true: tuple[Condition, ...]
    unknown: tuple[Condition, ...] = ()


def _when(**values: str) -> Condition:
    """All of the given attributes are among their values, which "|" separates."""
    return {name: frozenset(text.split("|")) for name, text in values.items()}


_PAINT = "red|yellow|blue|green"
_BOARDS = _Rule((_when(material="wood"),))
_AUTUMN = _Rule((_when(material="leaves", colour="red|yellow"),))

_RULES: dict[str, _Rule] = {
    "vertical boards with gaps between them": _BOARDS,
    "vertical boards side by side": _BOARDS,
    "boards of brown wood": _Rule((_when(material="wood", colour="brown"),)),
    # Leaves, bricks and plaster are dull or pale, and their colours still have these names.
    "bright red, yellow, blue or green": _Rule(
        (
            _when(material="metal|wood", colour=_PAINT),
            _when(material="cloth", colour=_PAINT, second_colour=_PAINT),
        ),
        (
            _when(material="cloth", colour=_PAINT),
            _when(material="cloth", second_colour=_PAINT),
            _when(material="leaves|grass|plaster|brick|concrete|air", colour=_PAINT),
            # White plates with a red rim.
            _when(category="sign", form="round|triangular|square"),
        ),
    ),
    "red or yellow bricks laid flat on the ground": _Rule(
        (_when(material="brick", orientation="horizontal", colour="red|yellow"),)
    ),
    "tall walls of red or yellow brick": _Rule(
        (_when(category="building", material="brick", colour="red|yellow"),)
    ),
    "low wall of red bricks with pillars": _Rule(
        (_when(category="fence", material="brick", colour="red"),)
    ),
    "blue with a few clouds": _Rule((_when(category="sky", colour="blue"),)),
    "long, low box shape with straight sides": _Rule(
        (_when(category="hedge", form="band"),),
        (_when(category="fence|car|bus"),),
    ),
    "round plate in red and white": _Rule((_when(form="round", colour="red|white"),)),
    "triangular plate with a red border": _Rule((_when(form="triangular"),)),
    "three round traffic lights in a box": _Rule((_when(form="traffic light"),)),
    # The sheets of a fence have ribs.
    "smooth metal, painted all over": _Rule(
        (_when(category="pole|sign|car|bus|postbox", material="metal"),),
        (_when(category="fence", material="metal"),),
    ),
    "crown of green leaves": _Rule(
        (_when(category="tree", colour="green"),), (_when(category="hedge", colour="green"),)
    ),
    "dense green leaves from top to bottom": _Rule(
        (_when(category="hedge", colour="green"),), (_when(category="tree", colour="green"),)
    ),
    "red or yellow leaves in autumn": _AUTUMN,
    "autumn leaves in red or yellow": _AUTUMN,
    # That of pavements is brighter and smoother.
    "rough dark grey asphalt": _Rule(
        (_when(category="road", material="asphalt"),), (_when(material="asphalt"),)
    ),
    "large slabs of grey concrete": _Rule((_when(material="concrete", colour="grey"),)),
    "square slabs of grey concrete": _Rule(
        (_when(category="pavement", material="concrete"),), (_when(material="concrete"),)
    ),
    "blocks of grey stone": _Rule((_when(material="stone"),)),
    "smooth plaster, plain and pale": _Rule((_when(material="plaster"),)),
    "smooth and plain, without texture": _Rule(
        (_when(material="plaster"), _when(category="pole")),
        (_when(category="sky|car|bus|sign|postbox|person"), _when(material="asphalt")),
    ),
    "flat horizontal ground, soft and green": _Rule((_when(material="grass", colour="green"),)),
    "green lawn with tufts and blades": _Rule((_when(material="grass", colour="green"),)),
    "dry, yellowish lawn in places": _Rule((_when(material="grass", colour="yellow"),)),
    "jacket of coloured cloth": _Rule((_when(material="cloth", colour=_PAINT),)),
}


def is_true(sentence: str, attributes: Mapping[str, str]) -> int:
    """Whether a sentence is true of a thing.

    Args:
        attributes: what is stored of the thing, see `write.read_properties`.
    Returns:
        1, 0, or `UNKNOWN` (-1): the attributes do not say, or nobody has made a rule for it.
    """
    rule = _RULES.get(sentence)
    if rule is None:
        return UNKNOWN
    if any(_holds(condition, attributes) for condition in rule.true):
        return 1
    return UNKNOWN if any(_holds(condition, attributes) for condition in rule.unknown) else 0


def _holds(condition: Condition, attributes: Mapping[str, str]) -> bool:
    return all(attributes.get(name) in values for name, values in condition.items())
