"""Published checkpoints (MMSegmentation's segmentor) to those of this project, and back.

The bank and the signatures are no parameters: a published checkpoint lacks them, one of ours has
the label space beside the weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from prolab_d2.errors import ProLabError
from prolab_d2.modeling.key_map import segmentor_names

__all__ = ["Conversion", "from_published", "to_published"]

_TABLE = "relative_position_bias_table"
_INDEX = "relative_position_index"

# What a published state dict has and a model here has not, and why.
_NOT_NEEDED = {
    rf"\.{_INDEX}$": "a table of indices, computed from the size of the grid",
    r"^auxiliary_head\.": "the config has no auxiliary head",
    r"\.num_batches_tracked$": "a counter that this norm does not keep",
}
# What a model here has and a published state dict has not, and why.
_OF_OUR_OWN = {
    r"^property_space\.": "from the label space",
    r"category_projection\.": "of the category warm-up, trained anew",
}


@dataclass
class Conversion:
    """Where every name of two state dicts has gone.

    Attributes:
        state: name -> tensor under the new names.
        mapped: old name -> new name.
        dropped: old names that have no place in the new state dict -> reason.
        kept: names of the new model that the old state dict cannot have -> where they come from.
        added: names of the new state dict that the old one lacks -> where they come from.
    """

    state: dict[str, Tensor]
    mapped: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    added: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{len(self.mapped)} tensors mapped"]
        for title, reasons in (
            ("dropped", self.dropped),
            ("not in the file", self.kept),
            ("added", self.added),
        ):
            for reason in dict.fromkeys(reasons.values()):
                names = [name for name, why in reasons.items() if why == reason]
                lines.append(f"{len(names)} {title}: {reason} (such as {names[0]})")
        return "\n".join(lines)


def from_published(published: Mapping[str, Tensor], model: nn.Module) -> Conversion:
    """Weights of a published segmentor under the names of `model`.

    Args:
        published: state dict, with or without the "module." of a distributed wrapper.
        model: the `PropertySegmentor` that the weights are for; it is not changed.
    Raises:
        ProLabError: a tensor without a place, a parameter without a tensor, or another shape.
    """
    published = {name.removeprefix("module."): value for name, value in published.items()}
    own = model.state_dict()
    result = Conversion({})
    unknown = []
    for name, ours in segmentor_names(published).items():
        if ours in own:
            result.state[ours] = published[name]
            result.mapped[name] = ours
        elif reason := _reason(name, _NOT_NEEDED):
            result.dropped[name] = reason
        else:
            unknown.append(name)
    missing = []
    for name in own.keys() - result.state.keys():
        if reason := _reason(name, _OF_OUR_OWN):
            result.kept[name] = reason
        elif not name.endswith("num_batches_tracked"):
            missing.append(name)
    wrong = [
        f"{name} ({_shape(value)} instead of {_shape(own[name])})"
        for name, value in result.state.items()
        if value.shape != own[name].shape
    ]
    for names, problem in (
        (unknown, "has tensors that the config's network has no place for"),
        (missing, "lacks parameters of the config's network"),
        (wrong, "has tensors of another shape than the config's network"),
    ):
        if names:
            raise ProLabError(
                f"the checkpoint {problem}, {len(names)} in all, first {sorted(names)[0]}: give "
                "the config of its architecture and width"
            )
    return result


def to_published(ours: Mapping[str, Tensor], model: nn.Module) -> Conversion:
    """Weights of this project under the published names, the inverse of `from_published`.

    Nothing that the published code stores is missing, so that it loads them strictly.

    Args:
        ours: state dict of `model`.
        model: says which names there are.
    """
    names = _published_names(model)
    result = Conversion({})
    for name, value in ours.items():
        if name in names:
            result.state[names[name]] = value
            result.mapped[name] = names[name]
        else:
            result.dropped[name] = _reason(name, _OF_OUR_OWN) or "unknown to the published code"
    tables = [name for name in result.state if name.endswith(_TABLE)]
    if tables:
        # One tensor for all blocks: a file holds it once.
        index = model.backbone.position_index.long()
        added = [f"{name.removesuffix(_TABLE)}{_INDEX}" for name in tables]
        result.state |= dict.fromkeys(added, index)
        result.added |= dict.fromkeys(added, _NOT_NEEDED[rf"\.{_INDEX}$"])
    return result


def _published_names(model: nn.Module) -> dict[str, str]:
    """Our name -> published name, for all that `model` has in common with a published segmentor."""
    heads = {
        "projection": "decode_head.conv_seg",
        "aux_projection": "auxiliary_head.conv_seg",
        "aux_head": "auxiliary_head",
    }
    names = {}
    for name in model.state_dict():
        if _reason(name, _OF_OUR_OWN):
            continue
        part, _, rest = name.partition(".")
        names[name] = f"{heads.get(part, part)}.{rest}"
    assert segmentor_names(names.values()) == {new: old for old, new in names.items()}
    return names


def _reason(name: str, reasons: Mapping[str, str]) -> str | None:
    return next((why for pattern, why in reasons.items() if re.search(pattern, name)), None)


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"
