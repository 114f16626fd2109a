from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from prolab_d2.report.pictures import data_uri, jpeg_within


def size(jpeg: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(jpeg)).size


@pytest.mark.parametrize("most_bytes", [1_000, 10_000, 60_000])
def test_noise_fits_into_the_bytes_given(most_bytes: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    jpeg = jpeg_within(noise, most_bytes)
    assert 0.2 * most_bytes < len(jpeg) <= most_bytes
    width, height = size(jpeg)
    assert width <= 300 and abs(width / height - 1.5) < 0.1


def test_a_plain_picture_keeps_its_size_and_colours() -> None:
    plain = np.full((200, 300, 3), (10, 120, 230), dtype=np.uint8)
    jpeg = jpeg_within(plain, 20_000)
    assert size(jpeg) == (300, 200)
    shown = np.asarray(Image.open(io.BytesIO(jpeg))).astype(int)
    assert np.abs(shown - (10, 120, 230)).max() <= 3


def test_thin_pictures_have_an_end() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 900, 3), dtype=np.uint8)
    assert size(jpeg_within(noise, 900))[1] == 1
    assert jpeg_within(noise[:, :1], 1)


def test_a_picture_becomes_part_of_the_page() -> None:
    uri = data_uri(b"\xff\xd8")
    assert uri.startswith("data:image/jpeg;base64,")
    assert base64.b64decode(uri.partition(",")[2]) == b"\xff\xd8"
