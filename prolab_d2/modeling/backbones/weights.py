"""Weights of a backbone from a file, an installed Python package or a hub.

Every failure is one sentence that says how to go on without a network.
"""

from __future__ import annotations

import difflib
import logging
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
import timm
import torch
from detectron2.config import CfgNode
from safetensors import SafetensorError
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from prolab_d2.errors import ProLabError
from prolab_d2.hub import hub_problem
from prolab_d2.modeling.backbones.flax_vit import read_flax_vit
from prolab_d2.modeling.backbones.onnx_vit import read_onnx_vit
from prolab_d2.modeling.key_map import efficientnet_lite_names
from prolab_d2.packages import PACKAGE, package_folder

__all__ = [
    "HUB",
    "forget_weights",
    "hub_without_waiting",
    "load_weights",
    "read_state_dict",
    "read_weights",
    "unknown_model",
    "weights_file",
]

# What stands before the name of a timm model whose weights timm downloads.
HUB = "hub:"
_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors", ".npz", ".onnx")
# Where training scripts keep the network inside a checkpoint.
_NESTED = ("model", "state_dict", "module")

logger = logging.getLogger(__name__)


def weights_file(source: str, key: str = "MODEL.TIMM.WEIGHTS") -> Path:
    """The file that `source` names: a path, or "package:<name>" for the one that a package holds.

    Args:
        key: of the config that names it, for messages.
    Raises:
        ProLabError: there is no such file or package, or the package holds not exactly one.
    """
    if not source.startswith(PACKAGE):
        path = Path(source).expanduser()
        if not path.is_file():
            hub = "hub" if key == "MODEL.TIMM.WEIGHTS" else f"{HUB}<name of a timm model>"
            raise ProLabError(
                f"{key}: there is no file {source!r}: give a .pth or .safetensors "
                f"file, '{PACKAGE}<name of a Python package>', '{hub}', or '' for random weights"
            )
        return path
    folder = package_folder(source, key)
    files = sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES)
    if len(files) != 1:
        raise ProLabError(
            f"{key}: {source!r} holds {len(files)} weight files, not one: "
            f"give the path of a file below {folder} instead"
        )
    return files[0]


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors by name, without the nesting of training checkpoints; nothing is unpickled.

    Raises:
        ProLabError: the file cannot be read, or holds no tensors by name.
    """
    if path.suffix == ".npz":
        return read_flax_vit(path)
    if path.suffix == ".onnx":
        return read_onnx_vit(path)
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise ProLabError(
            f"{path}: not a file of weights that can be read safely ({type(error).__name__}): "
            "give a .safetensors file, or one that `torch.save(model.state_dict(), ...)` wrote"
        ) from error
    while isinstance(state, dict):
        inner = next((state[key] for key in _NESTED if isinstance(state.get(key), dict)), None)
        if inner is None:
            break
        state = inner
    tensors = state.items() if isinstance(state, dict) else ()
    tensors = {name.removeprefix("module."): x for name, x in tensors if isinstance(x, Tensor)}
    if not tensors:
        raise ProLabError(f"{path}: no weights in it: give a file that holds a state dict")
    if "_conv_stem.weight" in tensors:
        try:
            names = efficientnet_lite_names(tensors)
        except KeyError as error:
            raise ProLabError(
                f"{path}: looks like an EfficientNet but not like an EfficientNet-Lite ({error} "
                "does not fit): give a file with timm's parameter names"
            ) from error
        tensors = {names[name]: x for name, x in tensors.items()}
    return tensors


def forget_weights(cfg: CfgNode) -> None:
    """Lets the backbone of `cfg` begin with random weights, where others will take their place."""
    for node in ("TIMM", "VIT_ADAPTER", "BEIT_ADAPTER"):
        cfg.MODEL[node].WEIGHTS = ""


def read_weights(source: str, key: str) -> tuple[str, dict[str, Tensor]]:
    """Tensors by name from "hub:<name of a timm model>", or as `weights_file` finds them.

    Args:
        key: of the config that names them, for messages.
    Returns:
        Where they come from, for messages, and the tensors.
    Raises:
        ProLabError: there are no such weights, or they cannot be had or read.
    """
    if not source.startswith(HUB):
        path = weights_file(source, key)
        return str(path), read_state_dict(path)
    name = source.removeprefix(HUB)
    if not timm.is_model(name):
        raise unknown_model(name, key)
    with hub_without_waiting(name, key, source):
        return source, timm.create_model(name, pretrained=True, num_classes=0).state_dict()


def unknown_model(name: str, key: str) -> ProLabError:
    """The error that timm has no model `name`, which the config's `key` asks for."""
    close = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.4)
    return ProLabError(
        f"{key}: timm {timm.__version__} has no model {name!r}: did you mean one of {close}? "
        "timm.list_models() lists all"
    )


def load_weights(net: nn.Module, source: str) -> None:
    """Loads every parameter and buffer of timm's feature extractor `net`.

    Names that the extractor has no place for (classifier, layers past the last feature) are left
    out. Position embeddings of another grid are resized.

    Args:
        source: see `weights_file`.
    Raises:
        ProLabError: the file cannot be read, or does not fit.
    """
    path = weights_file(source)
    # timm's extractors rename "stages.0" to "stages_0" or put "model." in front.
    given = {name.replace(".", "_"): x for name, x in read_state_dict(path).items()}
    own = net.state_dict()
    plain = {name: name.removeprefix("model.").replace(".", "_") for name in own}
    missing = [
        name for name in own
        if plain[name] not in given and not name.endswith("num_batches_tracked")
    ]  # fmt: skip
    if missing:
        raise ProLabError(
            f"{path}: {len(missing)} of {len(own)} weights of the backbone are not in it "
            f"({_some(missing)}): is MODEL.TIMM.NAME the model that the file was saved from?"
        )
    state = {}
    for name, old in own.items():
        new = given.get(plain[name], old)
        if name.endswith("pos_embed") and new.ndim == 3 and new.shape != old.shape:
            new = _resized_position_embedding(new, old)
        if new.shape != old.shape:
            raise ProLabError(
                f"{path}: {name} has shape {tuple(new.shape)}, the backbone needs "
                f"{tuple(old.shape)}: is MODEL.TIMM.NAME the model that the file was saved from?"
            )
        state[name] = new
    net.load_state_dict(state)
    unused = sorted(given.keys() - set(plain.values()))
    logger.info("%s: loaded %d weights, left out %d (%s)", path, len(own), len(unused), unused[:4])


def _resized_position_embedding(new: Tensor, old: Tensor) -> Tensor:
    """(1, tokens + grid * grid, C) to the grid of `old`, with the same number of extra tokens."""
    grid = int(old.shape[1] ** 0.5)
    extra = old.shape[1] - grid * grid
    return resample_abs_pos_embed(new, (grid, grid), num_prefix_tokens=extra)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


@contextmanager
def hub_without_waiting(
    name: str, key: str = "MODEL.TIMM.WEIGHTS", source: str = "hub"
) -> Iterator[None]:
    """Lets the Hugging Face hub fail at once, instead of after many retries, when it is away.

    Files that were downloaded before are used all the same.

    Args:
        name: of the timm model, for the message.
        key, source: of the config and its value, likewise.
    Raises:
        ProLabError: inside the context, the weights could not be had.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    problem = hub_problem()
    constants.HF_HUB_OFFLINE = problem is not None
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise ProLabError(
            f"{key} is {source!r}, but the weights of {name!r} could not be fetched "
            f"({problem or type(error).__name__}): go online once, set HF_HUB_OFFLINE=1 to use "
            f"only what was downloaded before, or set {key} to a file"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = before
