"""Scores with weighted properties: a weighted cosine everywhere, and the same loss."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode

from prolab_d2 import LabelSpace, Predictor, ProLabError
from prolab_d2.data.augmentation import make_views
from prolab_d2.explain.blame import blame_properties
from prolab_d2.explain.contrast import contrast_categories
from prolab_d2.explain.evidence import explain_pixel
from prolab_d2.explain.inputs import category_weights, ideal_activations
from prolab_d2.label_space import build_label_space
from prolab_d2.label_space.property_weights import write_property_weights
from prolab_d2.modeling import PropertySegmentor, PropertySpace
from prolab_d2.report.tables import contrast_table, evidence_tables
from prolab_d2.visualizer.contrast import _shared
from tests.conftest import save_tiny_checkpoint
from tests.label_space.conftest import WordEncoder

WEIGHTS = torch.tensor([1, 0.5, 0.2, 1, 0, 0.7, 1, 0.3, 0.9, 0, 1, 0.1])


def spaces(label_space: LabelSpace) -> tuple[PropertySpace, PropertySpace]:
    bank, signatures = label_space.bank, label_space.signatures
    return PropertySpace(bank, signatures), PropertySpace(
        bank, signatures, property_weights=WEIGHTS
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_are_the_cosine_of_weighted_activations_and_signatures(
    tiny_label_space: LabelSpace, dtype: torch.dtype
) -> None:
    _, space = spaces(tiny_label_space)
    logits = torch.randn(2, 12, 3, 4, dtype=dtype) * 0.1
    a = torch.sigmoid(logits / 0.04).permute(0, 2, 3, 1) * WEIGHTS.to(dtype)
    y = torch.tensor(tiny_label_space.signatures) * WEIGHTS.to(dtype)
    expected = F.cosine_similarity(a[..., None, :], y, dim=-1).permute(0, 3, 1, 2)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    assert torch.allclose(space.category_scores(logits), expected, atol=tolerance)
    units = space.unit_activations(logits)
    assert torch.allclose(units / units[:, :1], torch.sigmoid(logits / 0.04)
                          / torch.sigmoid(logits[:, :1] / 0.04), rtol=1e-4)  # fmt: skip


def test_weight_zero_is_a_label_space_without_the_property(tiny_label_space: LabelSpace) -> None:
    keep = np.ones(12, dtype=bool)
    keep[[4, 9]] = False
    dropped = PropertySpace(
        tiny_label_space.bank, tiny_label_space.signatures, property_weights=keep.astype(float)
    )
    without = PropertySpace(tiny_label_space.bank[keep], tiny_label_space.signatures[:, keep])
    logits = torch.randn(1, 12, 5, 5)
    assert torch.allclose(
        dropped.category_scores(logits), without.category_scores(logits[:, keep]), atol=1e-6
    )


def test_equal_weights_change_nothing_and_the_loss_never_changes(
    tiny_label_space: LabelSpace,
) -> None:
    plain, weighted = spaces(tiny_label_space)
    same = PropertySpace(
        tiny_label_space.bank, tiny_label_space.signatures, property_weights=torch.full((12,), 0.5)
    )
    embedding = torch.randn(1, 16, 4, 4)
    logits = plain.logits(embedding)
    assert torch.allclose(same.category_scores(logits), plain.category_scores(logits), atol=1e-6)
    assert not torch.allclose(
        weighted.category_scores(logits), plain.category_scores(logits), atol=1e-2
    )
    labels = torch.randint(0, 5, (1, 16, 16))
    for kind in ("cosine", "bce", "mse"):
        for dtype in (torch.float32, torch.float64):
            losses = [space.loss(embedding.to(dtype), labels, kind) for space in (plain, weighted)]
            assert losses[0] == losses[1]


@pytest.fixture
def weights_file(tiny_label_space: LabelSpace, tmp_path: Path) -> Path:
    write_property_weights(tmp_path / "weights.json", tiny_label_space, WEIGHTS.numpy())
    return tmp_path / "weights.json"


@pytest.mark.parametrize("windows", [False, True])
def test_shares_add_up_to_the_score_that_decided_also_in_windows(
    tiny_checkpoint: Path, weights_file: Path, windows: bool
) -> None:
    options = ["MODEL.PROLAB.PROPERTY_WEIGHTS", str(weights_file), "TEST.OUTPUT", "scores"]
    if windows:
        options += ["TEST.SLIDING_WINDOW.ENABLED", "True"]
        options += ["TEST.SLIDING_WINDOW.CROP_SIZE", "[48, 48]"]
        options += ["TEST.SLIDING_WINDOW.STRIDE", "[31, 29]"]
    predictor = Predictor.from_checkpoint(tiny_checkpoint, "cpu", options)
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    prediction = predictor(image)
    scores = predictor.model([{"image": predictor.prepare(image)}])[0]["sem_seg"]
    for x, y in ((3, 5), (40, 31), (79, 63)):
        expected = scores[:, y, x]
        for category in range(5):
            explanation = prediction.explain(x, y, category)
            total = sum(item.share for item in explanation.evidence)
            assert total == pytest.approx(float(expected[category]), abs=1e-5)
            zero = [item for item in explanation.evidence if WEIGHTS[item.index] == 0]
            assert all(item.share == 0 and item.activation > 0 for item in zero)
        assert prediction.labels[y, x] == int(expected.argmax())
        difference = prediction.contrast(prediction.pixel(x, y), 0, 3).difference
        assert difference == pytest.approx(float(expected[0] - expected[3]), abs=1e-5)


def test_new_categories_are_scored_by_the_same_weights(tiny_cfg: CfgNode, tmp_path: Path) -> None:
    encoder = WordEncoder(16)
    sentences = {
        "sky": ["blue and far away", "wide and even"],
        "meadow": ["wide and even ground", "green blades of grass"],
        "fence": ["thin upright bars", "painted metal"],
    }
    space = build_label_space(sentences, encoder, 4)
    space.save(tmp_path / "space")
    weights = np.array([1, 0.4, 0.7, 0.2])
    write_property_weights(tmp_path / "weights.json", space, weights)
    tiny_cfg.MODEL.PROLAB.LABEL_SPACE = str(tmp_path / "space")
    tiny_cfg.MODEL.PROLAB.PROPERTY_WEIGHTS = str(tmp_path / "weights.json")
    predictor = Predictor.from_checkpoint(save_tiny_checkpoint(tiny_cfg, tmp_path), "cpu")
    new = {"lawn": ["green blades of grass"], "rail": ["thin upright bars"]}
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    prediction = predictor.with_vocabulary(new, encoder)(image)
    y = prediction.label_space.signatures * weights
    a = prediction.properties.astype(np.float64)[:, 5, 7] * weights
    for category in range(5):
        cosine = y[category] @ a / np.linalg.norm(y[category]) / np.linalg.norm(a)
        u = prediction.unit_activations[:, 5, 7]
        score = explain_pixel(u, prediction.label_space, category).score
        assert score == pytest.approx(cosine, abs=1e-5)


@pytest.mark.parametrize("windows", [False, True])
def test_views_are_answered_by_the_weighted_scores_also_in_windows(
    tiny_checkpoint: Path, weights_file: Path, windows: bool
) -> None:
    options = ["TEST.AUG.ENABLED", "True", "TEST.AUG.MIN_SIZES", "(64, 96)"]
    if windows:
        options += ["TEST.SLIDING_WINDOW.ENABLED", "True"]
        options += ["TEST.SLIDING_WINDOW.CROP_SIZE", "[64, 64]"]
        options += ["TEST.SLIDING_WINDOW.STRIDE", "[43, 29]"]
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    equal = Predictor.from_checkpoint(tiny_checkpoint, "cpu", options)(image).labels
    options += ["MODEL.PROLAB.PROPERTY_WEIGHTS", str(weights_file)]
    predictor = Predictor.from_checkpoint(tiny_checkpoint, "cpu", options)
    y = torch.tensor(predictor.label_space.signatures) * WEIGHTS
    mean = torch.zeros(1, 5, 64, 80)
    views = make_views(image, predictor._views)
    assert len(views) == 4 and len({view["image"].shape for view in views}) == 2
    for view in views:
        maps = predictor.model.predict_logits(view["image"])
        assert (len(maps.tiles) > 1) == windows
        total, count = torch.zeros(1, 5, *maps.image_size), torch.zeros(maps.image_size)
        for tile in maps.tiles:
            a = torch.sigmoid(tile.values / 0.04) * WEIGHTS[:, None, None]
            scores = F.cosine_similarity(a[:, None], y[:, :, None, None], dim=2)
            top, left, bottom, right = tile.box
            scores = F.interpolate(scores, tile.padded_size, mode="bilinear")
            total[..., top:bottom, left:right] += scores[..., : bottom - top, : right - left]
            count[top:bottom, left:right] += 1
        probabilities = F.interpolate(total / count, (64, 80), mode="bilinear").softmax(dim=1)
        mean += probabilities.flip(-1) if view["flip"] else probabilities
    best = mean.topk(2, dim=1).values[0]
    clear = (best[0] - best[1] > 1e-5).numpy()
    labels = predictor(image).labels
    assert clear.mean() > 0.99
    assert (labels == mean.argmax(dim=1)[0].numpy())[clear].all()
    assert (labels != equal).mean() > 0.02


def test_explanations_show_what_counts_not_what_is_active(tiny_label_space: LabelSpace) -> None:
    weighted = tiny_label_space.with_property_weights(WEIGHTS.numpy())
    # Property 4, of fence and sign symbol, has the weight 0.
    u = np.full(12, 0.2)
    u[4] = 0.5
    explanation = explain_pixel(u, weighted, "fence")
    shares = [item.share for item in explanation.evidence]
    assert shares == sorted(shares, reverse=True) and sum(shares) == explanation.score
    assert explanation.evidence[-1].index == 4 and shares[-1] == 0
    # Property 3, of weight 1, at the activation of the strongest one.
    assert explanation.full_share == pytest.approx(0.5 / np.hypot(1, 0.7))
    assert explanation.full_share == pytest.approx(2.5 * shares[0])
    widths = bar_widths(evidence_tables(explanation), ("supports", "missing"))
    scale = [100 * share / explanation.full_share for share in shares]
    assert sorted(widths) == pytest.approx(sorted(scale), abs=0.06)
    plain = explain_pixel(u, tiny_label_space, "fence")
    assert plain.evidence[0].index == 4 and plain.full_share == plain.evidence[0].share

    contrast = contrast_categories(u, weighted, "fence", "sign symbol")
    for term in contrast.terms:
        assert term.difference == pytest.approx(term.activation * term.weight)
    full = max(abs(0.5 * term.weight) for term in contrast.terms)
    widths = bar_widths(contrast_table(contrast, None), ("full",))
    expected = [50 * abs(0.5 * t.weight) / full for t in contrast.terms if t.index != 4]
    assert sorted(widths) == pytest.approx(sorted(expected), abs=0.06)


def bar_widths(html: str, kinds: tuple[str, ...]) -> list[float]:
    return [
        float(width)
        for kind, width in re.findall(r'<rect class="(\w+)"[^>]*? width="([\d.]+)"', html)
        if kind in kinds
    ]


def test_shared_properties_count_for_more_where_the_others_weigh_less() -> None:
    """Both have three properties, one of them shared; only the weights differ."""
    signatures = np.array([[1, 1, 1, 0, 0], [1, 0, 0, 1, 1]], dtype=bool)
    space = LabelSpace.from_arrays(["a", "b"], np.eye(5), signatures, list("vwxyz"))
    u = np.full(5, 0.3)
    assert "no difference" in _shared(contrast_categories(u, space, "a", "b"))
    weighted = space.with_property_weights([1, 0.1, 0.1, 1, 1])
    contrast = contrast_categories(u, weighted, "a", "b")
    assert contrast.shared[0].difference > 0.1
    text = _shared(contrast)
    assert f"{contrast.shared[0].difference:+.3f}" in text
    assert "more with a, whose properties weigh less together" in text


def test_exact_activations_leave_nothing_to_blame(tiny_label_space: LabelSpace) -> None:
    weighted = tiny_label_space.with_property_weights(WEIGHTS.numpy())
    ideal = ideal_activations(weighted)
    assert np.diag(ideal @ category_weights(weighted).T) == pytest.approx(np.ones(5))
    assert all(item.blame == 0 for item in blame_properties(ideal[3], weighted, 3, 4))
    u = np.random.default_rng(0).random(12)
    lost = sum(item.blame for item in blame_properties(u, weighted, 3, 4))
    lead = contrast_categories(ideal[3], weighted, 3, 4).difference
    assert lost == pytest.approx(lead - contrast_categories(u, weighted, 3, 4).difference)


def test_a_checkpoint_keeps_its_weights_without_the_file(
    tiny_cfg: CfgNode, weights_file: Path, tmp_path: Path
) -> None:
    tiny_cfg.MODEL.PROLAB.PROPERTY_WEIGHTS = str(weights_file)
    checkpoint = save_tiny_checkpoint(tiny_cfg, tmp_path)
    model = PropertySegmentor(tiny_cfg)
    weights_file.unlink()
    predictor = Predictor.from_checkpoint(checkpoint, "cpu")
    for space in (predictor.model.property_space, model.property_space):
        assert torch.equal(space.property_weights, WEIGHTS)
    subset = model.with_label_space(model.label_space.subset(["car", "fence"]))
    assert torch.equal(subset.property_space.property_weights, WEIGHTS)
    off = Predictor.from_checkpoint(checkpoint, "cpu", ["MODEL.PROLAB.PROPERTY_WEIGHTS", ""])
    assert off.model.property_space.property_weights is None
    with pytest.raises(ProLabError, match=r"weights\.json cannot be read"):
        options = ["MODEL.PROLAB.PROPERTY_WEIGHTS", str(weights_file)]
        Predictor.from_checkpoint(checkpoint, "cpu", options)
