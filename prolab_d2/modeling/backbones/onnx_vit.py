"""Vision transformers inside ONNX files, in the layout of DINOv2 (Oquab et al., 2024).

Read are the files that PyTorch's exporter makes of the `Dinov2Model` of the library transformers.
Biases and norms keep their names in them, but matrices are transposed and nameless, and position
embeddings come in pieces: those are found by the operators that use them.

Shapes: C channels, T tokens with the class token.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from prolab_d2.errors import ProLabError

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

__all__ = ["read_onnx_vit"]

# Operators that move numbers but do not change them, apart from their size: the first input is what
# they move.
_MOVING = ("Cast", "Expand", "Identity", "Reshape", "Resize", "Slice", "Transpose")

_CLASS_TOKEN = "embeddings.cls_token"
_OUTSIDE_BLOCKS = {
    "embeddings.cls_token": "cls_token",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layernorm": "norm",
}
_IN_BLOCKS = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attention.output.dense": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_QKV = ("query", "key", "value")
_BLOCK = re.compile(r"encoder\.layer\.(\d+)\.(.+)")
_PARAMETER = re.compile(r"(.+?)(\.weight|\.bias|)$")


def read_onnx_vit(path: Path) -> dict[str, Tensor]:
    """Tensors of the transformer under timm's names, without what comes after it.

    Raises:
        ProLabError: the package onnx is missing, the file cannot be read, or it holds no such
            network.
    """
    try:
        import onnx
    except ImportError as error:
        raise ProLabError(
            f"{path}: reading it needs the Python package 'onnx': run `pip install onnx`"
        ) from error
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(path).graph
        arrays = _named_arrays(graph)
        return _timm_names(arrays)
    except (OSError, DecodeError, KeyError, ValueError) as error:
        raise ProLabError(
            f"{path}: not a vision transformer in DINOv2's layout ({_reason(error)}): give an ONNX "
            "file of transformers' Dinov2Model, or a .pth or .safetensors file"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error} is not in it"
    return type(error).__name__


def _named_arrays(graph: GraphProto) -> dict[str, np.ndarray]:
    """Arrays by the names of parameters in PyTorch, with the shapes they have there.

    The position embeddings are (1, T, C) under "embeddings.position_embeddings". What stands before
    the names of the transformer, such as "backbone.", is taken off; names of other parts are left
    out.
    """
    from onnx import numpy_helper

    arrays = {array.name: numpy_helper.to_array(array) for array in graph.initializer}
    token = next((name for name in arrays if name.endswith(_CLASS_TOKEN)), None)
    if token is None:
        raise KeyError(_CLASS_TOKEN)
    prefix = token.removesuffix(_CLASS_TOKEN)
    named = {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}
    maker = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type != "Add":
            continue
        for one, other in (node.input, reversed(node.input)):
            product = maker.get(one)
            if other in arrays and product is not None and product.op_type == "MatMul":
                matrix = arrays.get(product.input[1])
                if matrix is not None and other.startswith(prefix) and other.endswith(".bias"):
                    linear = other.removeprefix(prefix).removesuffix(".bias")
                    named[f"{linear}.weight"] = matrix.T
            elif token in _moved(one, maker, arrays):
                pieces = [arrays[name] for name in _moved(other, maker, arrays)]
                named["embeddings.position_embeddings"] = np.concatenate(pieces, axis=1)
    return named


def _moved(name: str, maker: dict[str, NodeProto], arrays: dict[str, np.ndarray]) -> list[str]:
    """The initialisers that reach the value `name` without arithmetic, each once, in order."""
    if name in arrays:
        return [name]
    node = maker.get(name)
    if node is None:
        return []
    inputs = node.input if node.op_type == "Concat" else node.input[: node.op_type in _MOVING]
    return list(dict.fromkeys(x for value in inputs for x in _moved(value, maker, arrays)))


def _timm_names(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """
    Raises:
        KeyError: an array is missing.
    """
    state = {"pos_embed": arrays["embeddings.position_embeddings"]}
    blocks = set()
    for name, array in arrays.items():
        layer, kind = _PARAMETER.match(name).groups()
        block = _BLOCK.match(layer)
        if block and block[2] in _IN_BLOCKS:
            blocks.add(block[1])
            state[f"blocks.{block[1]}.{_IN_BLOCKS[block[2]]}{kind}"] = array
        elif layer in _OUTSIDE_BLOCKS:
            state[_OUTSIDE_BLOCKS[layer] + kind] = array
    for block in blocks:
        parts = [f"encoder.layer.{block}.attention.attention.{part}" for part in _QKV]
        for kind in ("weight", "bias"):
            state[f"blocks.{block}.attn.qkv.{kind}"] = np.concatenate(
                [arrays[f"{part}.{kind}"] for part in parts]
            )
    return {
        name: torch.from_numpy(np.array(x, dtype=np.float32, order="C"))
        for name, x in state.items()
    }
