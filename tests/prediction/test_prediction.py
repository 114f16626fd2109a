from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prolab_d2 import LabelSpace, Predictor, ProLabError
from prolab_d2.prediction import Prediction
from prolab_d2.report.section import image_section

# No multiple of 4 anywhere: neither image, nor windows, nor their step.
ODD_WINDOWS = [
    "INPUT.MIN_SIZE_TEST", "61", "TEST.SLIDING_WINDOW.ENABLED", "True",
    "TEST.SLIDING_WINDOW.CROP_SIZE", "[42, 50]", "TEST.SLIDING_WINDOW.STRIDE", "[27, 31]",
]  # fmt: skip


def test_a_prediction_holds_labels_categories_and_properties(
    predictor: Predictor, image: np.ndarray, tiny_label_space: LabelSpace
) -> None:
    prediction = predictor(image)
    assert prediction.labels.shape == (64, 80)
    assert prediction.labels.dtype == np.int64
    assert len(np.unique(prediction.labels)) > 1
    assert prediction.categories == tiny_label_space.categories
    assert prediction.label_space.hash == tiny_label_space.hash
    assert prediction.properties.shape == (12, 16, 20)
    assert prediction.properties.min() >= 0 and prediction.properties.max() <= 1
    lengths = np.linalg.norm(prediction.unit_activations, axis=0)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


@pytest.mark.parametrize("overrides", [[], ODD_WINDOWS], ids=["whole", "odd windows"])
@pytest.mark.parametrize("size", [(64, 80), (45, 67)])
def test_shares_add_up_to_the_score_that_decided_the_label(
    tiny_checkpoint: Path, image: np.ndarray, overrides: list[str], size: tuple[int, int]
) -> None:
    image = np.ascontiguousarray(image[: size[0], : size[1]])
    predictor = Predictor.from_checkpoint(tiny_checkpoint, "cpu", overrides)
    prediction = predictor(image)
    # The scores come from the model's own way, in Detectron2's format.
    scored = Predictor.from_checkpoint(
        tiny_checkpoint, "cpu", [*overrides, "TEST.OUTPUT", "scores"]
    )
    resized = scored.prepare(image)
    one = {"image": resized, "height": size[0], "width": size[1]}
    scores = scored.model([one])[0]["sem_seg"].numpy()
    assert (scores.argmax(axis=0) == prediction.labels).all()
    rng = np.random.default_rng(0)
    corners = [(0, 0), (size[1] - 1, size[0] - 1)]
    points = [(int(rng.integers(size[1])), int(rng.integers(size[0]))) for _ in range(20)]
    for x, y in corners + points:
        explanation = prediction.explain(x, y)
        assert explanation.category_index == prediction.labels[y, x]
        assert math.fsum(item.share for item in explanation.evidence) == explanation.score
        assert explanation.score == pytest.approx(scores[:, y, x].max(), abs=2e-6)
        other = prediction.explain(x, y, category="car")
        assert other.score == pytest.approx(scores[3, y, x], abs=2e-6)


@pytest.mark.parametrize("pixel", [(80, 0), (0, 64), (-1, 5), (5, -1)])
def test_a_pixel_outside_the_image_is_refused(
    predictor: Predictor, image: np.ndarray, pixel: tuple[int, int]
) -> None:
    with pytest.raises(
        ProLabError, match="outside the image of 80 x 64 pixels: use x from 0 to 79"
    ):
        predictor(image).explain(*pixel)


def test_pictures_have_the_documented_form(
    predictor: Predictor, image: np.ndarray, tmp_path: Path
) -> None:
    prediction = predictor(image)
    assert prediction.draw(fit_screen=False, legend=False).shape == (64, 80, 3)
    for picture in (
        prediction.draw(),
        prediction.draw_explanation(40, 30),
        prediction.draw_region_explanation(prediction.segment(40, 30)),
        prediction.draw_contrast(prediction.polygon([(3, 3), (60, 5), (30, 50)]), other="car"),
        prediction.draw_properties(top=4),
        prediction.draw_sheet("a title", most=2),
    ):
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
        assert picture.shape[1] >= 900
    prediction.save(tmp_path / "overlay.png")
    with Image.open(tmp_path / "overlay.png") as saved:
        assert (np.asarray(saved) == prediction.draw()).all()


def test_a_background_comes_before_the_categories(
    tiny_checkpoint: Path, predictor: Predictor, image: np.ndarray
) -> None:
    # Of five categories, the best has a probability of little more than a fifth.
    overrides = ["TEST.BACKGROUND_THRESHOLD", "0.46"]
    prediction = Predictor.from_checkpoint(tiny_checkpoint, "cpu", overrides)(image)
    plain = predictor(image)
    assert prediction.categories == ("background", *plain.categories)
    is_background = prediction.labels == 0
    assert is_background.any() and not is_background.all()
    assert (prediction.labels == plain.labels + 1)[~is_background].all()
    prediction.draw()
    y, x = np.argwhere(~is_background)[0]
    assert prediction.explain(x, y).category == plain.explain(x, y).category
    y, x = np.argwhere(is_background)[0]
    with pytest.raises(ProLabError, match="background, which has no properties: name"):
        prediction.explain(x, y)
    assert prediction.explain(x, y, "car").category == "car"
    name = prediction.categories[int(prediction.labels.max())]
    assert (prediction.pixels_of(name) == (prediction.labels == prediction.labels.max())).all()
    index = prediction.label_space.categories.index(name)
    expected = prediction.mean_activations(prediction.pixels_of(name))
    np.testing.assert_allclose(prediction.category_activations[index], expected, atol=1e-9)
    findings = {f.explanation.category: f.area for f in prediction.findings()}
    assert findings[name] == (prediction.labels == prediction.labels.max()).mean()
    assert sum(findings.values()) == pytest.approx((~is_background).mean())
    # The panel has the colour that the overlay has.
    picture = prediction.draw_region_explanation(prediction.pixels_of(name))
    color = prediction.metadata.stuff_colors[prediction.labels.max()]
    assert (picture[:60, -460:] == color).all(axis=2).sum() > 300


def test_an_image_of_background_alone_has_nothing_to_explain(
    tiny_checkpoint: Path, image: np.ndarray
) -> None:
    overrides = ["TEST.BACKGROUND_THRESHOLD", "1.0"]
    prediction = Predictor.from_checkpoint(tiny_checkpoint, "cpu", overrides)(image)
    assert not prediction.labels.any()
    assert prediction.findings() == []
    assert prediction.draw_sheet("title").shape[1] >= 900
    assert "all of it is background" in image_section(1, "a", prediction)


def regions_of(prediction: Prediction) -> list[np.ndarray]:
    """A segment, a polygon, all pixels of a category, and a mask of scattered pixels."""
    return [
        prediction.segment(40, 30),
        prediction.polygon([(-5, 10), (50, 20), (30, 44)]),
        prediction.pixels_of(int(prediction.labels[10, 10])),
        np.random.default_rng(1).random(prediction.labels.shape) < 0.3,
    ]


@pytest.mark.parametrize("overrides", [[], ODD_WINDOWS], ids=["whole", "odd windows"])
@pytest.mark.parametrize("size", [(64, 80), (45, 67)])
def test_shares_of_a_region_add_up_to_its_mean_score(
    tiny_checkpoint: Path, image: np.ndarray, overrides: list[str], size: tuple[int, int]
) -> None:
    image = np.ascontiguousarray(image[: size[0], : size[1]])
    overrides = [*overrides, "TEST.OUTPUT", "scores"]
    predictor = Predictor.from_checkpoint(tiny_checkpoint, "cpu", overrides)
    prediction = predictor(image)
    one = {"image": predictor.prepare(image), "height": size[0], "width": size[1]}
    scores = predictor.model([one])[0]["sem_seg"].numpy()
    for region in regions_of(prediction):
        means = scores[:, region].mean(axis=1)
        explanation = prediction.explain_region(region)
        most = np.bincount(prediction.labels[region]).argmax()
        assert explanation.category_index == most
        assert math.fsum(item.share for item in explanation.evidence) == explanation.score
        assert explanation.score == pytest.approx(means[most], abs=2e-6)
        contrast = prediction.contrast(region, "car", "sky")
        assert contrast.difference == pytest.approx(means[3] - means[0], abs=2e-6)
        assert math.fsum(t.difference for t in contrast.terms) == contrast.difference
        assert prediction.contrast(region).category_index == most
        assert prediction.changes(region, "car").category == "car"


def test_a_category_is_explained_by_the_mean_of_its_pixels(
    predictor: Predictor, image: np.ndarray
) -> None:
    prediction = predictor(image)
    found = np.unique(prediction.labels)
    assert 1 < len(found) < 5
    for j in range(5):
        if j in found:
            mean = prediction.mean_activations(prediction.pixels_of(j))
            np.testing.assert_allclose(prediction.category_activations[j], mean, atol=1e-7)
        else:
            assert np.isnan(prediction.category_activations[j]).all()
            with pytest.raises(ProLabError, match="no pixel of the image is labelled"):
                prediction.pixels_of(j)


def test_unknown_regions_are_described(predictor: Predictor, image: np.ndarray) -> None:
    prediction = predictor(image)
    regions = prediction.unknown_regions(threshold=0.0, least_area=0.0)
    assert regions and regions[0].mask.shape == (64, 80)
    mean = prediction.mean_activations(regions[0].mask)
    scores = prediction.label_space.signatures @ mean
    scores /= np.sqrt(prediction.label_space.signatures.sum(1))
    assert regions[0].score == pytest.approx(scores.max())
    assert prediction.unknown_regions(threshold=1.0) == []


def test_the_threshold_of_unknown_regions_is_that_of_the_measure(
    predictor: Predictor, image: np.ndarray
) -> None:
    prediction = predictor(image)
    unknown = prediction.unknown_map()
    assert unknown.shape == (16, 20) and unknown.dtype == np.float32
    given = prediction.unknown_regions(threshold=prediction.unknown_threshold)
    assert [r.area for r in prediction.unknown_regions()] == [r.area for r in given]
    with pytest.raises(ProLabError, match="give one for 'margin'"):
        prediction.unknown_regions(measure="margin")
    assert prediction.unknown_regions(measure="margin", threshold=1.0) == []
