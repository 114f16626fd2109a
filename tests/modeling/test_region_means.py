from __future__ import annotations

import numpy as np
import pytest
import torch

from prolab_d2.modeling import inference
from prolab_d2.modeling.inference import Maps, WindowOptions, predict_maps, resize_maps
from prolab_d2.modeling.region_means import region_means

ODD = WindowOptions((42, 50), (27, 31))


def random_maps(window: WindowOptions | None) -> Maps:
    """7 channels at a quarter of 61 x 77 pixels."""
    generator = torch.Generator().manual_seed(0)

    def forward(images: torch.Tensor) -> torch.Tensor:
        size = (images.shape[0], 7, images.shape[2] // 4, images.shape[3] // 4)
        return torch.rand(size, generator=generator)

    return predict_maps(forward, torch.zeros(1, 3, 61, 77), None, window, size_divisibility=32)


@pytest.mark.parametrize("window", [None, ODD], ids=["whole", "odd windows"])
@pytest.mark.parametrize("size", [(61, 77), (90, 40)])
@pytest.mark.parametrize("band_bytes", [1, 1 << 21])
def test_means_are_those_of_the_resized_maps(
    window: WindowOptions | None,
    size: tuple[int, int],
    band_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(inference.BAND_BYTES, "cpu", band_bytes)
    maps = random_maps(window)
    regions = np.random.default_rng(0).integers(-1, 5, size)
    regions[:7] = regions[20:30] = 255
    regions[regions == 3] = 1
    dense = resize_maps(maps, size)[0].double().numpy()
    means = region_means(maps, regions, 5)
    assert means.shape == (5, 7) and means.dtype == np.float64
    for region in (0, 1, 2, 4):
        expected = dense[:, regions == region].mean(axis=1)
        np.testing.assert_allclose(means[region], expected, atol=1e-6)
    assert np.isnan(means[3]).all()


def test_no_region_at_all_gives_no_mean() -> None:
    means = region_means(random_maps(None), np.full((20, 30), -1), 2)
    assert means.shape == (2, 7) and np.isnan(means).all()
