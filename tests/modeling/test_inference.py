"""Windows, averaging, padding and resizing of maps, against the plain way with full-size maps."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from prolab_d2.errors import ProLabError
from prolab_d2.modeling import inference
from prolab_d2.modeling.inference import (
    WindowOptions,
    category_labels,
    category_score_maps,
    insert_background,
    low_resolution_maps,
    predict_maps,
    resize_maps,
    slide,
    window_grid,
)
from prolab_d2.modeling.resize import resize_band, resize_rows

CHANNELS = 7


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Maps at a quarter of the resolution that depend on every pixel around."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Tanh(), nn.Conv2d(8, CHANNELS, 3, 2, 1)
    )
    return network.requires_grad_(False)


def image(height: int, width: int, batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def bilinear(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def plain_slide(network: nn.Module, images: Tensor, crop: int, stride: int) -> Tensor:
    total = torch.zeros(len(images), CHANNELS, *images.shape[-2:])
    count = torch.zeros(images.shape[-2:])
    for y1, x1, y2, x2 in window_grid(tuple(images.shape[-2:]), (crop, crop), (stride, stride)):
        window = images[:, :, y1:y2, x1:x2]
        total[:, :, y1:y2, x1:x2] += bilinear(network(window), tuple(window.shape[-2:]))
        count[y1:y2, x1:x2] += 1
    return total / count


class TestWindowGrid:
    def test_last_window_is_shifted_back_to_the_border(self):
        assert window_grid((64, 100), (64, 64), (43, 43)) == [(0, 0, 64, 64), (0, 36, 64, 100)]

    def test_side_shorter_than_the_crop_gives_one_smaller_window(self):
        assert window_grid((50, 40), (64, 64), (43, 43)) == [(0, 0, 50, 40)]

    def test_windows_come_row_by_row(self):
        starts = [box[:2] for box in window_grid((80, 100), (64, 64), (43, 43))]
        assert starts == [(0, 0), (0, 36), (16, 0), (16, 36)]

    def test_no_superfluous_window_when_the_stride_fits(self):
        assert len(window_grid((64, 128), (64, 64), (32, 64))) == 2

    @pytest.mark.parametrize("size", [(1, 1), (63, 65), (107, 64), (150, 191)])
    @pytest.mark.parametrize("stride", [1, 17, 43, 64])
    def test_every_pixel_is_covered_and_no_window_leaves_the_image(self, size, stride):
        covered = torch.zeros(size, dtype=torch.bool)
        for y1, x1, y2, x2 in window_grid(size, (64, 64), (stride, stride)):
            assert 0 <= y1 < y2 <= size[0] and 0 <= x1 < x2 <= size[1]
            assert (y2 - y1, x2 - x1) == (min(64, size[0]), min(64, size[1]))
            covered[y1:y2, x1:x2] = True
        assert covered.all()


@pytest.mark.parametrize("stride", [(0, 32), (32, 65)])
def test_strides_that_leave_gaps_are_refused(stride):
    with pytest.raises(ProLabError, match="cover the image"):
        WindowOptions((64, 64), stride)


def test_window_batch_of_zero_is_refused():
    with pytest.raises(ProLabError, match="BATCH_SIZE"):
        WindowOptions((64, 64), (32, 32), 0)


class TestResize:
    @pytest.mark.parametrize("size", [(64, 96), (33, 50), (10, 7), (16, 24), (16, 50), (40, 24)])
    def test_band_equals_interpolate(self, size):
        x = torch.randn(2, 5, 16, 24, dtype=torch.float64)
        band = resize_band(x, size, 0, size[0])
        torch.testing.assert_close(band, bilinear(x, size), rtol=0, atol=1e-12)
        # Torch computes coordinates in float32 here, which is the larger part of the difference.
        band = resize_band(x.float(), size, 0, size[0])
        torch.testing.assert_close(band, bilinear(x.float(), size), rtol=0, atol=1e-5)

    @pytest.mark.parametrize("height", [1, 3, 20])
    def test_bands_put_together_are_the_whole_to_the_last_bit(self, height):
        x = torch.randn(2, 5, 16, 24)
        whole = resize_band(x, (61, 90), 0, 61)
        bands = [
            resize_band(x, (61, 90), row, min(row + height, 61)) for row in range(0, 61, height)
        ]
        assert torch.equal(torch.cat(bands, dim=2), whole)

    def test_rows_can_be_resized_from_a_part_of_the_source(self):
        x = torch.randn(1, 2, 16, 5)
        whole = resize_rows(x, 40, 0, 40)
        # Rows 20 to 24 of 40 read rows 7 to 10 of 16.
        assert torch.equal(resize_rows(x[:, :, 7:11], 40, 20, 25, (7, 16)), whole[:, :, 20:25])


class TestWholeImage:
    @pytest.mark.parametrize("size", [(64, 96), (51, 74)])
    @pytest.mark.parametrize("answer", [(64, 96), (90, 131), (20, 33)])
    def test_padding_is_cut_off_before_the_last_resize(self, network, size, answer):
        images = image(*size)
        padded = F.pad(images, (0, -size[1] % 32, 0, -size[0] % 32))
        full = bilinear(network(padded), tuple(padded.shape[-2:]))[..., : size[0], : size[1]]
        expected = bilinear(full, answer)
        maps = predict_maps(network, images, size_divisibility=32)
        torch.testing.assert_close(resize_maps(maps, answer), expected, rtol=0, atol=2e-6)
        # The same with an image that was padded before.
        maps = predict_maps(network, padded, size)
        torch.testing.assert_close(resize_maps(maps, answer), expected, rtol=0, atol=2e-6)

    def test_padding_squeezes_nothing(self):
        """A network that reports where it looks says so at the right place in spite of padding."""
        rows = torch.arange(50.0)[:, None].expand(50, 70)
        images = rows.expand(1, 3, 50, 70)
        maps = predict_maps(lambda x: F.avg_pool2d(x[:, :1], 4), images, size_divisibility=32)
        answer = resize_maps(maps, (50, 70))[0, 0]
        torch.testing.assert_close(answer[2:44, :64], rows[2:44, :64])


class TestWindows:
    @pytest.mark.parametrize("size", [(80, 100), (50, 40), (50, 100), (107, 64)])
    @pytest.mark.parametrize("stride", [43, 64, 20])
    def test_maps_are_averaged_at_the_size_of_the_image(self, network, size, stride):
        images = image(*size)
        expected = plain_slide(network, images, 64, stride)
        actual = slide(network, images, (64, 64), (stride, stride), 3)
        torch.testing.assert_close(actual, expected, rtol=0, atol=2e-6)

    def test_windows_go_through_the_network_together(self, network):
        sizes = []

        def forward(x: Tensor) -> Tensor:
            sizes.append(len(x))
            return network(x)

        images = image(150, 150)
        one_by_one = slide(forward, images, (64, 64), (43, 43), 1)
        assert sizes == [1] * 9
        sizes.clear()
        together = slide(forward, images, (64, 64), (43, 43), 4)
        assert sizes == [4, 4, 1]
        torch.testing.assert_close(together, one_by_one, rtol=0, atol=2e-6)

    def test_batches_of_images(self, network):
        images = image(80, 100, batch=2)
        expected = plain_slide(network, images, 64, 43)
        actual = slide(network, images, (64, 64), (43, 43), 4)
        torch.testing.assert_close(actual, expected, rtol=0, atol=2e-6)

    def test_window_larger_than_the_image_equals_the_whole_image(self, network):
        images = image(60, 44)
        window = predict_maps(
            network, images, window=WindowOptions((64, 64), (64, 64)), size_divisibility=32
        )
        whole = predict_maps(network, images, size_divisibility=32)
        assert torch.equal(resize_maps(window, (90, 70)), resize_maps(whole, (90, 70)))

    def test_windows_are_cut_from_the_image_without_its_padding(self, network):
        images = image(70, 90)
        options = WindowOptions((48, 48), (30, 30))
        padded = F.pad(images, (0, 38, 0, 26))
        expected = predict_maps(network, images, window=options)
        actual = predict_maps(network, padded, (70, 90), options)
        assert [tile.box for tile in actual.tiles] == [tile.box for tile in expected.tiles]
        assert torch.equal(resize_maps(actual, (70, 90)), resize_maps(expected, (70, 90)))


def some_maps(network: nn.Module, windows: bool) -> inference.Maps:
    options = WindowOptions((64, 64), (43, 43)) if windows else None
    return predict_maps(network, image(77, 102), window=options, size_divisibility=32)


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("size", [(77, 102), (130, 160), (40, 51)])
class TestScoresAndLabels:
    def test_labels_are_the_argmax_of_the_scores(self, network, windows, size, monkeypatch):
        maps = some_maps(network, windows)
        weights = torch.rand(11, CHANNELS, generator=torch.Generator().manual_seed(2))
        monkeypatch.setitem(inference.BAND_BYTES, "cpu", 20_000)
        for group in (256, 4):
            monkeypatch.setattr(inference, "CATEGORY_GROUP", group)
            for w in (None, weights):
                expected = category_score_maps(maps, size, w).argmax(dim=1)
                assert torch.equal(category_labels(maps, size, w), expected)

    def test_height_of_the_bands_changes_nothing(self, network, windows, size, monkeypatch):
        maps = some_maps(network, windows)
        monkeypatch.setitem(inference.BAND_BYTES, "cpu", 1 << 40)
        expected = category_score_maps(maps, size)
        monkeypatch.setitem(inference.BAND_BYTES, "cpu", 1)
        assert torch.equal(category_score_maps(maps, size), expected)

    def test_weights_may_come_before_or_after_the_resize(self, network, windows, size):
        maps = some_maps(network, windows)
        weights = torch.rand(11, CHANNELS)
        expected = torch.einsum("nm,bmhw->bnhw", weights, resize_maps(maps, size))
        actual = category_score_maps(maps, size, weights)
        torch.testing.assert_close(actual, expected, rtol=0, atol=5e-6)


class LargestTensor(TorchDispatchMode):
    """Remembers the number of elements of the largest new tensor."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and not result._is_view():
            self.elements = max(self.elements, result.numel())
        return result


@pytest.mark.parametrize("windows", [False, True])
def test_labels_need_no_full_size_scores(windows, monkeypatch):
    categories, size = 60, (256, 320)
    options = WindowOptions((128, 128), (100, 100)) if windows else None
    maps = predict_maps(lambda x: F.avg_pool2d(x, 4), image(*size), window=options)
    monkeypatch.setitem(inference.BAND_BYTES, "cpu", 400_000)
    with LargestTensor() as largest:
        category_labels(maps, size, torch.rand(categories, 3))
    assert largest.elements < categories * size[0] * size[1] / 8


class TestLowResolution:
    def test_padding_is_dropped_and_values_stay(self, network):
        maps = predict_maps(network, image(48, 72), size_divisibility=32)
        assert maps.tiles[0].values.shape[-2:] == (16, 24)
        expected = maps.tiles[0].values[:, :, :12, :18]
        assert torch.equal(low_resolution_maps(maps), expected)

    @pytest.mark.parametrize("windows", [False, True])
    def test_maps_cover_exactly_the_image(self, windows):
        """Cell centres of a ramp lie where a grid over 50 x 70 pixels puts them."""
        rows = torch.arange(50.0)[:, None].expand(50, 70)
        options = WindowOptions((40, 40), (25, 25)) if windows else None
        maps = predict_maps(
            lambda x: F.avg_pool2d(x[:, :1], 4),
            rows.expand(1, 3, 50, 70),
            window=options,
            size_divisibility=4,
        )
        low = low_resolution_maps(maps)[0, 0]
        assert low.shape == (13, 18)
        centres = (torch.arange(13.0) + 0.5) * 50 / 13 - 0.5
        torch.testing.assert_close(low[1:11, 3], centres[1:11], rtol=0, atol=0.3)


def test_maps_can_be_changed_window_by_window(network):
    maps = some_maps(network, windows=True)
    doubled = maps.map_values(lambda values: 2 * values)
    assert torch.equal(resize_maps(doubled, (77, 102)), 2 * resize_maps(maps, (77, 102)))


def test_half_precision_answers_are_widened(network):
    maps = predict_maps(lambda x: network(x).to(torch.bfloat16), image(32, 32))
    assert maps.tiles[0].values.dtype == torch.float32


def test_background_wins_below_half_the_threshold():
    probabilities = torch.tensor([[0.2, 0.0534, 0.0536], [0.1, 0.05, 0.05]])[None, :, None]
    assert insert_background(probabilities).argmax(dim=1).tolist() == [[[1, 0, 1]]]
