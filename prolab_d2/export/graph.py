"""The part of a model that goes into an exported file, and how PyTorch traces it.

Shapes: B batch, K properties, N categories, h x w feature size, H x W image size.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn.attention import SDPBackend, sdpa_kernel

from prolab_d2.errors import ProLabError, first_line
from prolab_d2.export.requirements import require_torch
from prolab_d2.modeling import PropertySegmentor
from prolab_d2.modeling.backbones import BEiTAdapter

__all__ = ["INPUT_TYPES", "OUTPUTS", "ExportOptions", "InferenceGraph", "trace"]

OUTPUTS = ("scores", "labels")
INPUT_TYPES = {"uint8": torch.uint8, "float32": torch.float32}
# Colour orders of the network's input that the graph can make from RGB.
_FORMATS = ("RGB", "BGR")
# Images whose features would be a single cell are left out: PyTorch's tracing takes sides of one
# for constants.
_LEAST_CELLS, _MOST_CELLS, _MOST_IMAGES = 2, 1024, 1024


@dataclass(frozen=True)
class ExportOptions:
    """What the exported graph takes and gives.

    size: (H, W) of all images, any pixels, one image at a time; None where `dynamic`.
    dynamic: images whose sides are any multiples of what the network can divide (32), from twice
        that on, and any number of them.
    output: "scores" or "labels", the first output.
    resize: scores at the size of the image, not at that of the features. Labels always are.
    input_type: "uint8" or "float32", values from 0 to 255 either way.
    """

    size: tuple[int, int] | None = None
    dynamic: bool = False
    output: str = "scores"
    resize: bool = False
    input_type: str = "uint8"

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("output", self.output, OUTPUTS),
            ("input type", self.input_type, tuple(INPUT_TYPES)),
        ):
            if value not in allowed:
                raise ProLabError(f"{name} is {value!r}: use one of {list(allowed)}")
        if self.dynamic == (self.size is not None):
            raise ProLabError("give either a size or dynamic")
        if self.size is not None and min(self.size) < 1:
            raise ProLabError(
                f"size is {self.size[0]} {self.size[1]}: give whole pixels, height and width"
            )


class InferenceGraph(nn.Module):
    """From RGB images to scores or labels, and property activations.

    The numbers are those of the `PropertySegmentor` it is made from, with whose parameters it
    shares memory. It holds neither dropout nor the auxiliary head, projection and bank are one
    matrix where they can be; average pooling is a matrix product, which every runtime knows.
    """

    def __init__(self, model: PropertySegmentor, color_format: str, options: ExportOptions) -> None:
        """
        Args:
            model: is not changed.
            color_format: "RGB" or "BGR", what `model` reads (INPUT.FORMAT).
        Raises:
            ProLabError: another colour format.
        """
        super().__init__()
        if color_format not in _FORMATS:
            raise ProLabError(
                f"INPUT.FORMAT is {color_format!r}, which an exported model cannot make from RGB: "
                f"export a model of one of {list(_FORMATS)}"
            )
        self.options = options
        self.divisor = max(model.backbone.size_divisibility, 4)
        # Pixels of a cell of scores and properties.
        self.stride = model.backbone.output_shape()[model.decode_head.in_features[0]].stride
        self.is_property = model.supervision == "property"
        self.flip_channels = color_format == "BGR"
        self.register_buffer("mean", model.pixel_mean[None])
        self.register_buffer("std", model.pixel_std[None])
        self.backbone = _simplified(_shared_copy(model.backbone))
        self.decode_head = _simplified(_shared_copy(model.decode_head))
        self.projection = _shared_copy(model.projection)
        self.property_space = None
        if self.is_property:
            self.property_space = space = _shared_copy(model.property_space)
            if not space.normalize_embedding:
                with torch.no_grad():
                    weight, bias = space.fold(self.projection.weight, self.projection.bias)
                self.projection = nn.Conv2d(weight.shape[1], len(weight), 1)
                self.projection.weight = nn.Parameter(weight)
                self.projection.bias = nn.Parameter(bias)
        self.eval().requires_grad_(False)

    @property
    def output_names(self) -> list[str]:
        return [self.options.output, *(["properties"] if self.is_property else [])]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """
        Args:
            image: (B, 3, H, W) RGB from 0 to 255, uint8 or float32.
        Returns:
            "scores": (B, N, h, w) float32 with cell (y, x) over the pixels from (y, x) times the
            stride on, or (B, N, H, W) with `resize`; or "labels": (B, H, W) int64. With property
            supervision also "properties" (B, K, h, w) float32, activations.
        """
        height, width = image.shape[2:]
        image = image.flip(1) if self.flip_channels else image
        image = (image.float() - self.mean) / self.std
        if not self.options.dynamic:  # else multiples, and nothing to fill up
            image = F.pad(image, (0, -width % self.divisor, 0, -height % self.divisor))
        scores, activations = self._scores(self.decode_head(self.backbone(image)))
        padded = image.shape[2:]
        labels = self.options.output == "labels"
        if labels or self.options.resize:
            scores = F.interpolate(scores, padded, mode="bilinear", align_corners=False)
            scores = scores[:, :, :height, :width]
        else:
            scores = self._covering(scores, height, width)
        first = scores.argmax(dim=1) if labels else scores
        if activations is None:
            return (first,)
        return first, self._covering(activations, height, width)

    def _scores(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scores (B, N, h, w) and activations (B, K, h, w) of features (B, C, h, w)."""
        space = self.property_space
        if space is None:
            return self.projection(features), None
        logits = self.projection(features)
        if space.normalize_embedding:
            logits = space.logits(logits)
        return space.scores_from_unit(space.unit_activations(logits)), space.activations(logits)

    def _covering(self, maps: Tensor, height: int, width: int) -> Tensor:
        """Without the cells that lie in the padding altogether."""
        if self.options.dynamic:
            return maps
        return maps[:, :, : -(-height // self.stride), : -(-width // self.stride)]


def trace(graph: InferenceGraph) -> ExportedProgram:
    """The graph as PyTorch's own exported program.

    Raises:
        ProLabError: too old a PyTorch, a network for one size only, or one that cannot be traced.
    """
    require_torch()
    options = graph.options
    fixed = _fixed_size(graph.backbone)
    if options.dynamic and getattr(graph.backbone, "window_sizes", ()):
        raise ProLabError(
            "this network attends in windows (WINDOW_SIZES), which PyTorch cannot trace for every "
            "size at once: export it with --size H W"
        )
    if options.dynamic and fixed is not None:
        raise ProLabError(
            f"this network takes images of {fixed[0]} x {fixed[1]} pixels only, for which its "
            f"tables of relative positions are made: export it with --size {fixed[0]} {fixed[1]}, "
            "or a smaller size, which is filled up"
        )
    image = torch.zeros(_trace_shape(graph), dtype=INPUT_TYPES[options.input_type])
    shapes = None
    if options.dynamic:
        height, width = (Dim(n, min=_LEAST_CELLS, max=_MOST_CELLS) for n in ("rows", "columns"))
        divisor = graph.divisor
        batch = Dim("batch", min=1, max=_MOST_IMAGES)
        shapes = {"image": {0: batch, 2: divisor * height, 3: divisor * width}}
    try:
        # Of the kinds of attention only this one has the same memory layout everywhere.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            return torch.export.export(graph, (image,), dynamic_shapes=shapes, strict=False)
    except ProLabError:
        raise
    except Exception as error:  # of very many kinds
        cure = "leave --dynamic out and give --size H W" if shapes else "try another --size"
        raise ProLabError(
            f"PyTorch {torch.__version__} cannot export this network ({first_line(error)}): {cure}"
        ) from error


def _trace_shape(graph: InferenceGraph) -> tuple[int, int, int, int]:
    """(B, 3, H, W) of the image that is traced."""
    if not graph.options.dynamic:
        return 1, 3, *graph.options.size
    # Sides that no other number in the graph is equal to by chance.
    return 2, 3, 7 * graph.divisor, 5 * graph.divisor


def _fixed_size(backbone: nn.Module) -> tuple[int, int] | None:
    """(H, W) that every image is filled up to, None where any size will do."""
    if isinstance(backbone, BEiTAdapter) and backbone.position_index is not None:
        return backbone.img_size
    return None


def _shared_copy(module: nn.Module) -> nn.Module:
    """A copy that shares the memory of parameters and buffers."""
    tensors = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


def _simplified(module: nn.Module) -> nn.Module:
    """`module`, with layers replaced that make a graph for one size, or too long a one."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.AdaptiveAvgPool2d):
            setattr(module, name, _MatrixPooling(child.output_size))
        elif type(child) is Conv2dSame:
            setattr(module, name, _ConstantPadding(child))
        else:
            _simplified(child)
    return module


class _ConstantPadding(nn.Module):
    """timm's `Conv2dSame` for maps whose sides its stride divides, as it does all along here.

    The original computes its padding from the size of the map. Layer after layer, that piles up to
    formulas which PyTorch takes many minutes to trace.
    """

    def __init__(self, conv: Conv2dSame) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.dilation, self.groups = conv.stride, conv.dilation, conv.groups
        self.padding: list[int] = []
        for axis in (1, 0):
            span = (conv.kernel_size[axis] - 1) * conv.dilation[axis] + 1
            total = max(span - conv.stride[axis], 0)
            self.padding += [total // 2, total - total // 2]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, its channels, h / stride, w / stride)."""
        x = F.pad(x, self.padding)
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class _MatrixPooling(nn.Module):
    """`nn.AdaptiveAvgPool2d` for maps of any size as two matrix products.

    ONNX has no such operator, and PyTorch unrolls it for one size.
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        super().__init__()
        self.size = (size, size) if isinstance(size, int) else tuple(size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, *size)."""
        rows, columns = (
            _means(source, target, x) for source, target in zip(x.shape[2:], self.size, strict=True)
        )
        return rows @ (x @ columns.t())


def _means(source: int, target: int, like: Tensor) -> Tensor:
    """(target, source): row i averages the entries from i s / t to (i + 1) s / t, rounded out."""
    cells = torch.arange(target, device=like.device)[:, None]
    first = (cells * source) // target
    last = ((cells + 1) * source + target - 1) // target
    entries = torch.arange(source, device=like.device)
    inside = ((entries >= first) & (entries < last)).to(like.dtype)
    return inside / (last - first).to(like.dtype)
