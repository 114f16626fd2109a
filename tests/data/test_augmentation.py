from __future__ import annotations

import numpy as np
import pytest
from detectron2.config import CfgNode, get_cfg
from detectron2.data import transforms as T

from prolab_d2.config import add_prolab_config
from prolab_d2.data.augmentation import (
    CategoryAreaCrop,
    ResizeImage,
    ScaleIntoBox,
    build_augmentations,
    choose_crop,
    round_up,
    scaled_size,
)
from prolab_d2.data.photometric import (
    PhotometricDistortion,
    PhotometricDraws,
    apply_photometric,
    draw_photometric,
)
from prolab_d2.errors import ProLabError
from tests.data.folders import photograph


@pytest.fixture
def cfg() -> CfgNode:
    cfg = get_cfg()
    add_prolab_config(cfg)
    cfg.INPUT.MIN_SIZE_TRAIN = (64,)
    cfg.INPUT.MAX_SIZE_TRAIN = 256
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.CROP.TYPE = "absolute"
    cfg.INPUT.CROP.SIZE = [48, 40]
    cfg.INPUT.FORMAT = "RGB"
    return cfg


def augment(augmentations, image, sem_seg):
    augmented = T.AugInput(image, sem_seg=sem_seg)
    T.AugmentationList(augmentations)(augmented)
    return augmented.image, augmented.sem_seg


def test_sizes_fit_the_box_and_keep_the_ratio() -> None:
    assert scaled_size((480, 640), 512, 2048) == (512, 683)
    assert scaled_size((300, 1200), 512, 1024) == (256, 1024)  # the long edge decides
    assert scaled_size((480, 640), 512, 2048, 0.5) == (256, 341)
    assert scaled_size((480, 640), 0, 100) == (480, 640)
    assert scaled_size((480, 640), 0, 100, 1.5) == (720, 960)
    assert scaled_size((1, 1000), 4, 100) == (1, 100)  # never below one pixel
    assert round_up((512, 683), 32) == (512, 704)
    assert round_up((7, 9), 1) == (7, 9)


def test_masks_take_the_pixel_under_the_centre_also_with_16_bit_ids() -> None:
    mask = np.arange(7 * 5, dtype=np.int32).reshape(7, 5) + 1000
    resize = ResizeImage((7, 5), (3, 11))
    rows = ((np.arange(3) + 0.5) * 7 / 3).astype(int)
    columns = ((np.arange(11) + 0.5) * 5 / 11).astype(int)
    assert np.array_equal(resize.apply_segmentation(mask), mask[rows][:, columns])
    assert np.array_equal(
        resize.apply_segmentation(mask.astype(np.uint8)), mask.astype(np.uint8)[rows][:, columns]
    )


def test_resizing_agrees_with_detectron2_where_nothing_shrinks() -> None:
    image = photograph(0, (30, 40))
    ours = ResizeImage((30, 40), (60, 80)).apply_image(image)
    theirs = T.ResizeTransform(30, 40, 60, 80).apply_image(image)
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    back = ResizeImage((30, 40), (60, 80)).inverse()
    assert back.apply_image(ours).shape == image.shape
    assert np.allclose(back.apply_coords(np.array([[80.0, 60.0]])), [[40, 30]])


def test_grey_images_keep_their_channel() -> None:
    assert ResizeImage((4, 4), (8, 6)).apply_image(np.zeros((4, 4, 1), np.uint8)).shape == (8, 6, 1)


def test_scale_draws_from_the_whole_range_and_repeats_with_the_seed() -> None:
    image = np.zeros((50, 100, 3), np.uint8)
    scale = ScaleIntoBox((100,), 1000, (0.5, 2.0))

    def heights() -> list[int]:
        np.random.seed(3)
        return [scale.get_transform(image).apply_image(image).shape[0] for _ in range(40)]

    first = heights()
    assert first == heights()
    assert min(first) < 70 and max(first) > 180 and all(50 <= h <= 200 for h in first)


def test_several_short_edges_are_chosen_from_or_span_a_range() -> None:
    image = np.zeros((50, 100, 3), np.uint8)

    def heights(style: str) -> set[int]:
        scale = ScaleIntoBox((60, 80), 1000, sample_style=style)
        return {scale.get_transform(image).apply_image(image).shape[0] for _ in range(60)}

    assert heights("choice") == {60, 80}
    assert {60, 80} < heights("range") | {60, 80} <= set(range(60, 81))


def test_multiple_is_a_second_interpolation() -> None:
    image = photograph(1, (30, 41))
    result = ScaleIntoBox((60,), 1000, multiple=32).get_transform(image).apply_image(image)
    first = ResizeImage((30, 41), (60, 82)).apply_image(image)
    assert np.array_equal(result, ResizeImage((60, 82), (64, 96)).apply_image(first))


def test_crops_hold_several_categories_none_above_the_limit() -> None:
    np.random.seed(0)
    sem_seg = np.zeros((100, 100), np.uint8)
    sem_seg[:, 50:] = 1
    sem_seg[:, 45:50] = 255
    crop = CategoryAreaCrop("absolute", (40, 40), 0.75, 255)
    shares = []
    for _ in range(200):
        part = crop.get_transform(sem_seg, sem_seg).apply_segmentation(sem_seg)
        assert part.shape == (40, 40)
        labelled = part[part != 255]
        shares.append(np.bincount(labelled).max() / labelled.size)
    # With 10 redraws nearly all succeed; without the check most would show one category only.
    assert np.mean(np.array(shares) < 0.75) > 0.95


def test_ten_redraws_then_the_last_box_is_used_unchecked() -> None:
    drawn: list[tuple[int, int, int, int]] = []

    def draw() -> tuple[int, int, int, int]:
        drawn.append((0, 5, 0, 5 + len(drawn)))
        return drawn[-1]

    assert choose_crop(np.zeros((20, 20), np.uint8), draw, 0.75, 255) == (0, 5, 0, 15)
    assert len(drawn) == 11
    drawn.clear()
    assert choose_crop(np.zeros((20, 20), np.uint8), draw, 1.0, 255) == (0, 5, 0, 5)


def test_unlabelled_pixels_do_not_count_even_if_255_is_a_category() -> None:
    sem_seg = np.full((4, 10), 65535, np.int32)
    sem_seg[0, 0], sem_seg[0, 1] = 255, 7
    box = (0, 4, 0, 10)
    boxes = [box, (0, 1, 0, 1)]
    assert choose_crop(sem_seg, lambda: boxes.pop(0), 0.75, 65535) == box


def test_images_smaller_than_the_crop_stay_whole() -> None:
    image, sem_seg = photograph(0, (20, 30)), np.zeros((20, 30), np.uint8)
    crop = CategoryAreaCrop("absolute", (64, 16), 1.0, 255)
    assert crop.get_transform(image, sem_seg).apply_image(image).shape == (20, 16, 3)
    crop = CategoryAreaCrop("absolute", (64, 64), 1.0, 255)
    assert isinstance(crop.get_transform(image, sem_seg), T.NoOpTransform)


def test_relative_crops_work_as_in_detectron2() -> None:
    image, sem_seg = photograph(0, (20, 30)), np.zeros((20, 30), np.uint8)
    crop = CategoryAreaCrop("relative", (0.5, 0.5), 1.0, 255)
    assert crop.get_transform(image, sem_seg).apply_image(image).shape == (10, 15, 3)


def test_image_and_mask_move_together(cfg: CfgNode) -> None:
    """A picture that shows its own labels still shows them after every augmentation."""
    cfg.INPUT.PHOTOMETRIC_DISTORTION = False
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 0.9
    sem_seg = np.zeros((60, 80), np.uint8)
    sem_seg[10:50, 20:70] = 1
    sem_seg[30:, 45:] = 2
    image = np.repeat((sem_seg * 100)[..., None], 3, axis=2)
    augmentations = build_augmentations(cfg, True, 255)
    for seed in range(20):
        np.random.seed(seed)
        moved_image, moved_labels = augment(augmentations, image, sem_seg)
        assert moved_image.shape[:2] == moved_labels.shape
        off = np.abs(moved_image[..., 0].astype(int) - moved_labels * 100.0) > 51
        assert off.mean() < 0.02  # interpolated borders


def test_flips_happen_half_of_the_time(cfg: CfgNode) -> None:
    flip = build_augmentations(cfg, True, 255)[2]
    np.random.seed(0)
    flips = [not isinstance(flip.get_transform(photograph(0)), T.NoOpTransform) for _ in range(400)]
    assert 0.42 < np.mean(flips) < 0.58


def test_order_of_the_published_pipeline(cfg: CfgNode) -> None:
    kinds = [type(augmentation).__name__ for augmentation in build_augmentations(cfg, True, 255)]
    assert kinds == ["ScaleIntoBox", "CategoryAreaCrop", "RandomFlip", "PhotometricDistortion"]
    cfg.INPUT.CROP.ENABLED = False
    cfg.INPUT.PHOTOMETRIC_DISTORTION = False
    cfg.INPUT.RANDOM_FLIP = "none"
    assert len(build_augmentations(cfg, True, 255)) == 1
    cfg.INPUT.RANDOM_FLIP = "vertical"
    assert build_augmentations(cfg, True, 255)[1].vertical


def test_testing_only_resizes(cfg: CfgNode) -> None:
    image = photograph(0, (30, 40))
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 60, 70
    (resize,) = build_augmentations(cfg, False, 255)
    assert resize.get_transform(image).apply_image(image).shape == (53, 70, 3)
    cfg.INPUT.TEST_SIZE_MULTIPLE = 32
    (resize,) = build_augmentations(cfg, False, 255)
    assert resize.get_transform(image).apply_image(image).shape == (64, 96, 3)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.TEST_SIZE_MULTIPLE = 0, 1
    (resize,) = build_augmentations(cfg, False, 255)
    assert resize.get_transform(image).apply_image(image) is image


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("RANDOM_FLIP", "sideways", "INPUT.RANDOM_FLIP is 'sideways'"),
        ("MIN_SIZE_TRAIN_SAMPLING", "any", "INPUT.MIN_SIZE_TRAIN_SAMPLING is 'any'"),
        ("SCALE_RANGE", [2.0, 0.5], "INPUT.SCALE_RANGE"),
        ("FORMAT", "L", "INPUT.FORMAT is 'L'"),
        ("CROP.TYPE", "square", "INPUT.CROP.TYPE is 'square'"),
        ("CROP.SIZE", [0.9, 0.9], "give whole pixels"),
    ],
)
def test_options_that_do_not_exist_are_named(cfg: CfgNode, key, value, message) -> None:
    cfg.merge_from_list([f"INPUT.{key}", value])
    with pytest.raises(ProLabError, match=message):
        build_augmentations(cfg, True, 255)


def reference_step(image: np.ndarray, factor: float = 1.0, offset: float = 0.0) -> np.ndarray:
    """Brightness or contrast as the published pipeline computes it, on the whole image."""
    values = image.astype(np.float32) * factor + offset
    return np.clip(values, 0, 255).astype(np.uint8)


def test_brightness_and_contrast_equal_the_float_computation() -> None:
    image = photograph(0)
    draws = PhotometricDraws(brightness=-17.3, contrast=1.37, contrast_first=True)
    expected = reference_step(reference_step(image, offset=-17.3), factor=1.37)
    assert np.array_equal(apply_photometric(image, draws), expected)


def test_hue_and_saturation_do_what_their_names_say() -> None:
    red = np.full((2, 2, 3), (200, 20, 20), np.uint8)
    green = apply_photometric(red, PhotometricDraws(hue=60))
    assert np.abs(green.astype(int) - (20, 200, 20)).max() <= 2
    grey = apply_photometric(red, PhotometricDraws(saturation=0.0))
    assert np.ptp(grey.astype(int), axis=-1).max() == 0


def test_photometric_distortion_is_the_same_in_both_colour_orders() -> None:
    image = photograph(3)
    for seed in range(10):
        draws = draw_photometric(np.random.RandomState(seed))
        rgb = apply_photometric(image, draws, "RGB")
        bgr = apply_photometric(np.ascontiguousarray(image[..., ::-1]), draws, "BGR")
        assert np.array_equal(rgb, bgr[..., ::-1])


def test_photometric_draws_are_frequent_and_within_their_ranges() -> None:
    random = np.random.RandomState(0)
    draws = [draw_photometric(random) for _ in range(500)]
    for name, low, high in (
        ("brightness", -32, 32),
        ("contrast", 0.5, 1.5),
        ("saturation", 0.5, 1.5),
        ("hue", -18, 17),
    ):
        values = [getattr(d, name) for d in draws if getattr(d, name) is not None]
        assert 0.4 < len(values) / len(draws) < 0.6
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high


def test_distortion_leaves_its_input_and_the_mask_alone() -> None:
    image, mask = photograph(0), np.ones((24, 32), np.uint8)
    before = image.copy()
    np.random.seed(0)
    for _ in range(5):
        transform = PhotometricDistortion("RGB").get_transform(image)
        transform.apply_image(image[:, ::-1])
        assert transform.apply_segmentation(mask) is mask
    assert np.array_equal(image, before)
