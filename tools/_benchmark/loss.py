"""The property loss, forward and backward, from the features of the decode head.

Ours against `dense` (see dense.py): value and gradients with respect to features, weight and bias
of the projection.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .contest import Contest, Goal, Side
from .dense import dense_loss
from .problem import IGNORE_LABEL, Problem, Settings, add_settings_options, settings_of

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

# Where the issue of this project says so: 15 times as fast with a twentieth of the memory, and
# hardly slower with 8 times as many categories.
GOALS = (Goal("time", 1 / 15), Goal("memory", 1 / 20))
MANY_CATEGORIES = (Goal("time", 1.3), Goal("memory", 1.05))


def add_options(parser: argparse.ArgumentParser) -> None:
    add_settings_options(parser, Settings())


def contests(args: argparse.Namespace) -> Iterator[Contest]:
    if args.preset is None:
        yield against_dense(settings_of(args), (), args)
        return
    usual = Settings()
    yield against_dense(usual, GOALS, args)
    yield against_dense(usual.replace(normalize=True, temperature=0.01), GOALS, args)
    yield many_categories(usual.replace(properties=1024), 1203, args)


def against_dense(settings: Settings, goals: tuple[Goal, ...], args: argparse.Namespace) -> Contest:
    """Ours, the dense form, and its largest matrix product alone."""
    problem = Problem(settings, args.device, args.seed)
    dense = _dense(problem)
    pixels, dim, properties = settings.pixels, settings.dim, settings.properties
    low = problem.features[:, 0].numel()
    # Forward, and backward with respect to the input and, for the projection, to the weight.
    product = 2 * pixels * dim * properties * 2
    projection = 2 * low * settings.channels * dim * 3
    return Contest(
        title=f"loss, {settings}",
        sides={
            "ours": Side(lambda: _value_and_gradients(_ours(problem), problem)),
            "dense": Side(lambda: _value_and_gradients(dense, problem), product + projection),
            "matrix product alone": Side(_product(problem), product),
        },
        settings=settings.as_dict(),
        goals=goals,
        check=lambda: difference(_ours(problem), dense, problem),
        pixels=pixels,
    )


def many_categories(few: Settings, categories: int, args: argparse.Namespace) -> Contest:
    """Ours with many categories against ours with few."""
    many = few.replace(categories=categories)
    problems = [Problem(settings, args.device, args.seed) for settings in (many, few)]
    many_run, few_run = (
        lambda problem=problem: _value_and_gradients(_ours(problem), problem)
        for problem in problems
    )
    return Contest(
        title=f"loss, {many} against N {few.categories}",
        sides={f"N {categories}": Side(many_run), f"N {few.categories}": Side(few_run)},
        settings=many.as_dict(),
        goals=MANY_CATEGORIES,
        pixels=many.pixels,
    )


def difference(ours: Loss, dense: Loss, problem: Problem) -> float:
    """The largest difference of value or gradients, over the largest number of each."""
    pairs = zip(
        _value_and_gradients(ours, problem), _value_and_gradients(dense, problem), strict=True
    )
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)


def _ours(problem: Problem) -> Loss:
    def loss(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return problem.space.loss_from_features(
            features, weight, bias, problem.labels, ignore_label=IGNORE_LABEL
        )

    return loss


def _dense(problem: Problem) -> Loss:
    s = problem.settings
    targets, rows = problem.targets, problem.rows

    def loss(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return dense_loss(
            features,
            weight.flatten(1),
            bias,
            problem.bank,
            targets,
            rows,
            s.temperature,
            s.normalize,
        )

    return loss


def _value_and_gradients(loss: Loss, problem: Problem) -> tuple[Tensor, ...]:
    inputs = [x.detach().requires_grad_() for x in (problem.features, problem.weight, problem.bias)]
    value = loss(*inputs)
    value.backward()
    return (value.detach(), *(x.grad for x in inputs))


def _product(problem: Problem) -> Callable[[], Tensor]:
    """The bank product of every pixel, and its adjoint."""
    embedding = torch.randn(
        problem.settings.pixels,
        problem.settings.dim,
        dtype=problem.bank.dtype,
        device=problem.device,
    )

    return lambda: (embedding @ problem.bank.T) @ problem.bank
