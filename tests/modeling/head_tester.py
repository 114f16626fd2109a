"""What every decode head must do; a test class per head inherits it and says how to make one.

Shapes: B batch, C channels of the head, h x w size of its finest input.
"""

from __future__ import annotations

import pytest
import torch
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from prolab_d2 import ProLabError
from prolab_d2.modeling.decode_heads import DECODE_HEADS_REGISTRY, DecodeHead

# Odd and even numbers of channels, and names in an order that is no coincidence.
INPUT_SHAPE = {
    "res2": ShapeSpec(channels=6, stride=4),
    "res3": ShapeSpec(channels=7, stride=8),
    "res4": ShapeSpec(channels=9, stride=16),
    "res5": ShapeSpec(channels=12, stride=32),
}
SIZES = [(64, 64), (64, 96), (61, 90), (33, 130)]


def make_features(size: tuple[int, int], batch: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """Random features of an image of `size`, each (B, channels, size / stride rounded up)."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(
            batch, shape.channels, *(-(-side // shape.stride) for side in size), generator=generator
        )
        for name, shape in INPUT_SHAPE.items()
    }


def randomise(head: nn.Module) -> None:
    """Gives batch norms statistics and scales of their own, so that a lost one is seen."""
    generator = torch.Generator().manual_seed(1)
    for name, x in head.state_dict().items():
        if x.is_floating_point() and x.ndim == 1:
            x.copy_(torch.rand(x.shape, generator=generator) + 0.5 * (not name.endswith("bias")))


class HeadTester:
    """Inherit it, set `options` and, where a head reads less than all features, `in_features`."""

    head_class: type[DecodeHead]
    in_features: tuple[str, ...] = tuple(INPUT_SHAPE)
    channels = 8
    options: dict = {}

    def make(self, **overrides) -> DecodeHead:
        torch.manual_seed(0)
        arguments = {
            "input_shape": INPUT_SHAPE,
            "in_features": self.in_features,
            "channels": self.channels,
            "norm": "BN",
            **self.options,
            **overrides,
        }
        return self.head_class(**arguments)

    def test_is_registered(self) -> None:
        assert DECODE_HEADS_REGISTRY.get(self.head_class.__name__) is self.head_class

    def test_holds_no_projection(self) -> None:
        assert not [name for name in self.make().state_dict() if "conv_seg" in name]

    @pytest.mark.parametrize("size", SIZES)
    def test_any_size_forward_and_backward(self, size: tuple[int, int]) -> None:
        head = self.make().train()
        features = {name: x.requires_grad_() for name, x in make_features(size).items()}
        out = head(features)
        finest = features[self.in_features[0]]
        assert out.shape == (2, head.out_channels, *finest.shape[2:])
        assert head.out_channels == self.channels
        (out * torch.randn(out.shape)).sum().backward()
        for name, parameter in head.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name
        for name in self.in_features:
            assert features[name].grad.abs().sum() > 0, name

    def test_pixels_of_one_image_do_not_depend_on_the_others(self) -> None:
        head = self.make().eval()
        features = make_features((64, 96), batch=3)
        with torch.no_grad():
            together = head(features)
            alone = head({name: x[1:2] for name, x in features.items()})
        assert torch.allclose(together[1:2], alone, atol=1e-5)

    def test_inputs_stay_as_they_are(self) -> None:
        features = make_features((64, 64))
        before = {name: x.clone() for name, x in features.items()}
        self.make().train()(features)
        assert all(torch.equal(x, before[name]) for name, x in features.items())

    def test_save_and_load(self, tmp_path) -> None:
        head = self.make()
        randomise(head)
        torch.save(head.state_dict(), tmp_path / "head.pth")
        other = self.make()
        other.load_state_dict(torch.load(tmp_path / "head.pth", weights_only=True))
        features = make_features((64, 96))
        with torch.no_grad():
            assert torch.equal(head.eval()(features), other.eval()(features))

    def test_channels_last_gives_the_same_numbers(self) -> None:
        head = self.make().eval()
        randomise(head)
        features = make_features((64, 96))
        with torch.no_grad():
            expected = head(features)
            head = head.to(memory_format=torch.channels_last)
            actual = head({k: x.to(memory_format=torch.channels_last) for k, x in features.items()})
        assert torch.allclose(actual, expected, atol=1e-5)

    def test_autocast_halves_features_but_not_parameters(self) -> None:
        head = self.make().train()
        features = make_features((64, 96))
        expected = head(features)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            actual = head(features)
        assert actual.dtype == torch.bfloat16
        assert (actual.float() - expected).abs().mean() < 0.02 * expected.abs().mean()
        actual.float().square().mean().backward()
        assert all(p.grad.dtype == torch.float32 for p in head.parameters())

    def test_runs_in_double_precision(self) -> None:
        head = self.make().eval()
        features = make_features((64, 64))
        with torch.no_grad():
            single = head(features)
            double = head.double()({name: x.double() for name, x in features.items()})
        assert double.dtype == torch.float64
        assert torch.allclose(double.float(), single, atol=1e-4)

    @pytest.mark.parametrize("norm", ["SyncBN", "GN", "FrozenBN", ""])
    def test_every_norm_trains(self, norm: str) -> None:
        head = self.make(norm=norm, channels=32).train()
        out = head(make_features((64, 64)))
        assert out.isfinite().all()
        out.sum().backward()
        # One process on a CPU cannot synchronise: SyncBN is plain batch norm then.
        assert not any(isinstance(module, nn.SyncBatchNorm) for module in head.modules())
        has_norm = any("BatchNorm" in type(m).__name__ for m in head.modules())
        assert has_norm == (norm in ("SyncBN", "FrozenBN"))

    def test_unknown_norm_is_named(self) -> None:
        with pytest.raises(ProLabError, match="NORM is 'Sync'.*'SyncBN'"):
            self.make(norm="Sync")

    def test_missing_feature_is_named(self) -> None:
        with pytest.raises(ProLabError, match=r"\['p6'\].*res2"):
            self.make(in_features=("p6",))
