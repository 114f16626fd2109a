from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from prolab_d2 import ProLabError
from prolab_d2.modeling.decode_heads import UPerNetHead
from tests.modeling.head_tester import HeadTester, make_features


class TestUPerNetHead(HeadTester):
    head_class = UPerNetHead

    def test_fine_features_come_first(self) -> None:
        with pytest.raises(ProLabError, match="fine to coarse"):
            self.make(in_features=("res5", "res4", "res3", "res2"))

    @pytest.mark.parametrize("levels", [1, 2, 3])
    def test_fewer_levels(self, levels: int) -> None:
        names = ("res2", "res3", "res4", "res5")[4 - levels :]
        head = self.make(in_features=names).train()
        features = make_features((64, 96))
        assert head(features).shape[2:] == features[names[0]].shape[2:]

    def test_pool_scales(self) -> None:
        head = self.make(pool_scales=(1, 4))
        assert [module[0].output_size for module in head.psp_modules] == [1, 4]
        assert head.bottleneck.conv.in_channels == 12 + 2 * self.channels

    def test_the_coarsest_feature_reaches_every_pixel(self) -> None:
        """Pooling to one cell: a change in one corner is felt in the opposite one."""
        head = self.make().eval()
        features = make_features((256, 256))
        with torch.no_grad():
            before = head(features)
            features["res5"] = features["res5"].clone()
            features["res5"][:, :, 0, 0] += 10
            after = head(features)
        assert (after - before).abs()[:, :, -1, -1].sum() > 0

    def test_top_down_adds_the_resized_coarser_level(self) -> None:
        """Two levels, worked out by hand from the parameters of the head."""
        head = self.make(in_features=("res4", "res5"), pool_scales=(1,)).eval()
        features = make_features((64, 64))
        with torch.no_grad():
            actual = head(features)
            fine, coarse = features["res4"], features["res5"]
            pooled = head.psp_modules[0](coarse).expand(-1, -1, *coarse.shape[2:])
            coarse = head.bottleneck(torch.cat([coarse, pooled], 1))
            up = F.interpolate(coarse, scale_factor=2, mode="bilinear")
            fine = head.fpn_convs[0](head.lateral_convs[0](fine) + up)
            expected = head.fpn_bottleneck(torch.cat([fine, up], 1))
        assert torch.allclose(actual, expected, atol=1e-6)

    def test_a_single_image_cannot_be_normalised_in_training(self) -> None:
        with pytest.raises(ProLabError, match=r"IMS_PER_BATCH.*'GN'"):
            self.make().train()(make_features((64, 64), batch=1))
        self.make(norm="GN", channels=64).train()(make_features((64, 64), batch=1))
        self.make().eval()(make_features((64, 64), batch=1))
