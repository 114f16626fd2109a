"""Logits and inner products from features against those of the projected embedding."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from prolab_d2.modeling import neighbour_products as neighbour_products_module
from prolab_d2.modeling.feature_products import logits_and_products
from prolab_d2.modeling.neighbour_products import neighbour_products


@pytest.fixture(params=["whole parts", "row by row"], autouse=True)
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "row by row":
        monkeypatch.setitem(neighbour_products_module._CHUNK_ENTRIES, "cpu", 1)


@pytest.fixture(params=[1, 2], autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def _inputs(channels: int, dim: int, rank: int | None = None) -> list[Tensor]:
    """Features, weight, bias and bank; the weight of lower rank if asked to."""
    generator = torch.Generator().manual_seed(channels + dim)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weight = normal(dim, channels)
    if rank is not None:
        weight = normal(dim, rank) @ normal(rank, channels)
    return [normal(2, channels, 5, 7), weight, normal(dim), normal(6, dim)]


def _with_embedding(
    features: Tensor, weight: Tensor, bias: Tensor | None, bank: Tensor
) -> tuple[Tensor, Tensor]:
    embedding = torch.nn.functional.conv2d(features, weight[:, :, None, None], bias)
    return torch.einsum("kd,bdhw->bkhw", bank, embedding), neighbour_products(embedding)


def _answers_and_gradients(function, inputs: list[Tensor | None]) -> list[Tensor]:
    inputs = [None if x is None else x.detach().requires_grad_() for x in inputs]
    *learnt, bank = inputs
    answers = function(*learnt, bank.detach())
    generator = torch.Generator().manual_seed(0)
    total = sum(
        (x * torch.randn(x.shape, generator=generator, dtype=x.dtype)).sum() for x in answers
    )
    return [*answers, *torch.autograd.grad(total, [x for x in learnt if x is not None])]


def _assert_equal(answers: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for one, other in zip(answers, expected, strict=True):
        scale = other.detach().abs().max().item()
        torch.testing.assert_close(one.double(), other, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize(
    ("channels", "dim", "rank"), [(9, 40, None), (16, 33, None), (20, 12, None), (9, 40, 3)]
)
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_they_are_those_of_the_embedding(
    channels: int, dim: int, rank: int | None, with_bias: bool, memory_format: torch.memory_format
) -> None:
    features, weight, bias, bank = _inputs(channels, dim, rank)
    features = features.contiguous(memory_format=memory_format)
    inputs = [features, weight, bias if with_bias else None, bank]
    answers = _answers_and_gradients(logits_and_products, inputs)
    expected = _answers_and_gradients(_with_embedding, inputs)
    _assert_equal(answers, expected, 1e-13)
    assert answers[2].is_contiguous(memory_format=memory_format)  # the gradient of the features


def test_features_that_need_no_gradient_get_none() -> None:
    features, weight, bias, bank = _inputs(9, 40)
    expected = []
    for needed in (True, False):
        inputs = [features.clone().requires_grad_(needed), *(x.clone() for x in (weight, bias))]
        for x in inputs[1:]:
            x.requires_grad_()
        sum(x.square().sum() for x in logits_and_products(*inputs, bank)).backward()
        assert (inputs[0].grad is not None) == needed
        expected.append([x.grad for x in inputs[1:]])
    _assert_equal(expected[1], expected[0], 0)


def test_short_embeddings_of_long_features_are_as_exact_as_when_projected() -> None:
    """The weight all but cancels what the features have in common; squares of it would be lost."""
    features, weight, bias, bank = _inputs(32, 80)
    common = torch.nn.functional.normalize(features[0, :, 0, 0], dim=0)
    weight = weight - weight @ common[:, None] @ common[None] * (1 - 1e-3)
    features = features + 1e3 * common[:, None, None]
    inputs = [x.float() for x in (features, weight, bias, bank)]
    exact = _answers_and_gradients(_with_embedding, [x.double() for x in inputs])
    for function in (_with_embedding, logits_and_products):
        answers = _answers_and_gradients(function, inputs)
        _assert_equal(answers[:2], exact[:2], 1e-4)


def test_a_backward_pass_inside_autocast_stays_in_full_precision() -> None:
    *inputs, bank = (x.float().requires_grad_() for x in _inputs(9, 40))
    total = sum(x.square().sum() for x in logits_and_products(*inputs, bank.detach()))
    expected = torch.autograd.grad(total, inputs, retain_graph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gradients = torch.autograd.grad(total, inputs)
    _assert_equal([*gradients], [x.double() for x in expected], 1e-6)
