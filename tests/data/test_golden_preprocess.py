"""Resizing, cropping and photometric distortion against the published pipeline."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from prolab_d2.data.augmentation import (
    ResizeImage,
    ScaleIntoBox,
    choose_crop,
    round_up,
    scaled_size,
)
from prolab_d2.data.photometric import apply_photometric, draw_photometric
from tests.golden import GoldenArrays, assert_close, golden_files, golden_json

pytestmark = pytest.mark.golden

# Mean and standard deviation of all published configs, RGB.
_MEAN = np.array([123.675, 116.28, 103.53])
_STD = np.array([58.395, 57.12, 57.375])
_FILE = "f6_preprocess_metrics.json"


class _RecordedDraws:
    """Stands in for numpy.random and gives back recorded draws, in order and only as recorded."""

    def __init__(self, draws: list[list[Any]]) -> None:
        self.left = list(draws)

    def _next(self, function: str, arguments: tuple[float, ...]) -> Any:
        recorded_function, recorded_arguments, value = self.left.pop(0)
        assert (recorded_function, recorded_arguments) == (function, list(arguments))
        return value

    def randint(self, *arguments: int) -> int:
        return self._next("randint", arguments)

    def uniform(self, *arguments: float) -> float:
        return self._next("uniform", arguments)


def _assert_same_image(ours: np.ndarray, theirs: np.ndarray, what: str) -> None:
    """Equal with the OpenCV that made the fixture; another release may round a value otherwise."""
    exact = golden_json(_FILE)["versions"]["cv2"] == cv2.__version__
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype, what
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    assert difference.max() <= (0 if exact else 1), what


def _sliced(arrays: GoldenArrays, text: str) -> np.ndarray:
    """The array of an expression such as "image_bgr_uint8[:48,:64]"."""
    name, height, width = re.fullmatch(r"(\w+)\[:(\d+),:(\d+)\]", text).groups()
    return np.ascontiguousarray(arrays[name][: int(height), : int(width)])


def _check_resizing(arrays: GoldenArrays) -> int:
    image = arrays["image_bgr_uint8"]
    size = image.shape[:2]
    groups = sorted({name.split("/")[0] for name in arrays if name.startswith("scale")})
    for group in groups:
        long_edge, short_edge = map(int, re.fullmatch(r"scale(\d+)x(\d+)", group).groups())
        parts = arrays.group(f"{group}/")
        resized = parts.pop("resized_uint8")
        new_size = scaled_size(size, short_edge, long_edge)
        ours = ResizeImage(size, new_size).apply_image(image)
        _assert_same_image(ours, resized, f"{group} resized")
        assert_close(
            np.divide((new_size * 2)[::-1], (size * 2)[::-1]), parts.pop("scale_factor"), rtol=1e-6
        )

        (name,) = [part for part in parts if part.startswith("resized_to_multiple")]
        multiple = int(re.search(r"multiple_(\d+)", name).group(1))
        scale = ScaleIntoBox((short_edge,), long_edge, multiple=multiple)
        ours = scale.get_transform(image).apply_image(image)
        _assert_same_image(ours, parts.pop(name), f"{group} multiple of {multiple}")

        normalised = parts.pop("normalised_rgb_hwc")
        assert_close((ours[..., ::-1] - _MEAN) / _STD, normalised, rtol=1e-6, what=group)

        (name,) = parts
        short_side = int(re.fullmatch(r"pad_short_side_(\d+)_hwc", name).group(1))
        padding = [(0, max(short_side - side, 0)) for side in normalised.shape[:2]]
        assert_close(np.pad(normalised, [*padding, (0, 0)]), parts.pop(name), rtol=0, what=name)
    return len(groups)


def _check_photometric(arrays: GoldenArrays, cases: list[dict[str, Any]]) -> None:
    for case in cases:
        image = _sliced(arrays, case["input"])
        expected = arrays[f"photometric/{case['case']}"]
        recorded = _RecordedDraws(case["draws"])
        draws = draw_photometric(recorded)
        assert not recorded.left, f"case {case['case']}: draws left over"
        _assert_same_image(
            apply_photometric(image, draws, "BGR"), expected, f"photometric {case['case']}"
        )
        rgb = np.ascontiguousarray(image[..., ::-1])
        _assert_same_image(
            apply_photometric(rgb, draws, "RGB")[..., ::-1],
            expected,
            f"photometric {case['case']} in RGB",
        )


def _check_crops(arrays: GoldenArrays, cases: list[dict[str, Any]]) -> None:
    label = arrays["random_crop/label"]
    for case in cases:
        candidates = [tuple(box) for box in case["candidates_y1y2x1x2"]]
        left = list(candidates)
        used = choose_crop(
            label, lambda left=left: left.pop(0), case.get("cat_max_ratio", 0.75), ignore_label=255
        )
        assert used == tuple(case["used"]), f"crop {case['case']}"
        assert not left, f"crop {case['case']}: {len(left)} of {len(candidates)} boxes not drawn"


@pytest.mark.parametrize("path", golden_files("f6_preprocess*.npz"), ids=lambda path: path.stem)
def test_images_equal_the_published_ones(path: Path) -> None:
    arrays = GoldenArrays(path)
    cases = golden_json(_FILE)
    groups = _check_resizing(arrays)
    _check_photometric(arrays, cases["photometric"])
    _check_crops(arrays, cases["random_crop"])
    assert groups and cases["photometric"] and cases["random_crop"]
    arrays.assert_all_read()
    print(
        f"{path.name}: {groups} resized, {len(cases['photometric'])} photometric, "
        f"{len(cases['random_crop'])} crops"
    )


def test_training_sizes_equal_the_published_ones() -> None:
    cases = golden_json(_FILE)["train_scale"]
    assert cases
    for case in cases:
        long_edge, short_edge = case["base"]
        assert [int(edge * case["ratio"]) for edge in case["base"]] == case["scale"]
        ours = scaled_size(tuple(case["in_hw"]), short_edge, long_edge, case["ratio"])
        assert list(ours) == case["out_hw"], case
    print(f"{len(cases)} training sizes")


def test_test_sizes_equal_the_published_ones() -> None:
    cases = golden_json(_FILE)["test_sizes"]
    assert cases
    for case in cases:
        long_edge, short_edge = case["scale"]
        resized = scaled_size(tuple(case["in_hw"]), short_edge, long_edge)
        assert list(resized) == case["after_resize_hw"], case
        (name,) = [key for key in case if key.startswith("after_multiple")]
        multiple = int(re.search(r"\d+", name).group())
        assert list(round_up(resized, multiple)) == case[name], case
        # Padding raises the shorter side to its minimum and leaves the other alone.
        padded = case["after_pad_short_side_hw"]
        assert [max(side, min(padded)) for side in case[name]] == padded, case
    print(f"{len(cases)} test sizes")
