from __future__ import annotations

import numpy as np
import pytest

from prolab_d2.data.packing import channels_first, packed

IMAGE = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
LAYOUTS = {
    "whole": IMAGE,
    "crop": IMAGE[1:6, 2:7],
    "mirrored": IMAGE[:, ::-1],
    "mirrored crop": IMAGE[1:6, 2:7][:, ::-1],
    "upside down": IMAGE[::-1],
    "turned": IMAGE[::-1, ::-1],
    "other colour order": IMAGE[..., ::-1],
    "mirrored in other colour order": IMAGE[:, ::-1, ::-1],
    "transposed": IMAGE.transpose(1, 0, 2),
    "one pixel": IMAGE[:1, :1],
    "one column": IMAGE[:, 4:5],
    "one mirrored column": IMAGE[:, 4:5][:, ::-1],
    "one row": IMAGE[3:4],
    "one channel": IMAGE[..., :1],
    "one mirrored channel": np.ascontiguousarray(IMAGE[..., :1])[:, ::-1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_keeps_its_values(layout: str) -> None:
    image = LAYOUTS[layout]
    before = IMAGE.copy()
    result = packed(image)
    assert result.flags.c_contiguous and result.dtype == np.uint8
    assert result.shape == image.shape and np.array_equal(result, image)
    planes = channels_first(image)
    assert planes.is_contiguous() and np.array_equal(planes.numpy(), image.transpose(2, 0, 1))
    planes.fill_(0)  # a copy in every case
    assert np.array_equal(IMAGE, before)


def test_what_is_packed_already_is_not_copied() -> None:
    assert packed(IMAGE) is IMAGE
