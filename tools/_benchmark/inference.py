"""Category scores and labels of images, from the features of the decode head.

Ours against `dense` (see dense.py), labels at the size of the image. `--preset targets` also
compares whole networks, from image to labels, with property and with category supervision.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from prolab_d2.modeling.inference import Maps, Tile, category_labels

from .contest import Contest, Goal, Side
from .dense import dense_labels, dense_scores
from .problem import Problem, Settings, add_settings_options, settings_of
from .step import LABEL_SPACES, LITE0, SUPERVISIONS, Setting, random_batch


def add_options(parser: argparse.ArgumentParser) -> None:
    add_settings_options(parser, Settings(batch=1))


def contests(args: argparse.Namespace) -> Iterator[Contest]:
    if args.preset is None:
        yield against_dense(settings_of(args), (), args)
        return
    usual = Settings(batch=1)
    goals = (Goal("time", 1 / 5), Goal("memory", 1 / 10))
    yield against_dense(usual.replace(size=(1024, 2048)), goals, args)
    yield many_categories(usual.replace(categories=1203, properties=1024), usual, args)
    for label_space in LABEL_SPACES:
        yield whole_image(Setting(*LITE0, label_space, batch=1, size=(720, 960)), args)


def against_dense(settings: Settings, goals: tuple[Goal, ...], args: argparse.Namespace) -> Contest:
    """Ours, the dense form, and its three matrix products alone."""
    problem = Problem(settings, args.device, args.seed)
    return Contest(
        title=f"scores and labels, {settings}",
        sides={
            "ours": Side(lambda: _ours(problem)),
            "dense": Side(lambda: _dense(problem), _flops(settings)),
            "matrix products alone": Side(_products(problem), _flops(settings)),
        },
        settings=settings.as_dict(),
        goals=goals,
        check=lambda: difference(_ours(problem), problem),
        pixels=settings.pixels,
    )


def many_categories(many: Settings, few: Settings, args: argparse.Namespace) -> Contest:
    """Ours with many categories and properties against ours with few."""
    problems = [Problem(settings, args.device, args.seed) for settings in (many, few)]
    names = [f"N {s.categories}, K {s.properties}" for s in (many, few)]
    return Contest(
        title=f"scores and labels, {many} against {names[1]}",
        sides={
            name: Side(lambda problem=problem: _ours(problem))
            for name, problem in zip(names, problems, strict=True)
        },
        settings=many.as_dict(),
        goals=(Goal("time", 6), Goal("megabytes", 300)),
        pixels=many.pixels,
    )


def whole_image(setting: Setting, args: argparse.Namespace) -> Contest:
    """From image to labels: the network, scores, labels at the size of the image."""
    models = {name: setting.build(name, args).eval() for name in SUPERVISIONS}
    space = models["property"].label_space
    return Contest(
        title=setting.title("whole image", space),
        sides={
            name: Side(partial(model, random_batch(setting, model, args.seed)))
            for name, model in models.items()
        },
        settings=setting.as_dict(space),
        goals=(Goal("time", 1.03), Goal("memory", 1.05)),
        pixels=setting.size[0] * setting.size[1],
    )


@torch.inference_mode()
def difference(labels: Tensor, problem: Problem) -> float:
    """How far the dense scores of our labels are below the best dense scores, at most.

    Equal labels cannot be asked for where two categories are closer than the rounding.
    """
    scores = torch.nn.functional.interpolate(
        _dense_scores(problem), problem.settings.size, mode="bilinear", align_corners=False
    )
    ours = scores.gather(1, labels[:, None])[:, 0]
    return (scores.amax(1) - ours).max().item()


@torch.inference_mode()
def _ours(problem: Problem) -> Tensor:
    size = problem.settings.size
    scores = problem.space.scorer(problem.weight, problem.bias)(problem.features)
    padded = (scores.shape[2] * 4, scores.shape[3] * 4)
    return category_labels(Maps((Tile(scores, (0, 0, *size), padded),), size), size)


def _dense_scores(problem: Problem) -> Tensor:
    s = problem.settings
    return dense_scores(
        problem.features,
        problem.weight.flatten(1),
        problem.bias,
        problem.bank,
        problem.category_weights,
        s.temperature,
        s.normalize,
    )


@torch.inference_mode()
def _dense(problem: Problem) -> Tensor:
    return dense_labels(_dense_scores(problem), problem.settings.size)


def _flops(s: Settings) -> float:
    low = s.pixels / 16
    return 2 * low * (s.channels * s.dim + s.dim * s.properties + s.properties * s.categories)


def _products(problem: Problem) -> Callable[[], Tensor]:
    weight = problem.weight.flatten(1)
    features = problem.features.to(weight.dtype).permute(0, 2, 3, 1).flatten(0, 2)
    return lambda: ((features @ weight.T) @ problem.bank.T) @ problem.category_weights.T
