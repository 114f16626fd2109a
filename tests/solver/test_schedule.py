import pytest

from prolab_d2.solver import WarmupPoly
from tests.golden import golden_files, golden_json


def test_decay_ends_at_the_end_factor() -> None:
    schedule = WarmupPoly(power=0.9, end=0.1)
    assert schedule(0.0) == pytest.approx(1.0)
    assert schedule(0.5) == pytest.approx(0.9 * 0.5**0.9 + 0.1)
    assert schedule(1.0) == pytest.approx(0.1)


def test_warm_up_scales_the_decaying_value() -> None:
    schedule = WarmupPoly(warmup=0.2, warmup_factor=0.01)
    assert schedule(0.0) == pytest.approx(0.01)
    assert schedule(0.1) == pytest.approx(0.9 * (1 - 0.5 * 0.99))
    assert schedule(0.2) == pytest.approx(0.8)


@pytest.mark.golden
def test_learning_rates_equal_the_published_training() -> None:
    files = golden_files("f5_optim/*.json")
    for path in files:
        case = golden_json(f"f5_optim/{path.name}")
        lr = case["lr_config"]
        schedule = WarmupPoly(
            power=lr["power"],
            end=lr["min_lr"] / case["base_lr"],
            warmup=lr["warmup_iters"] / case["max_iters"],
            warmup_factor=lr["warmup_ratio"],
        )
        for iteration, expected in case["lr_at_iteration_for_lr_scale_1"]:
            ours = case["base_lr"] * schedule(iteration / case["max_iters"])
            assert ours == pytest.approx(expected, rel=1e-9), f"{path.name}, {iteration}"
    print(f"{len(files)} published schedules")
