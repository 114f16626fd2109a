"""Decode heads against the published implementation: outputs, losses, gradients, statistics.

Shapes: B batch, C feature channels, D embedding, K properties, N categories, H x W label size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from prolab_d2.modeling import PropertySpace
from prolab_d2.modeling.decode_heads import DECODE_HEADS_REGISTRY, DecodeHead
from tests.golden import GoldenArrays, assert_close, golden_files

pytestmark = pytest.mark.golden

FILES = golden_files("f2_head_*.safetensors")
# Strides of the features 0 to 3, which the heads compare to keep fine before coarse.
STRIDES = (4, 8, 16, 32)
SIMILARITY = {
    "cosine_similarity_with_sigmoid": "cosine_sigmoid",
    "cosine_similarity": "cosine",
}
LOSS = {
    "CosineSimilarityLoss": ("cosine", "loss_cos_simi"),
    "BCELoss": ("bce", "loss_BCE"),
    "MSELoss": ("mse", "loss_MSE"),
}


def _uper_options(config: dict[str, Any]) -> dict[str, Any]:
    return {"pool_scales": tuple(config["pool_scales"])}


def _fcn_options(config: dict[str, Any]) -> dict[str, Any]:
    names = ("num_convs", "concat_input", "kernel_size", "dilation")
    return {name: config[name] for name in names if name in config}


def _deeplab_options(config: dict[str, Any]) -> dict[str, Any]:
    return {
        "dilations": tuple(config["dilations"]),
        "low_level_channels": config["c1_channels"],
    }


# Published type: our class, and its options.
HEADS: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "UPerHead_cluster_embed": ("UPerNetHead", _uper_options),
    "FCNHead_cluster_embed": ("FCNHead", _fcn_options),
    "SegformerHead_cluster_embed": ("SegFormerHead", lambda config: {}),
    "DepthwiseSeparableASPPHead_cluster_embed": ("DeepLabV3PlusHead", _deeplab_options),
}


class PublishedHead(nn.Module):
    """One of our heads and the projection, under the names of a published head."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        indices = np.atleast_1d(config["in_index"]).tolist()
        widths = np.atleast_1d(config["in_channels"]).tolist()
        if config.get("c1_in_channels"):  # the low-level branch always reads the finest feature
            indices, widths = [0, *indices], [config["c1_in_channels"], *widths]
        name, options = HEADS[config["type"]]
        self.head: DecodeHead = DECODE_HEADS_REGISTRY.get(name)(
            input_shape={
                f"feat{i}": ShapeSpec(channels=width, stride=STRIDES[i])
                for i, width in zip(indices, widths, strict=True)
            },
            in_features=tuple(f"feat{i}" for i in indices),
            channels=config["channels"],
            norm=config["norm_cfg"]["type"],
            **options(config),
        )
        self.conv_seg = nn.Conv2d(self.head.out_channels, config["num_classes"], 1)

    def published(self, name: str) -> str:
        return name.removeprefix("head.")

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Strict: every published tensor has a place here and every place a tensor."""
        own = {self.published(name): name for name in self.state_dict()}
        assert set(own) == set(state), f"names differ: {sorted(set(own) ^ set(state))}"
        self.load_state_dict({own[name]: torch.from_numpy(x) for name, x in state.items()})


def property_space(arrays: GoldenArrays) -> PropertySpace:
    config = arrays.meta["config"]
    return PropertySpace(
        arrays["in/embedding_bank_CxK"].T.copy(),
        arrays["in/cluster2label_KxN"].T > 0,
        similarity=SIMILARITY[config["get_logit_mode"]],
        temperature=config["sigmoid_temperature"],
        normalize_embedding=config["image_embedding_normalize"],
    )


def loss_of(
    model: PublishedHead,
    space: PropertySpace,
    features: dict[str, Tensor],
    labels: Tensor,
    config: dict[str, Any],
    ignore_index: int | None,
) -> Tensor:
    kind, _ = LOSS[config["loss_decode"]["type"]]
    # The published BCE and MSE count unlabelled pixels whatever they are told.
    counts = ignore_index is None or kind != "cosine"
    return space.loss_from_features(
        model.head(features),
        model.conv_seg.weight,
        model.conv_seg.bias,
        labels,
        kind=kind,
        unlabelled="count" if counts else "ignore",
        ignore_label=255,
    )


def check_case(arrays: GoldenArrays) -> None:
    meta, config = arrays.meta, arrays.meta["config"]
    assert not config["align_corners"] and not config["dropout_ratio"]
    model = PublishedHead(config)
    model.load(arrays.group("sd/"))
    features = {
        name: torch.from_numpy(x).requires_grad_()
        for name, x in arrays.group("in/").items()
        if name.startswith("feat")
    }
    space = property_space(arrays)
    labels = torch.from_numpy(arrays["in/labels"].astype(np.int64))[:, 0]

    model.eval()
    with torch.no_grad():
        out = model.conv_seg(model.head(features))
        noise = meta["eval_fp32_noise"]
        assert_close(out, arrays["out/eval"], rtol=1e-4, noise=noise, what="out/eval")
        for name, ignore_index in (("ignNone", None), ("ign255", 255)):
            if f"eval_losses_{name}" in meta:
                loss = loss_of(model, space, features, labels, config, ignore_index)
                expected = meta[f"eval_losses_{name}"][LOSS[config["loss_decode"]["type"]][1]]
                assert_close(loss, expected, rtol=2e-5, what=f"eval loss {name}")
    if "out/train" in arrays:
        check_training(arrays, model, space, features, labels)
    arrays.assert_all_read()


def check_training(
    arrays: GoldenArrays,
    model: PublishedHead,
    space: PropertySpace,
    features: dict[str, Tensor],
    labels: Tensor,
) -> None:
    meta, config = arrays.meta, arrays.meta["config"]
    model.train()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    loss = loss_of(model, space, features, labels, config, config["ignore_index"])
    loss_name = LOSS[config["loss_decode"]["type"]][1]
    assert_close(
        loss.detach(),
        meta["train_losses_float64"][loss_name],
        rtol=2e-5,
        noise=abs(meta["train_losses_float64"][loss_name] - meta["train_losses"][loss_name]),
        what="train loss",
    )
    loss.backward()

    statistics = {model.published(name): x for name, x in model.state_dict().items()}
    for name, expected in arrays.group("after_train_step/").items():
        assert_close(statistics[name], expected, rtol=1e-4, what=f"after_train_step/{name}")
    gradients = {model.published(n): p.grad for n, p in model.named_parameters()}
    expected_gradients = arrays.group("grad/")
    assert set(gradients) == set(expected_gradients)
    gradients.update({f"in/{name}": x.grad for name, x in features.items()})
    expected_gradients.update({f"in/{n}": x for n, x in arrays.group("grad_in/").items()})
    for name, expected in expected_gradients.items():
        noise = meta["max_rel_fp32_grad_noise"] * float(np.abs(expected).max())
        assert_close(gradients[name], expected, rtol=1e-4, noise=noise, what=f"grad {name}")

    model.load_state_dict(before)
    with torch.no_grad():
        out = model.conv_seg(model.head(features))
    noise = meta["eval_fp32_noise"]
    assert_close(out, arrays["out/train"], rtol=1e-4, noise=noise, what="out/train")


def test_heads_match_the_published_ones(capsys: pytest.CaptureFixture[str]) -> None:
    for path in FILES:
        arrays = GoldenArrays(path)
        kind = arrays.meta["config"]["type"]
        assert kind in HEADS, f"{path.name}: unknown head {kind}"
        try:
            check_case(arrays)
        except AssertionError as error:
            raise AssertionError(f"{path.name}: {error}") from error
    with capsys.disabled():
        names = ", ".join(path.stem for path in FILES)
        print(f"\ngolden heads: {len(FILES)} cases ran ({names})")
