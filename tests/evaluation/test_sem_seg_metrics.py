"""Numbers of small confusion matrices, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from prolab_d2.errors import ProLabError
from prolab_d2.evaluation import SemSegMetrics, confusion_matrix

# Row: true category. Category 2 is never true but predicted, category 3 does not occur.
CONFUSION = np.array([[6, 2, 0, 0], [1, 3, 4, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


class TestConfusionMatrix:
    def test_rows_are_true_and_columns_predicted_categories(self):
        label = np.array([[0, 0, 1], [2, 2, 255]])
        prediction = np.array([[0, 1, 1], [2, 0, 0]])
        expected = [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
        assert confusion_matrix(prediction, label, 3, 255).tolist() == expected

    @pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
    def test_equals_sklearn(self, dtype):
        rng = np.random.default_rng(0)
        label, prediction = rng.integers(0, 200, size=(2, 97, 101)).astype(dtype)
        expected = sklearn_metrics.confusion_matrix(
            label.ravel(), prediction.ravel(), labels=np.arange(200)
        )
        actual = confusion_matrix(prediction, label, 200, 255)
        assert actual.dtype == np.int64
        assert np.array_equal(actual, expected)

    def test_255_is_a_category_when_the_ignore_label_is_another(self):
        label = np.array([255, 65535, 299], dtype=np.uint16)
        prediction = np.array([255, 255, 0])
        counts = confusion_matrix(prediction, label, 300, 65535)
        assert counts[255, 255] == 1 and counts[299, 0] == 1 and counts.sum() == 2

    def test_image_without_a_label_counts_nothing(self):
        assert not confusion_matrix(np.zeros(4, int), np.full(4, 255), 3, 255).any()

    @pytest.mark.parametrize("wrong", [-1, 3])
    def test_ids_outside_the_categories_are_refused(self, wrong):
        with pytest.raises(ProLabError, match=f"label id {wrong} outside the 3 categories"):
            confusion_matrix(np.array([0, 0]), np.array([0, wrong]), 3, 255)
        with pytest.raises(ProLabError, match=f"predicted id {wrong} outside the 3 categories"):
            confusion_matrix(np.array([0, wrong]), np.array([0, 0]), 3, 255)

    def test_wrong_prediction_does_not_matter_where_there_is_no_label(self):
        assert confusion_matrix(np.array([0, 9]), np.array([0, 255]), 3, 255).sum() == 1

    def test_shapes_must_agree(self):
        with pytest.raises(ProLabError, match="shape"):
            confusion_matrix(np.zeros((2, 3), int), np.zeros((3, 2), int), 3, 255)


class TestMetrics:
    def test_iou_is_zero_for_predicted_and_nan_for_missing_categories(self):
        iou = SemSegMetrics(CONFUSION).iou
        np.testing.assert_allclose(iou, [6 / 9, 3 / 10, 0, math.nan])

    def test_the_two_means_differ_by_predicted_categories_without_ground_truth(self):
        metrics = SemSegMetrics(CONFUSION)
        assert metrics.mean_iou == pytest.approx((6 / 9 + 3 / 10) / 2)
        assert metrics.mean_iou_mmseg == pytest.approx((6 / 9 + 3 / 10) / 3)

    def test_accuracies(self):
        metrics = SemSegMetrics(CONFUSION)
        np.testing.assert_allclose(metrics.accuracy, [6 / 8, 3 / 8, math.nan, math.nan])
        np.testing.assert_allclose(metrics.precision, [6 / 7, 3 / 5, 0, math.nan])
        np.testing.assert_allclose(metrics.dice, [12 / 15, 6 / 13, 0, math.nan])
        assert metrics.mean_accuracy == pytest.approx((6 / 8 + 3 / 8) / 2)
        assert metrics.pixel_accuracy == pytest.approx(9 / 16)

    def test_frequency_weighted_iou(self):
        expected = (8 * 6 / 9 + 8 * 3 / 10) / 16
        assert SemSegMetrics(CONFUSION).frequency_weighted_iou == pytest.approx(expected)

    def test_results_are_percent_under_detectron2_names(self):
        results = SemSegMetrics(CONFUSION).results(("sky", "road", "car", "bus"))
        assert results["mIoU"] == pytest.approx(100 * (6 / 9 + 3 / 10) / 2)
        assert results["IoU-sky"] == pytest.approx(600 / 9)
        assert results["ACC-road"] == pytest.approx(300 / 8)
        # The listed values have the listed mean.
        listed = [value for name, value in results.items() if name.startswith("IoU-")]
        assert math.isnan(results["IoU-car"])
        assert np.nanmean(listed) == pytest.approx(results["mIoU"])

    def test_nothing_counted_gives_nan_without_warnings(self):
        results = SemSegMetrics(np.zeros((2, 2), dtype=np.int64)).results(("a", "b"))
        assert all(math.isnan(value) for value in results.values())
