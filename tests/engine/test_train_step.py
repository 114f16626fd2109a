from __future__ import annotations

import copy

import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from prolab_d2 import ProLabError
from prolab_d2.engine.train_step import TrainStep


class Regression(nn.Module):
    """Mean squared error of a linear map, as a model that returns losses."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)
        self.dtypes: set[torch.dtype] = set()

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        out = self.layer(batch)
        self.dtypes.add(out.dtype)
        return {"loss": (out.float() - 1).square().mean(), "loss_aux": out.float().abs().mean()}


def data(batches: int, size: int) -> list[Tensor]:
    return list(torch.randn(batches, size, 4, generator=torch.Generator().manual_seed(3)))


def run(model: nn.Module, loader: list[Tensor], steps: int, **options) -> TrainStep:
    step = TrainStep(model, loader, torch.optim.SGD(model.parameters(), lr=0.1), **options)
    with EventStorage() as storage:
        for step.iter in range(steps):
            step.run_step()
            storage.step()
        step.logged = storage.histories()["total_loss"].values()
    return step


def test_accumulated_batches_make_the_step_of_one_large_batch() -> None:
    parts = data(4, 6)
    whole = [torch.cat(parts[:2]), torch.cat(parts[2:])]
    one, several = Regression(), Regression()
    first = run(one, whole, 2)
    second = run(several, parts, 2, accumulate=2)
    assert torch.allclose(one.layer.weight, several.layer.weight, atol=1e-6)
    assert not torch.equal(one.layer.weight, Regression().layer.weight)
    assert [a for a, _ in first.logged] == pytest.approx([b for b, _ in second.logged], rel=1e-5)


@pytest.mark.parametrize(("precision", "dtype"), [
    ("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)
])  # fmt: skip
def test_features_have_the_precision_and_weights_stay_float32(precision, dtype) -> None:
    model, exact = Regression(), Regression()
    step = run(model, data(5, 6), 5, precision=precision)
    run(exact, data(5, 6), 5)
    assert model.dtypes == {dtype}
    assert model.layer.weight.dtype == torch.float32
    assert torch.allclose(model.layer.weight, exact.layer.weight, atol=1e-2)
    assert step.grad_scaler.is_enabled() == (precision == "float16")


def test_a_step_with_infinite_gradients_is_left_out_and_the_scale_goes_down() -> None:
    model = Regression()
    before = copy.deepcopy(model.state_dict())
    step = TrainStep(
        model, data(1, 6), torch.optim.SGD(model.parameters(), lr=0.1), precision="float16"
    )
    model.layer.weight.register_hook(lambda gradient: gradient * torch.inf)
    scale = step.grad_scaler.get_scale()
    with EventStorage():
        step.iter = 0
        step.run_step()
    assert torch.equal(model.layer.bias, before["layer.bias"])
    assert step.grad_scaler.get_scale() < scale


def test_the_scale_is_part_of_the_state() -> None:
    step = run(Regression(), data(2, 6), 1, precision="float16")
    step.grad_scaler.update(new_scale=128.0)
    other = run(Regression(), data(2, 6), 1, precision="float16")
    other.load_state_dict(step.state_dict())
    assert other.grad_scaler.get_scale() == 128.0
    plain = run(Regression(), data(2, 6), 1)
    plain.load_state_dict(plain.state_dict())
    old = {key: value for key, value in plain.state_dict().items() if key != "grad_scaler"}
    plain.load_state_dict(old)  # a checkpoint written before there was a scaler


def test_an_unknown_precision_is_named() -> None:
    with pytest.raises(ProLabError, match="SOLVER.AMP.PRECISION is 'int8'"):
        run(Regression(), data(1, 2), 1, precision="int8")
