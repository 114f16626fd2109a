from __future__ import annotations

import pytest
import torch

from prolab_d2 import ProLabError
from prolab_d2.modeling.decode_heads import FCNHead
from tests.modeling.head_tester import INPUT_SHAPE, HeadTester, make_features


class TestAuxiliaryFCNHead(HeadTester):
    """The auxiliary head of the published configs."""

    head_class = FCNHead
    in_features = ("res4",)
    options = {"num_convs": 1, "concat_input": False}

    def test_is_one_convolution(self) -> None:
        shapes = {name: tuple(x.shape) for name, x in self.make().named_parameters()}
        assert shapes == {
            "convs.0.conv.weight": (8, INPUT_SHAPE["res4"].channels, 3, 3),
            "convs.0.bn.weight": (8,),
            "convs.0.bn.bias": (8,),
        }


class TestConcatenatingFCNHead(HeadTester):
    head_class = FCNHead
    in_features = ("res5",)
    options = {"num_convs": 2, "concat_input": True}

    def test_the_input_comes_first_in_the_concatenation(self) -> None:
        head = self.make().eval()
        features = make_features((64, 64))
        with torch.no_grad():
            x = features["res5"]
            expected = head.conv_cat(torch.cat([x, head.convs(x)], 1))
            assert torch.equal(head(features), expected)

    def test_one_feature_only(self) -> None:
        with pytest.raises(ProLabError, match="one feature"):
            self.make(in_features=("res4", "res5"))


class TestDilatedFCNHead(HeadTester):
    head_class = FCNHead
    in_features = ("res2",)
    options = {"num_convs": 2, "concat_input": True, "kernel_size": 5, "dilation": 2}


def test_without_convolutions_the_feature_passes() -> None:
    options = {"input_shape": INPUT_SHAPE, "in_features": ("res4",), "num_convs": 0}
    head = FCNHead(channels=9, concat_input=False, norm="BN", **options)
    features = make_features((64, 64))
    assert torch.equal(head(features), features["res4"])
    with pytest.raises(ProLabError, match="9 channels.*NUM_CONVS"):
        FCNHead(channels=8, **options)
