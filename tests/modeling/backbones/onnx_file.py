"""A small vision transformer as an ONNX file, the way PyTorch's exporter leaves DINOv2's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["WIDTH", "DEPTH", "HEADS", "GRID", "write_dinov2"]

WIDTH, DEPTH, HEADS, GRID, PATCH = 24, 4, 3, 4, 16


class _Graph:
    """Nodes and initialisers; every method returns the name of what it adds."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.rng = np.random.default_rng(0)

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        output = f"/{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def array(self, name: str, *shape: int) -> str:
        self.arrays[name] = self.rng.normal(scale=0.3, size=shape).astype(np.float32)
        return name

    def integers(self, *values: int) -> str:
        name = f"integers_{len(self.arrays)}"
        self.arrays[name] = np.array(values, dtype=np.int64)
        return name

    def linear(self, name: str, x: str, inputs: int, outputs: int, *, bias_first: bool) -> str:
        """The matrix is transposed and has no telling name."""
        product = self.add("MatMul", x, self.array(f"MatMul_{len(self.nodes)}", inputs, outputs))
        bias = self.array(f"{name}.bias", outputs)
        return self.add("Add", *((bias, product) if bias_first else (product, bias)))

    def norm(self, name: str, x: str) -> str:
        scale, bias = self.array(f"{name}.weight", WIDTH), self.array(f"{name}.bias", WIDTH)
        return self.add("LayerNormalization", x, scale, bias, epsilon=1e-6)

    def heads(self, x: str, *order: int) -> str:
        x = self.add("Reshape", x, self.integers(0, 0, HEADS, WIDTH // HEADS))
        return self.add("Transpose", x, perm=order)


def _embeddings(graph: _Graph, name: str, *, folded: bool) -> str:
    kernel = graph.array(f"{name}.patch_embeddings.projection.weight", WIDTH, 3, PATCH, PATCH)
    bias = graph.array(f"{name}.patch_embeddings.projection.bias", WIDTH)
    patches = graph.add("Conv", "image", kernel, bias, strides=[PATCH, PATCH])
    patches = graph.add("Reshape", patches, graph.integers(0, WIDTH, -1))
    patches = graph.add("Transpose", patches, perm=[0, 2, 1])
    token = graph.add(
        "Expand", graph.array(f"{name}.cls_token", 1, 1, WIDTH), graph.integers(1, 1, WIDTH)
    )
    tokens = graph.add("Concat", token, patches, axis=1)
    if folded:  # the exporter has cut it where the grid is resized
        first = graph.array("onnx::Concat_1", 1, 1, WIDTH)
        grid = graph.array("onnx::Reshape_2", 1, GRID * GRID, WIDTH)
    else:
        whole = graph.array(f"{name}.position_embeddings", 1, 1 + GRID * GRID, WIDTH)
        one, last, axis = graph.integers(1), graph.integers(10**6), graph.integers(1)
        first = graph.add("Slice", whole, graph.integers(0), one, axis)
        grid = graph.add("Slice", whole, one, last, axis)
    grid = graph.add("Reshape", grid, graph.integers(1, GRID, GRID, WIDTH))
    grid = graph.add("Transpose", grid, perm=[0, 3, 1, 2])
    grid = graph.add("Cast", grid, to=TensorProto.FLOAT)
    grid = graph.add("Transpose", grid, perm=[0, 2, 3, 1])
    grid = graph.add("Reshape", grid, graph.integers(1, GRID * GRID, WIDTH))
    return graph.add("Add", tokens, graph.add("Concat", first, grid, axis=1))


def _block(graph: _Graph, name: str, x: str, *, layer_scale: bool) -> str:
    def scaled(y: str, number: int) -> str:
        scale = f"{name}.layer_scale{number}.lambda1"
        return graph.add("Mul", y, graph.array(scale, WIDTH)) if layer_scale else y

    y = graph.norm(f"{name}.norm1", x)
    # In the order of the module's code, which is not that of the weights in timm.
    parts = {
        part: graph.linear(f"{name}.attention.attention.{part}", y, WIDTH, WIDTH, bias_first=True)
        for part in ("key", "value", "query")
    }
    key = graph.heads(parts["key"], 0, 2, 3, 1)
    value, query = (graph.heads(parts[part], 0, 2, 1, 3) for part in ("value", "query"))
    graph.arrays["scale"] = np.array((WIDTH // HEADS) ** -0.5, dtype=np.float32)
    logits = graph.add("Mul", graph.add("MatMul", query, key), "scale")
    y = graph.add("MatMul", graph.add("Softmax", logits, axis=-1), value)
    y = graph.add("Reshape", graph.add("Transpose", y, perm=[0, 2, 1, 3]), graph.integers(0, 0, -1))
    y = graph.linear(f"{name}.attention.output.dense", y, WIDTH, WIDTH, bias_first=False)
    x = graph.add("Add", scaled(y, 1), x)
    y = graph.norm(f"{name}.norm2", x)
    y = graph.linear(f"{name}.mlp.fc1", y, WIDTH, 4 * WIDTH, bias_first=True)
    y = graph.linear(f"{name}.mlp.fc2", graph.add("Gelu", y), 4 * WIDTH, WIDTH, bias_first=True)
    return graph.add("Add", scaled(y, 2), x)


def write_dinov2(
    path: Path, *, prefix: str = "backbone.", folded: bool = True, layer_scale: bool = True
) -> None:
    """Random weights, images of 64 x 64 pixels, and a head for something else behind it.

    Args:
        prefix: what stands before the transformer's names.
        folded: cut the position embeddings into two nameless arrays.
        layer_scale: learn factors of every block's parts; without, they are part of the matrices.
    The outputs are the tokens (1, 17, 24) after the last block, and a map.
    """
    graph = _Graph()
    x = _embeddings(graph, f"{prefix}embeddings", folded=folded)
    for i in range(DEPTH):
        x = _block(graph, f"{prefix}encoder.layer.{i}", x, layer_scale=layer_scale)
    y = graph.linear(
        "decoder.final", graph.norm(f"{prefix}layernorm", x), WIDTH, 1, bias_first=True
    )
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "saliency",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 64, 64])],
            [helper.make_empty_tensor_value_info(name) for name in (x, y)],
            [numpy_helper.from_array(array, name) for name, array in graph.arrays.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
    )
    onnx.save(model, path)
