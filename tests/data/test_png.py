from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from prolab_d2.data.png import read_plain_png

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (33, 41), dtype=np.uint8)
RGB = RANDOM.integers(0, 256, (33, 41, 3), dtype=np.uint8)


def png(image: Image.Image | np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, "png", **options)
    return file.getvalue()


def with_part(data: bytes, kind: bytes, content: bytes) -> bytes:
    """The file with one more part after the first."""
    part = struct.pack(">I", len(content)) + kind + content
    return data[:33] + part + struct.pack(">I", zlib.crc32(kind + content)) + data[33:]


def read(data: bytes) -> np.ndarray | None:
    return read_plain_png(io.BytesIO(data))


@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_plain_files_hold_what_pillow_reads(pixels: np.ndarray) -> None:
    data = png(pixels)
    assert np.array_equal(read(data), pixels)
    for kind, content in (
        (b"gAMA", struct.pack(">I", 30000)),
        (b"sRGB", b"\0"),
        (b"tEXt", b"Software\0by hand"),
    ):
        more = with_part(data, kind, content)
        assert np.array_equal(read(more), np.asarray(Image.open(io.BytesIO(more))))
    many_parts = png(np.tile(pixels, (40, 30, 1)[: pixels.ndim]), compress_level=0)
    assert np.array_equal(read(many_parts), np.asarray(Image.open(io.BytesIO(many_parts))))


@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_damaged_files_are_left_to_pillow(pixels: np.ndarray, capfd) -> None:
    data = png(pixels)
    for length in (0, 5, 20, 60, len(data) // 2, len(data) - 1):
        assert read(data[:length]) is None
    for place in range(45, len(data) - 16, 151):
        changed = bytearray(data)
        changed[place] ^= 0x55
        assert read(bytes(changed)) is None
    assert read(data + b"more") is None
    capfd.readouterr()  # libpng reports each on the error stream


def test_whatever_says_more_about_its_pixels_is_left_to_pillow() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = Image.fromarray(GREY)
    for data in (
        png(RGB, exif=exif),
        with_part(png(RGB), b"tEXt", b"Raw profile type exif\0..."),
        with_part(png(RGB), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>"),
        png(RGB, icc_profile=b"profile"),
        png(GREY, transparency=7),
        png(grey.convert("P")),
        png(grey.convert("1")),
        png(grey.convert("LA")),
        png(Image.fromarray(RGB).convert("RGBA")),
        png(GREY.astype(np.uint16) * 257),
        b"\xff\xd8\xff\xe0 no PNG at all",
    ):
        assert read(data) is None
