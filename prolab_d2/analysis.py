"""What a model costs: parameters, operations, memory for training, seconds.

Shapes: H x W image size.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from prolab_d2.errors import ProLabError
from prolab_d2.modeling import PropertySegmentor

__all__ = ["Part", "Timing", "analyze_parts", "saved_for_backward", "time_inference"]

# Everything of a segmentor that is neither backbone nor head.
_REST = "pixel embedding, properties and scores"


@dataclass(frozen=True)
class Part:
    """One part of a model.

    Attributes:
        parameters: trained numbers.
        flops: 2 x multiply-adds of convolutions, linear layers and matrix products for one image;
            sampling and element-wise work are not counted (as in the published figures). Parts
            that inference does not use have none.
    """

    name: str
    parameters: int
    flops: int


@dataclass(frozen=True)
class Timing:
    """Seconds of a whole prediction, one image: median and fastest of `runs`, after a warm-up."""

    median: float
    best: float
    runs: int


def analyze_parts(model: PropertySegmentor, size: tuple[int, int]) -> list[Part]:
    """Parameters and operations of every part, for one image of (H, W).

    Nothing is computed: shapes alone go through the model.

    Raises:
        ProLabError: the network does not take images of that size.
    """
    # torch counts the attention of GPUs, but not all of the CPU's.
    more = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
            lambda query, key, value, *_, **__: sdpa_flop_count(query, key, value)
        )
    }
    counter = FlopCounterMode(display=False, custom_mapping=more)
    with _mode(model, training=False), _shapes_alone(), torch.no_grad(), counter:
        _scores(model, size)
    # The counter calls a module that nobody called from another module by its class.
    counts = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    used = {name: type(getattr(model, name)).__name__ for name in ("backbone", "decode_head")}
    parameters: dict[str, int] = defaultdict(int)
    for name, parameter in model.named_parameters():
        parameters[name.split(".")[0]] += parameter.numel()
    parts = [
        Part(name, parameters.pop(name, 0), counts.get(used.get(name), 0))
        for name in ("backbone", "decode_head", "aux_head")
        if getattr(model, name) is not None
    ]
    counted = sum(part.flops for part in parts)
    rest = Part(_REST, sum(parameters.values()), counter.get_total_flops() - counted)
    return [*parts, rest]


def _scores(model: PropertySegmentor, size: tuple[int, int]) -> Tensor:
    """Category scores at the resolution of the head, as inference computes them."""
    images = _blank(model, size, count=1)
    try:
        logits = model._logits(images)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ProLabError(
            f"this network does not take images of {size[0]} x {size[1]} pixels ({reason}): give "
            "another --size"
        ) from error
    if not model.has_properties:
        return logits
    return model.property_space.category_scores(logits)


def saved_for_backward(model: PropertySegmentor, size: tuple[int, int]) -> int:
    """Bytes that backbone and heads keep for the backward pass, per image of (H, W), in float32.

    Without the parameters, and without the losses, whose memory does not depend on the network.
    """
    storages: dict[int, int] = {}
    kept: list[Tensor] = []  # so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage.nbytes()
        kept.append(tensor)
        return tensor

    own = {p.untyped_storage()._cdata for p in (*model.parameters(), *model.buffers())}
    with _mode(model, training=True), _shapes_alone():
        # Two images: batch norm cannot train on one whose features are pooled to a single pixel.
        images = _blank(model, size, count=2)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            features = model.backbone(images)
            for head in (model.decode_head, model.aux_head):
                if head is not None:
                    kept.append(head(features))
    return sum(size for address, size in storages.items() if address not in own) // 2


def _blank(model: PropertySegmentor, size: tuple[int, int], count: int) -> Tensor:
    """(count, 3, H', W') zeros, of the size that images of (H, W) are padded to."""
    divisor = max(model.backbone.size_divisibility, 4)
    padded = [-(-side // divisor) * divisor for side in size]
    return torch.zeros(count, 3, *padded, device=model.device)


def _shapes_alone() -> FakeTensorMode:
    """Tensors made inside have shapes and no values; what is computed with them, too."""
    return FakeTensorMode(allow_non_fake_inputs=True)


@contextmanager
def _mode(model: nn.Module, training: bool) -> Iterator[None]:
    before = model.training
    # Batch norm counts its steps even where there are only shapes.
    counts = [b for name, b in model.named_buffers() if name.endswith("num_batches_tracked")]
    values = [count.clone() for count in counts]
    model.train(training)
    try:
        yield
    finally:
        model.train(before)
        for count, value in zip(counts, values, strict=True):
            count.copy_(value)


@torch.inference_mode()
def time_inference(model: nn.Module, size: tuple[int, int], runs: int = 5) -> Timing:
    """Times the prediction of labels for one random image of (H, W) on the model's device."""
    model.eval()
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)
    seconds = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        model([{"image": image}])
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return Timing(statistics.median(seconds[1:]), min(seconds[1:]), runs)
