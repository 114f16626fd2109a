from __future__ import annotations

import torch
import torch.nn.functional as F

from prolab_d2.modeling.decode_heads import SegFormerHead
from tests.modeling.head_tester import HeadTester, make_features


class TestSegFormerHead(HeadTester):
    head_class = SegFormerHead

    def test_levels_are_mixed_pixel_by_pixel(self) -> None:
        """Two levels, worked out by hand from the parameters of the head."""
        head = self.make(in_features=("res4", "res5")).eval()
        features = make_features((64, 64))
        with torch.no_grad():
            actual = head(features)
            coarse = F.interpolate(head.convs[1](features["res5"]), scale_factor=2, mode="bilinear")
            expected = head.fusion_conv(torch.cat([head.convs[0](features["res4"]), coarse], 1))
        assert torch.allclose(actual, expected, atol=1e-6)

    def test_has_no_kernel_above_one_pixel(self) -> None:
        kernels = {m.kernel_size for m in self.make().modules() if isinstance(m, torch.nn.Conv2d)}
        assert kernels == {(1, 1)}
