"""Random features, weights, property spaces and labels of a given size, the same for every side.

Shapes: as in dense.py.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from prolab_d2.errors import ProLabError
from prolab_d2.modeling import PropertySpace

from .options import DTYPES

__all__ = ["Problem", "Settings", "add_settings_options", "patches", "settings_of"]

IGNORE_LABEL = 65535
STRIDE = 4
# As label spaces have them: ADE20K's has 10 properties a category, CamVid's 7.
PROPERTIES_PER_CATEGORY = 10
# Labels of real images are areas, not noise; some pixels have none.
PATCH = 16
UNLABELLED = 0.05


@dataclass(frozen=True)
class Settings:
    """Sizes and options; the size is that of the image, the features have a quarter of it."""

    batch: int = 2
    size: tuple[int, int] = (512, 512)
    categories: int = 150
    properties: int = 256
    channels: int = 512
    dim: int = 768
    temperature: float = 0.04
    normalize: bool = False
    dtype: str = "float32"

    def __str__(self) -> str:
        extra = f", normalised, T {self.temperature:g}" if self.normalize else ""
        kind = "" if self.dtype == "float32" else f", {self.dtype}"
        return (
            f"{self.batch} x {self.size[0]} x {self.size[1]}, N {self.categories}, "
            f"K {self.properties}{extra}{kind}"
        )

    def replace(self, **changes: Any) -> Settings:
        return replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def pixels(self) -> int:
        return self.batch * self.size[0] * self.size[1]


def add_settings_options(parser: argparse.ArgumentParser, default: Settings) -> None:
    def number(name: str, value: float, text: str) -> None:
        parser.add_argument(name, type=type(value), default=value, help=f"{text} (default {value})")

    number("--batch", default.batch, "images")
    parser.add_argument(
        "--size", type=int, nargs=2, default=default.size, metavar=("H", "W"), help="of the images"
    )
    number("--categories", default.categories, "N")
    number("--properties", default.properties, "K")
    number("--channels", default.channels, "of the features")
    number("--dim", default.dim, "D, width of the embedding")
    number("--temperature", default.temperature, "of the sigmoid")
    parser.add_argument("--normalize", action="store_true", help="normalise the pixel embeddings")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default=default.dtype,
        help="of the features; what follows them is float32, or float64 for float64",
    )


def settings_of(args: argparse.Namespace) -> Settings:
    """
    Raises:
        ProLabError: a number is out of range.
    """
    for name in ("batch", "categories", "properties", "channels", "dim"):
        if getattr(args, name) < 1:
            raise ProLabError(f"--{name} {getattr(args, name)}: give 1 or more")
    if min(args.size) < STRIDE:
        raise ProLabError(f"--size {args.size[0]} {args.size[1]}: give {STRIDE} pixels or more")
    if not args.temperature > 0:
        raise ProLabError(f"--temperature {args.temperature}: give a number above 0")
    fields = {name: getattr(args, name) for name in Settings.__dataclass_fields__}
    return Settings(**{**fields, "size": tuple(args.size)})


class Problem:
    """
    Attributes:
        features: (B, C, h, w), channels last in memory.
        weight, bias: (D, C, 1, 1), (D,) of the projection.
        space: `PropertySpace` of K properties and N categories.
    """

    def __init__(self, settings: Settings, device: torch.device, seed: int = 0) -> None:
        self.settings = s = settings
        self.device = device
        self._generator = torch.Generator().manual_seed(seed)
        dtype = DTYPES[s.dtype]
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        low = [-(-side // STRIDE) for side in s.size]
        features = self._normal(s.batch, *low, s.channels).relu()
        self.features = features.to(device, dtype).permute(0, 3, 1, 2)
        signatures = self._signatures()
        bank = self._normal(s.properties, s.dim)
        self.space = PropertySpace(
            bank, signatures, temperature=s.temperature, normalize_embedding=s.normalize
        ).to(device)
        self.bank = self.space.bank.to(wide)
        # Logits of a few times the temperature: neither flat nor saturated.
        scale = 3 * s.temperature * (2 / s.channels) ** 0.5
        weight, bias = self._normal(s.dim, s.channels, 1, 1), self._normal(s.dim)
        self.weight, self.bias = weight.mul(scale).to(device, wide), bias.mul(0.01).to(device, wide)
        self.category_weights = F.normalize(self.space.signatures.to(wide), dim=1, eps=1e-12)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._generator)

    def _signatures(self) -> Tensor:
        count = min(PROPERTIES_PER_CATEGORY, -(-self.settings.properties // 4))
        order = torch.rand(
            self.settings.categories, self.settings.properties, generator=self._generator
        ).argsort(1)
        return order < count

    @cached_property
    def labels(self) -> Tensor:
        """(B, H, W) int64 in [0, N), some patches `IGNORE_LABEL`."""
        s = self.settings
        labels = patches(s.batch, s.size, s.categories, IGNORE_LABEL, self._generator)
        return labels.to(self.device)

    @cached_property
    def rows(self) -> Tensor:
        """(B, H, W) int64: the labels with N where unlabelled."""
        unlabelled = self.labels == IGNORE_LABEL
        return self.labels.masked_fill(unlabelled, self.settings.categories)

    @cached_property
    def targets(self) -> Tensor:
        """(N + 1, K): unit signatures and a row of zeros."""
        return F.pad(self.category_weights, (0, 0, 0, 1))


def patches(
    batch: int,
    size: tuple[int, int],
    categories: int,
    ignore_label: int,
    generator: torch.Generator,
) -> Tensor:
    """(B, H, W) int64: squares of one random label each."""
    shape = (batch, *(-(-side // PATCH) for side in size))
    labels = torch.randint(categories, shape, generator=generator)
    labels[torch.rand(shape, generator=generator) < UNLABELLED] = ignore_label
    labels = labels.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)
    return labels[:, : size[0], : size[1]].contiguous()
