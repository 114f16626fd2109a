"""Deformable attention's sampling in ViT-Adapter and BEiT-Adapter, forward and with backward.

Ours (`grid_sample`, one level a call, queries last) against other plain PyTorch (sampling.py), for
the injector, where the transformer's tokens read three levels, and the extractor, where the tokens
of those levels read the transformer's. The projections around the sampling are left out: they are
the same for all. Sizes are those of configs.

With --compile, `torch.compile` of ours comes apart, where it works: on a CPU it needs a compiler.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from prolab_d2.engine import load_config
from prolab_d2.errors import ProLabError, first_line
from prolab_d2.modeling.backbones.deformable_attention import Size, sample_points
from prolab_d2.modeling.backbones.interaction import Geometry

from . import sampling
from .contest import Contest, Side

Sample = Callable[..., Tensor]

CONFIGS = ("ade20k/deit_adapter_base_512", "ade20k/beit_adapter_large_640")
# The node of the config that has the options of a backbone.
NODES = {
    "build_vit_adapter_backbone": "VIT_ADAPTER",
    "build_beit_adapter_backbone": "BEIT_ADAPTER",
}
OTHERS: dict[str, Sample] = {
    "usual order": sampling.usual_order,
    "gather": sampling.gather,
    "embedding_bag": sampling.embedding_bag,
}
# How far samples lie from the point of their query, in cells: standard deviation.
SPREAD = 2.0
# At the edge of a cell the gradient jumps, and rounding would decide where a sample lies.
MARGIN = 0.05
# Forms round the place of a sample differently, by a few 1e-8 of the map: 1e-5 of its 80 cells.
TOLERANCE = 5e-5


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--configs", nargs="+", default=CONFIGS, metavar="CONFIG", help="files or shipped names"
    )
    parser.add_argument("--batch", type=int, default=1, help="images (default 1)")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="of the images, not the configs' crop"
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile of ours, too")


def contests(args: argparse.Namespace) -> Iterator[Contest]:
    if args.batch < 1 or (args.size and (min(args.size) < 32 or any(s % 32 for s in args.size))):
        raise ProLabError("--batch or --size: give 1 image or more, and sides of multiples of 32")
    compiled = _compiled(args.device) if args.compile else None
    for config in args.configs:
        for part in ("injector", "extractor"):
            problem = Problem(config, part, args)
            for backward in (False, True):
                yield _contest(problem, {"ours": sample_points, **OTHERS}, backward)
                if compiled is not None:
                    forms = {"ours, compiled": compiled, "ours": sample_points}
                    yield _contest(problem, forms, backward)


def _contest(problem: Problem, forms: dict[str, Sample], backward: bool) -> Contest:
    run = problem.backward if backward else problem.forward
    what = "forward and backward" if backward else "forward"
    first, *others = forms.values()
    return Contest(
        f"{problem.title}, {what}",
        {name: Side(lambda form=form: run(form)) for name, form in forms.items()},
        problem.settings,
        check=lambda: max(difference(run, first, other) for other in others),
        checked=len(forms),
        tolerance=TOLERANCE,
    )


class Problem:
    """Random values, points and weights of one attention of a network.

    Attributes:
        title, settings: in words and numbers.
    """

    def __init__(self, config: str, part: str, args: argparse.Namespace) -> None:
        cfg = load_config(config)
        node = NODES.get(cfg.MODEL.BACKBONE.NAME)
        if node is None:
            raise ProLabError(
                f"config {config} has the backbone {cfg.MODEL.BACKBONE.NAME}: give one with "
                f"{' or '.join(NODES)}"
            )
        options = cfg.MODEL[node]
        size = tuple(args.size or cfg.INPUT.CROP.SIZE)
        heads, points = options.DEFORM_NUM_HEADS, options.N_POINTS
        channels = int(options.EMBED_DIM * options.DEFORM_RATIO) // heads
        geometry = Geometry.of(torch.empty(1, 1, *size, device=args.device))
        pyramid, grid = geometry.pyramid, (geometry.grid,)
        self.sizes, centres = (
            (pyramid, geometry.grid_points)
            if part == "injector"
            else (grid, geometry.pyramid_points)
        )
        levels = len(self.sizes)
        self.points = centres.expand(-1, -1, levels, -1)
        queries, tokens = self.points.shape[1], sum(h * w for h, w in self.sizes)
        self.settings = {
            "config": config,
            "part": part,
            "batch": args.batch,
            "size": size,
            "queries": queries,
            "tokens": tokens,
            "heads": heads,
            "channels": channels,
            "levels": levels,
            "points": points,
        }
        self.title = (
            f"{part}, {config}, {args.batch} x {size[0]} x {size[1]}, {queries} queries, "
            f"{tokens} tokens, {heads} x {channels} channels"
        )
        generator = torch.Generator().manual_seed(args.seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator).to(args.device)

        self.value = normal(args.batch, tokens, heads, channels)
        shape = (args.batch, queries, heads, levels, points)
        self.offsets = _off_the_edges(normal(*shape, 2) * SPREAD, self.points, self.sizes)
        self.weights = normal(*shape).flatten(3).softmax(-1).view(shape)
        self.cotangent = normal(args.batch, queries, heads * channels)

    @torch.no_grad()
    def forward(self, sample: Sample) -> tuple[Tensor, ...]:
        """The sums of samples (B, Q, M * D)."""
        return (sample(self.value, self.sizes, self.points, self.offsets, self.weights),)

    def backward(self, sample: Sample) -> tuple[Tensor, ...]:
        """The same, and the gradients of values, offsets and weights."""
        inputs = [x.detach().requires_grad_() for x in (self.value, self.offsets, self.weights)]
        value, offsets, weights = inputs
        out = sample(value, self.sizes, self.points, offsets, weights)
        return (out.detach(), *torch.autograd.grad(out, inputs, self.cotangent))


def difference(run: Callable[[Sample], tuple[Tensor, ...]], one: Sample, other: Sample) -> float:
    """The largest difference of an answer, over the largest number in it."""
    pairs = zip(run(one), run(other), strict=True)
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)


def _off_the_edges(offsets: Tensor, points: Tensor, sizes: Sequence[Size]) -> Tensor:
    """Offsets a little changed, so that all samples lie `MARGIN` of a cell from the next."""
    extents = torch.tensor([[w, h] for h, w in sizes], device=offsets.device)[:, None]
    own = points[:, :, None, :, None].double() * extents - 0.5
    place = own + offsets
    cell = place.floor()
    return (cell + MARGIN + (1 - 2 * MARGIN) * (place - cell) - own).float()


def _compiled(device: torch.device) -> Sample | None:
    """`torch.compile` of ours; None, and a line that says why, where it does not work."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(8, device=device))
    except Exception as error:  # of any kind: of the compiler, of its absence, of a GPU's
        print(f"torch.compile is left out: {first_line(error)}", file=sys.stderr)
        return None
    return torch.compile(sample_points, dynamic=False)
