"""The property maths against the numbers of the published implementation (fixtures f1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from prolab_d2.errors import ProLabError
from prolab_d2.modeling import PropertySpace
from tests.golden import GoldenArrays, assert_close, golden_files

pytestmark = pytest.mark.golden

SIMILARITY = {
    "cosine_similarity_with_sigmoid": "cosine_sigmoid",
    "cosine_similarity": "cosine",
}
KIND = {"CosineSimilarityLoss": "cosine", "BCELoss": "bce", "MSELoss": "mse"}
VALUE_RTOL = 1e-5
GRADIENT_RTOL = 1e-4
# Beyond this the stored float32 number is mostly rounding, and float64 is compared instead.
FLOAT32_IS_NOISE = 1e-3

FILES = golden_files("f1_*.npz")


def _space(arrays: GoldenArrays, case: dict[str, Any], **changes: Any) -> PropertySpace:
    case = case | changes
    return PropertySpace(
        arrays["embedding_bank_CxK"].T,
        arrays["cluster2label_KxN"].T,
        similarity=SIMILARITY.get(case["mode"], case["mode"]),
        temperature=case["temperature"],
        normalize_embedding=case["normalize"],
    )


def _options(case: dict[str, Any]) -> dict[str, Any]:
    kind = KIND[case["loss"]]
    # The published mask has an effect on the cosine loss only.
    masked = kind == "cosine" and case["ignore_index"] is not None
    return {
        "kind": kind,
        "unlabelled": "ignore" if masked else "count",
        "ignore_label": case.get("background_index_value", 255),
    }


def _loss_and_gradient(
    space: PropertySpace, embedding: Tensor, labels: Tensor, **options: Any
) -> tuple[float, Tensor]:
    embedding = embedding.clone().requires_grad_()
    loss = space.loss(embedding, labels, **options)
    loss.backward()
    return loss.item(), embedding.grad


def _labels(arrays: GoldenArrays) -> Tensor:
    return torch.from_numpy(arrays["labels"])[:, 0]


def check_bank_and_logits(arrays: GoldenArrays, details: dict[str, Any]) -> int:
    embedding = torch.from_numpy(arrays["seg_embedding"])
    prefix = "property_logits_low__norm"
    expected = arrays.group(prefix)
    for name, logits in expected.items():
        case = {"mode": "cosine_similarity", "temperature": 1.0, "normalize": bool(int(name))}
        space = _space(arrays, case)
        assert_close(
            space.bank, arrays["embedding_bank_KxC_normalised"], rtol=VALUE_RTOL, what="bank"
        )
        assert_close(space.logits(embedding), logits, rtol=VALUE_RTOL, what=prefix + name)
    return len(expected)


def check_scores(arrays: GoldenArrays, details: dict[str, Any]) -> int:
    embedding = torch.from_numpy(arrays["seg_embedding"])
    for case in details["score_cases"]:
        space = _space(arrays, case)
        scores = space.category_scores(space.logits(embedding))
        assert_close(scores, arrays[case["scores_low"]], rtol=VALUE_RTOL, what=case["key"])
        if "scores_full" in case:
            full = arrays[case["scores_full"]]
            resized = F.interpolate(scores, full.shape[2:], mode="bilinear", align_corners=False)
            assert_close(resized, full, rtol=VALUE_RTOL, what=case["key"])
    return len(details["score_cases"])


def check_losses(arrays: GoldenArrays, details: dict[str, Any]) -> int:
    embedding = torch.from_numpy(arrays["seg_embedding"])
    for case in details["loss_cases"]:
        expected, exact = case["loss_value"], case["loss_value_float64"]
        unstable = abs(expected - exact) > FLOAT32_IS_NOISE
        if unstable:
            embedding_used, expected, noise = embedding.double(), exact, 0.0
        else:
            embedding_used, noise = embedding, abs(expected - exact)
        loss, gradient = _loss_and_gradient(
            _space(arrays, case), embedding_used, _labels(arrays), **_options(case)
        )
        assert_close(loss, expected, rtol=VALUE_RTOL, noise=noise, what=case["key"])
        assert_close(
            gradient,
            arrays[case["grad_array"]],
            rtol=GRADIENT_RTOL,
            noise=case["fp32_grad_noise_abs_max"],
            what=case["key"],
        )
    return len(details["loss_cases"])


def check_training_accuracy(arrays: GoldenArrays, details: dict[str, Any]) -> int:
    """Best category at the size of the labels, in percent; unlabelled pixels count as wrong."""
    labels = _labels(arrays)
    resized = F.interpolate(
        torch.from_numpy(arrays["seg_embedding"]),
        labels.shape[1:],
        mode="bilinear",
        align_corners=False,
    )
    for case in details["loss_cases"]:
        space = _space(arrays, case)
        scores = F.pad(space.category_scores(space.logits(resized)), (0, 0, 0, 0, 0, 1))
        accuracy = 100 * (scores.argmax(1) == labels).double().mean().item()
        # A rounding may decide between equals in a few pixels.
        assert accuracy == pytest.approx(case["acc_seg"], abs=300 / labels.numel()), case["key"]
    return len(details["loss_cases"])


def check_unavailable(arrays: GoldenArrays, details: dict[str, Any]) -> int:
    embedding = torch.from_numpy(arrays["seg_embedding"])
    for case in details["unavailable_cases"]:
        with pytest.raises(ProLabError):
            _space(arrays, case).loss(embedding, _labels(arrays), **_options(case))
    return len(details["unavailable_cases"])


def check_probes(arrays: GoldenArrays, details: dict[str, Any]) -> int:
    """Unusual labels and embeddings; the probes are variations of one of the loss cases."""
    probes = {p["probe"]: p["result"] for p in details["edge_probes"] if "result" in p}
    start = probes.get("loss_weight=1.0 (CosineSimilarityLoss)", {}).get("loss_cos_simi")
    base = next((c for c in details["loss_cases"] if c["loss_value"] == start), None)
    embedding, labels = torch.from_numpy(arrays["seg_embedding"]), _labels(arrays)
    zero_pixels = embedding
    if "seg_embedding_with_zero_pixels" in arrays:
        zero_pixels = torch.from_numpy(arrays["seg_embedding_with_zero_pixels"])
    if base is None:
        return 0
    unlabelled = base["background_index_value"]
    all_unlabelled = torch.full_like(labels, unlabelled)
    wide = labels.masked_fill(labels == unlabelled, 32767)
    counted = {"unlabelled": "count", "ignore_label": unlabelled}
    cosine = {"mode": "cosine_similarity"}
    settings = {
        f"all labels {unlabelled}, ignore_index=None, CosineSimilarityLoss": (
            embedding, all_unlabelled, {}, counted,
        ),
        f"all labels {unlabelled}, ignore_index=None, BCELoss": (
            embedding, all_unlabelled, {}, counted | {"kind": "bce"},
        ),
        "32767 in labels, background_index_value=32767, ignore_index=None": (
            embedding, wide, {}, {"unlabelled": "count", "ignore_label": 32767},
        ),
        "32767 in labels, background_index_value=32767, ignore_index=32767": (
            embedding, wide, {}, {"unlabelled": "ignore", "ignore_label": 32767},
        ),
        "zero embedding pixels, normalize=True": (
            zero_pixels, labels, {"normalize": True}, counted,
        ),
        "zero embedding pixels, normalize=False": (
            zero_pixels, labels, {"normalize": False}, counted,
        ),
        "zero embedding everywhere, cosine_similarity, normalize=True": (
            torch.zeros_like(embedding), labels, {"normalize": True} | cosine, counted,
        ),
        "temperature 0.01, normalize True (BEiT-L / COCO-Stuff setting)": (
            embedding, labels, {"normalize": True, "temperature": 0.01}, counted,
        ),
    }  # fmt: skip
    found = [name for name in settings if name in probes]
    if "seg_embedding_with_zero_pixels" not in arrays:
        found = [name for name in found if "zero embedding pixels" not in name]
    for name in found:
        embedding_used, labels_used, changes, options = settings[name]
        loss, gradient = _loss_and_gradient(
            _space(arrays, base, **changes), embedding_used, labels_used, **options
        )
        result = probes[name]
        expected = result["loss_BCE" if options.get("kind") == "bce" else "loss_cos_simi"]
        assert_close(loss, expected, rtol=VALUE_RTOL, what=name)
        assert_close(
            gradient.abs().sum(), result["grad_abs_sum"], rtol=GRADIENT_RTOL, noise=1e-9, what=name
        )
    return len(found)


CHECKS = (
    check_bank_and_logits,
    check_scores,
    check_losses,
    check_training_accuracy,
    check_unavailable,
    check_probes,
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_published_numbers_come_out(path: Path) -> None:
    arrays = GoldenArrays(path)
    details = json.loads(path.with_suffix(".json").read_text())
    assert details["loss_cases"], f"{path.name} has no loss cases"
    counts = {check.__name__.removeprefix("check_"): check(arrays, details) for check in CHECKS}
    print(f"{path.name}: {counts}")
    arrays.assert_all_read()
