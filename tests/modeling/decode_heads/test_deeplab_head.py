from __future__ import annotations

import pytest
import torch
from torch import nn

from prolab_d2 import ProLabError
from prolab_d2.modeling.decode_heads import DeepLabV3PlusHead
from tests.modeling.head_tester import HeadTester, make_features


class TestDeepLabV3PlusHead(HeadTester):
    head_class = DeepLabV3PlusHead
    in_features = ("res2", "res5")
    options = {"dilations": (1, 2, 3), "low_level_channels": 5}

    def test_one_branch_for_every_dilation(self) -> None:
        head = self.make()
        assert head.bottleneck.conv.in_channels == 4 * self.channels
        assert head.aspp_modules[0].conv.kernel_size == (1, 1)
        spread = [module.depthwise_conv.conv for module in head.aspp_modules[1:]]
        assert [conv.dilation for conv in spread] == [(2, 2), (3, 3)]
        assert all(conv.groups == conv.in_channels == 12 for conv in spread)

    def test_the_image_pool_reaches_every_pixel(self) -> None:
        head = self.make().eval()
        features = make_features((512, 512))
        with torch.no_grad():
            before = head(features)
            features["res5"] = features["res5"].clone()
            features["res5"][:, :, 0, 0] += 10
            after = head(features)
        assert (after - before).abs()[:, :, -1, -1].sum() > 0

    def test_with_two_features_never_more(self) -> None:
        with pytest.raises(ProLabError, match="keep two"):
            self.make(in_features=("res2", "res3", "res5"))


class TestWithoutLowLevelBranch(HeadTester):
    head_class = DeepLabV3PlusHead
    in_features = ("res5",)
    options = {"dilations": (1, 2)}

    def test_has_no_low_level_branch(self) -> None:
        head = self.make()
        assert head.c1_bottleneck is None
        assert head.sep_bottleneck[0].depthwise_conv.conv.in_channels == self.channels
        assert isinstance(head.sep_bottleneck[1].pointwise_conv.conv, nn.Conv2d)
