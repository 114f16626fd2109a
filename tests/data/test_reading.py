from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from detectron2.data.catalog import Metadata
from PIL import Image

from prolab_d2.data.reading import (
    LabelIds,
    default_ignore_label,
    read_image,
    read_mask,
    read_sem_seg,
)
from prolab_d2.errors import ProLabError
from tests.data.folders import labels, photograph, save

THREE = LabelIds(3, 255)


def test_colour_order_follows_the_format(tmp_path: Path) -> None:
    file = save(photograph(0), tmp_path / "a.png")
    assert np.array_equal(read_image(file, "RGB"), photograph(0))
    assert np.array_equal(read_image(file, "BGR"), photograph(0)[..., ::-1])


def test_images_are_turned_by_their_exif_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    Image.fromarray(photograph(0)).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), np.rot90(photograph(0), -1))


def test_grey_and_palette_images_become_three_channels(tmp_path: Path) -> None:
    save(photograph(0)[..., 0], tmp_path / "grey.png")
    Image.fromarray(photograph(0)).convert("P").save(tmp_path / "palette.png")
    for name in ("grey.png", "palette.png"):
        assert read_image(tmp_path / name).shape == (24, 32, 3)


def test_grey_images_of_16_bits_are_scaled_not_cut_off(tmp_path: Path) -> None:
    grey = photograph(0)[..., 0]
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, more in (("a.png", {}), ("turned.png", {"exif": exif})):
        Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / name, **more)
    expected = np.repeat(grey[..., None], 3, axis=2)
    assert np.array_equal(read_image(tmp_path / "a.png"), expected)
    assert np.array_equal(read_image(tmp_path / "turned.png", "BGR"), np.rot90(expected, -1))


@pytest.mark.parametrize("reader", [read_image, read_mask])
def test_missing_and_damaged_files_are_named(tmp_path: Path, reader) -> None:
    with pytest.raises(ProLabError, match=rf"missing \w+, {tmp_path / 'none.png'}"):
        reader(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ProLabError, match=r"unreadable \w+ \(.*text\.png"):
        reader(tmp_path / "text.png")
    whole = save(photograph(0)[..., 0], tmp_path / "whole.png").read_bytes()
    for length in (0, 20, 60, len(whole) // 2):
        (tmp_path / "cut.png").write_bytes(whole[:length])
        with pytest.raises(ProLabError, match=r"unreadable \w+ \(.*cut\.png"):
            reader(tmp_path / "cut.png")
    jpeg = save(photograph(0), tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    with pytest.raises(ProLabError, match=r"unreadable \w+ \(.*cut\.jpg"):
        reader(tmp_path / "cut.jpg")
    with pytest.raises(ProLabError, match="unreadable"):
        reader(tmp_path)


def test_masks_of_8_and_16_bits_palettes_and_one_bit_are_ids(tmp_path: Path) -> None:
    ids = labels(0)
    assert np.array_equal(read_mask(save(ids, tmp_path / "8.png")), ids)
    wide = ids.astype(np.uint16) + 1000
    assert np.array_equal(read_mask(save(wide, tmp_path / "16.png")), wide)
    palette = Image.fromarray(ids).convert("P")
    palette.putdata(list(map(int, ids.ravel())))
    palette.putpalette([7, 8, 9] * 256)
    palette.save(tmp_path / "p.png")
    assert np.array_equal(read_mask(tmp_path / "p.png"), ids)
    Image.fromarray(ids == 1).save(tmp_path / "1.png")
    assert np.array_equal(read_mask(tmp_path / "1.png"), (ids == 1).astype(np.uint8))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_masks_with_colours_are_refused(tmp_path: Path, mode: str) -> None:
    Image.fromarray(photograph(0)).convert(mode).save(tmp_path / "a.png")
    with pytest.raises(ProLabError, match=rf"mode {mode}.*{tmp_path / 'a.png'}"):
        read_mask(tmp_path / "a.png")


def test_ids_stand_for_themselves_unless_mapped() -> None:
    mask = np.array([[0, 2, 255]], np.uint8)
    assert THREE.decode(mask, "x") is mask
    public = LabelIds(11, 255, {11: 255})
    assert public.decode(np.array([[10, 11, 255]], np.uint8), "x").tolist() == [[10, 255, 255]]
    shifted = LabelIds(3, 255, {0: 255, 1: 0, 2: 1, 3: 2})
    assert shifted.decode(np.array([[0, 1, 2, 3]], np.uint8), "x").tolist() == [[255, 0, 1, 2]]
    with_gaps = LabelIds(2, 255, {0: -1, 1: -1, 70: 0, 90: 1})
    assert with_gaps.decode(np.array([[70, 90, 255]], np.uint8), "x").tolist() == [[0, 1, 255]]
    with pytest.raises(ProLabError, match="label id 1 outside"):
        with_gaps.decode(np.array([[70, 1]], np.uint8), "x")


def test_255_is_a_category_when_there_are_more_than_255() -> None:
    assert (default_ignore_label(255), default_ignore_label(256)) == (255, 65535)
    many = LabelIds(300, 65535)
    wide = np.array([[255, 299, 65535]], np.uint16)
    assert many.decode(wide, "x").tolist() == wide.tolist()
    assert many.decode(np.array([[255]], np.uint8), "x").tolist() == [[255]]
    with pytest.raises(ProLabError, match="label id 300 outside the 300 categories"):
        many.decode(np.array([[300]], np.uint16), "x")
    with pytest.raises(ProLabError, match="ignore_label 255 with 300 categories"):
        LabelIds(300, 255)


def test_ids_beyond_8_bits_survive_8_bit_files() -> None:
    mapped = LabelIds(300, 65535, {7: 299, 8: 65535})
    assert mapped.decode(np.array([[7, 8, 9]], np.uint8), "x").tolist() == [[299, 65535, 9]]


def test_65535_of_a_16_bit_mask_is_unlabelled_whatever_the_number_of_categories() -> None:
    assert THREE.decode(np.array([[2, 65535]], np.uint16), "x").tolist() == [[2, 255]]


def test_unknown_ids_are_named_with_their_file() -> None:
    mask = np.array([[0, 3, 17, 255]], np.uint8)
    assert THREE.unknown_ids(mask).tolist() == [3, 17]
    with pytest.raises(ProLabError, match="label id 3, 17 outside .*, some/mask.png"):
        THREE.decode(mask, "some/mask.png")
    strange = np.array([[-4, 70000, 1]], np.int32)
    assert THREE.unknown_ids(strange).tolist() == [-4, 70000]


def test_a_mask_must_have_the_size_of_its_image(tmp_path: Path) -> None:
    file = save(labels(0), tmp_path / "a.png")
    assert read_sem_seg(file, THREE, (24, 32)).shape == (24, 32)
    with pytest.raises(ProLabError, match=rf"32 x 24 pixels for an image of 24 x 32, {file}"):
        read_sem_seg(file, THREE, (32, 24))


def test_metadata_says_how_to_read_masks() -> None:
    metadata = Metadata(stuff_classes=["a", "b"], ignore_label=9, label_map={5: 9})
    decoded = LabelIds.from_metadata(metadata).decode(np.array([[0, 1, 5, 9]], np.uint8), "x")
    assert decoded.tolist() == [[0, 1, 9, 9]]
    plain = LabelIds.from_metadata(Metadata(stuff_classes=["a"] * 256))
    assert plain.ignore_label == 65535
    with pytest.raises(ProLabError, match="data set boxes has no stuff_classes"):
        LabelIds.from_metadata(Metadata(name="boxes"))
