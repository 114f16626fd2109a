"""Inference against the numbers of the published implementation (fixtures f6_inference)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from prolab_d2.modeling.augmented_inference import (
    View,
    augmented_labels,
    augmented_probabilities,
)
from prolab_d2.modeling.inference import (
    Maps,
    WindowOptions,
    category_labels,
    category_score_maps,
    predict_maps,
)
from prolab_d2.modeling.property_space import PropertySpace
from tests.golden import GoldenArrays, assert_close, golden_files

pytestmark = pytest.mark.golden

SIMILARITY = {
    "cosine_similarity_with_sigmoid": "cosine_sigmoid",
    "cosine_similarity": "cosine",
}
SCORE_RTOL = 1e-4
# Two best categories that are closer than the noise of float32 may change places.
TIE = 1e-5
MAX_TIES = 1e-3
# Of TEST.BACKGROUND_THRESHOLD.
PUBLISHED_THRESHOLD = 0.107


class TinyNetwork:
    """The network of the fixture: strided convolutions, an FCN head, the property space."""

    def __init__(self, arrays: GoldenArrays, meta: dict[str, Any], prefix: str = "") -> None:
        self.weights = {
            name: torch.from_numpy(array) for name, array in arrays.group(f"{prefix}sd/").items()
        }
        self.space = PropertySpace(
            arrays[f"{prefix}embedding_bank_CxK"].T,
            arrays[f"{prefix}cluster2label_KxN"].T,
            similarity=SIMILARITY[meta["get_logit_mode"]],
            temperature=meta["sigmoid_temperature"],
            normalize_embedding=meta["image_embedding_normalize"],
        )

    def _layers(self, start: str, end: str) -> list[str]:
        return sorted(
            n[: -len(end)] for n in self.weights if n.startswith(start) and n.endswith(end)
        )

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> unit activations (B, K, h, w)."""
        sd, x = self.weights, images
        for name in self._layers("backbone.conv", ".weight"):
            x = F.conv2d(x, sd[f"{name}.weight"], sd[f"{name}.bias"], 2, 1).relu()
        for name in self._layers("decode_head.convs.", ".conv.weight"):
            weight = sd[f"{name}.conv.weight"]
            x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
            statistics = (sd[f"{name}.bn.running_mean"], sd[f"{name}.bn.running_var"])
            x = F.batch_norm(x, *statistics, sd[f"{name}.bn.weight"], sd[f"{name}.bn.bias"]).relu()
        projection = sd["decode_head.conv_seg.weight"], sd["decode_head.conv_seg.bias"]
        return self.space.unit_activations(self.space.logits_from_features(x, *projection))


class Case:
    """One fixture file with the network and the windows that it asks for."""

    def __init__(self, path: Path) -> None:
        self.arrays = GoldenArrays(path)
        self.meta = json.loads(path.with_suffix(".json").read_text())
        config = self.meta["test_cfg"]
        self.window = None
        if config["mode"] == "slide":
            self.window = WindowOptions(tuple(config["crop_size"]), tuple(config["stride"]), 3)
        self.network = TinyNetwork(self.arrays, self.meta)
        self.weights = self.network.space.category_weights

    def image(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name])

    def probabilities(self, maps: Maps, size: tuple[int, int]) -> Tensor:
        return category_score_maps(maps, size, self.weights).softmax(dim=1)


def assert_same_labels(actual: Tensor, expected: np.ndarray, scores: Tensor, what: str) -> None:
    """Labels agree, except where the two best of `scores` (1, N, H, W) are a tie in float32."""
    assert actual.shape == expected.shape, f"{what}: {tuple(actual.shape)} != {expected.shape}"
    best = scores[0].topk(2, dim=0).values
    different = actual != torch.from_numpy(expected)
    wrong = different & (best[0] - best[1] > TIE * best[0].abs())
    assert not wrong.any(), f"{what}: {int(wrong.sum())} pixels differ"
    assert different.float().mean() <= MAX_TIES, f"{what}: {int(different.sum())} ties"


def check_image(case: Case, image: dict[str, Any]) -> None:
    arrays, name, size = case.arrays, image["name"], tuple(image["ori_size"])
    pixels = case.image(f"{name}/image")
    assert pixels.shape[-2:] == tuple(image["size"])
    maps = predict_maps(case.network, pixels, window=case.window)
    whole = predict_maps(case.network, pixels)

    boxes = [tile.box for tile in maps.tiles]
    assert len(boxes) == image["n_windows"]
    assert np.array_equal(np.array(boxes), arrays[f"{name}/windows_y1x1y2x2"])
    scores = category_score_maps(maps, maps.image_size, case.weights)
    assert_close(scores, arrays[f"{name}/slide_scores"], rtol=SCORE_RTOL, what="slide scores")
    for kind, kind_maps in (("slide", maps), ("whole", whole)):
        rescaled = category_score_maps(kind_maps, size, case.weights)
        labels = category_labels(kind_maps, size, case.weights)
        assert torch.equal(labels, rescaled.argmax(dim=1))
        assert_same_labels(labels[0], arrays[f"{name}/{kind}_prediction"], rescaled, kind)

    rescaled = category_score_maps(maps, size, case.weights)
    optional = {
        f"{name}/slide_scores_rescaled_to_{size[0]}x{size[1]}": lambda: rescaled,
        f"{name}/slide_probabilities_rescaled": lambda: rescaled.softmax(dim=1),
        f"{name}/whole_scores": lambda: category_score_maps(whole, whole.image_size, case.weights),
    }
    for flip, dim in (("horizontal", 3), ("vertical", 2)):
        optional[f"{name}/probabilities_{flip}_flip"] = lambda dim=dim: case.probabilities(
            predict_maps(case.network, pixels.flip(dim), window=case.window), size
        ).flip(dim)
    for array, compute in optional.items():
        if array in arrays:
            assert_close(compute(), arrays[array], rtol=SCORE_RTOL, what=array)


def check_augmentations(case: Case) -> None:
    """Multi-scale and flip: probabilities at the original size, un-flipped, are averaged."""
    meta, prefix = case.meta["tta"], f"{case.meta['tta']['image']}/"
    size = tuple(case.image(f"{prefix}image").shape[-2:])
    views = []
    for step in meta["order"]:
        assert not step.get("vertical_flip")
        flip = bool(step.get("horizontal_flip"))
        pixels = case.image(f"{prefix}tta/image_scale{step['scale']}")
        maps = predict_maps(case.network, pixels.flip(3) if flip else pixels, window=case.window)
        views.append(View(maps.weighted(case.weights), flip))
    mean = augmented_probabilities(views, size)
    assert_close(mean, case.arrays[f"{prefix}tta/mean_probabilities"], rtol=SCORE_RTOL, what="tta")
    labels = augmented_labels(views, size)
    assert torch.equal(labels, mean.argmax(dim=1))
    assert_same_labels(labels[0], case.arrays[f"{prefix}tta/prediction"], mean, "tta prediction")


def check_background(case: Case) -> None:
    """Pascal VOC: 20 categories and a background that wins where all of them are improbable."""
    arrays = case.arrays
    network = TinyNetwork(arrays, case.meta, "voc21/")
    expected = arrays["voc21/prediction_0_is_background"]
    maps = predict_maps(network, case.image("voc21/image"), window=case.window)
    scores = category_score_maps(maps, expected.shape, network.space.category_weights)
    probabilities = scores.softmax(dim=1)
    if "voc21/probabilities_20" in arrays:
        assert_close(probabilities, arrays["voc21/probabilities_20"], rtol=SCORE_RTOL, what="voc21")
    view = View(maps.weighted(network.space.category_weights))
    with_background = augmented_probabilities([view], expected.shape, PUBLISHED_THRESHOLD)
    assert_close(with_background[:, 1:], probabilities, rtol=1e-6, what="voc21, categories")
    labels = augmented_labels([view], expected.shape, PUBLISHED_THRESHOLD)[0]
    assert torch.equal(labels, with_background.argmax(dim=1)[0])
    assert_same_labels(labels, expected, with_background, "voc21 with background")
    fraction = case.meta["voc21"]["background_fraction"]
    assert float((labels == 0).float().mean()) == pytest.approx(fraction, abs=1e-3)
    assert_same_labels(
        probabilities[0].argmax(dim=0),
        arrays["voc21/prediction_under_aug_test_no_background_rule"],
        probabilities,
        "voc21 without background",
    )


def test_inference_gives_the_published_numbers():
    files = golden_files("f6_inference*.npz")
    for path in files:
        case = Case(path)
        for image in case.meta["images"]:
            check_image(case, image)
        if "tta" in case.meta:
            check_augmentations(case)
        if "voc21" in case.meta:
            check_background(case)
        case.arrays.assert_all_read()
        print(f"{path.name}: {len(case.meta['images'])} images, {len(case.arrays)} arrays")
    print(f"golden inference files: {len(files)}")
