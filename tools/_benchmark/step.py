"""A whole training step with property supervision against the same with category supervision.

Backbone, heads, optimiser and input are the same, the weights random. The losses of both heads
alone, from the features of the heads, come second.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage
from torch import Tensor

from prolab_d2 import LabelSpace
from prolab_d2.engine import load_config
from prolab_d2.engine.train_step import TrainStep
from prolab_d2.modeling import PropertySegmentor
from prolab_d2.modeling.backbones.weights import forget_weights
from prolab_d2.solver import build_optimizer

from .contest import Contest, Goal, Side
from .problem import patches

SUPERVISIONS = ("property", "category")
LITE0 = ("camvid/lite0_property", ("MODEL.DECODE_HEAD.CHANNELS", "128"))
VIT_ADAPTER_S = ("camvid/vit_adapter_small_property", ("MODEL.DECODE_HEAD.CHANNELS", "128"))
# (N, K) = (11, 32) and (150, 256).
LABEL_SPACES = ("camvid", "ade20k")


@dataclass(frozen=True)
class Setting:
    """A config with changes, a label space, and the batch."""

    config: str
    options: tuple[str, ...]
    label_space: str
    batch: int = 8
    size: tuple[int, int] = (256, 256)

    def build(self, supervision: str, args: argparse.Namespace) -> PropertySegmentor:
        """The network with random weights, the same ones but for the last layers."""
        torch.manual_seed(args.seed)
        model = PropertySegmentor(self.load(supervision))
        return model.to(args.device, memory_format=torch.channels_last)

    def load(self, supervision: str) -> CfgNode:
        cfg = load_config(self.config, [*self.options])
        forget_weights(cfg)
        cfg.MODEL.PROLAB.LABEL_SPACE = self.label_space
        cfg.MODEL.PROLAB.SUPERVISION = supervision
        cfg.DATASETS.TRAIN = ()  # so that the label space decides about ignore_label
        return cfg

    def as_dict(self, space: LabelSpace) -> dict[str, Any]:
        sizes = {"categories": space.num_categories, "properties": space.num_properties}
        return {**asdict(self), **sizes}

    def title(self, what: str, space: LabelSpace) -> str:
        name = " ".join([self.config, *self.options])
        return (
            f"{what}, {name}, {self.batch} x {self.size[0]} x {self.size[1]}, "
            f"N {space.num_categories}, K {space.num_properties}"
        )


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", default=LITE0[0], help=f"file or shipped name (default {LITE0[0]})"
    )
    parser.add_argument("--label-space", default="camvid", help="name or folder (default camvid)")
    parser.add_argument("--batch", type=int, default=8, help="images (default 8)")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(256, 256), metavar=("H", "W"), help="of the images"
    )
    parser.add_argument(
        "--opts", nargs="*", default=[], metavar="KEY VALUE", help="changes of the config"
    )


def contests(args: argparse.Namespace) -> Iterator[Contest]:
    if args.preset is None:
        setting = Setting(
            args.config, tuple(args.opts), args.label_space, args.batch, tuple(args.size)
        )
        yield from of_setting(setting, (), args)
        return
    for network, limit in ((LITE0, 1.05), (VIT_ADAPTER_S, 1.03)):
        for label_space in LABEL_SPACES:
            goals = (Goal("time", limit), Goal("memory", limit))
            yield from of_setting(Setting(*network, label_space), goals, args)


def of_setting(
    setting: Setting, goals: Sequence[Goal], args: argparse.Namespace
) -> Iterator[Contest]:
    """The whole step, then the losses alone."""
    sides = {name: _Training(setting, name, args) for name in SUPERVISIONS}
    space = sides["property"].model.label_space
    pixels = setting.batch * setting.size[0] * setting.size[1]
    settings = setting.as_dict(space)
    yield Contest(
        setting.title("training step", space),
        {name: Side(side.step) for name, side in sides.items()},
        settings,
        goals=tuple(goals),
        pixels=pixels,
    )
    yield Contest(
        setting.title("losses alone", space),
        {name: Side(side.losses_alone()) for name, side in sides.items()},
        settings,
        pixels=pixels,
    )


class _Training:
    """A model in training on one random batch."""

    def __init__(self, setting: Setting, supervision: str, args: argparse.Namespace) -> None:
        cfg = setting.load(supervision)
        self.model = setting.build(supervision, args).train()
        self.batch = random_batch(setting, self.model, args.seed)
        self._step = TrainStep(self.model, repeat(self.batch), build_optimizer(cfg, self.model))

    def step(self) -> None:
        with EventStorage():
            self._step.run_step()

    def losses_alone(self) -> Callable[[], None]:
        """Forward and backward of the losses of all heads, as far as the heads' features."""
        model = self.model
        images = torch.stack([one["image"] for one in self.batch]).to(model.device)
        labels = torch.stack([one["sem_seg"] for one in self.batch]).to(model.device)
        with torch.no_grad():
            images = (images - model.pixel_mean) / model.pixel_std
            features = model.backbone(images.contiguous(memory_format=torch.channels_last))
            heads = [(model.decode_head(features), model.projection)]
            if model.aux_head is not None:
                heads.append((model.aux_head(features), model.aux_projection))

        def run() -> None:
            for head, projection in heads:
                head = head.detach().requires_grad_()
                model._head_loss(head, projection, None, labels).backward()

        return run


def random_batch(setting: Setting, model: PropertySegmentor, seed: int) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    shape = (setting.batch, 3, *setting.size)
    images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    labels = patches(
        setting.batch,
        setting.size,
        model.label_space.num_categories,
        model.ignore_label,
        generator,
    )
    return [{"image": image, "sem_seg": mask} for image, mask in zip(images, labels, strict=True)]
