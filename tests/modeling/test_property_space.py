"""What `PropertySpace` computes from features, embeddings and labels, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import prolab_d2.modeling
from prolab_d2.errors import ProLabError
from prolab_d2.modeling import PropertySpace, feature_scores
from prolab_d2.modeling import property_space as module

# Three categories, four properties: the second category shares one with each of the others.
SIGNATURES = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], dtype=torch.bool)
C, D = 7, 5


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _space(**options: Any) -> PropertySpace:
    return PropertySpace(3 * _random(4, D), SIGNATURES, **options)


def _labels(seed: int = 0) -> Tensor:
    """(2, 16, 20) with some pixels of every category and some without a label."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (2, 16, 20), generator=generator)
    return labels.masked_fill(labels == 3, 255)


class TestConstruction:
    def test_bank_rows_get_length_one(self) -> None:
        bank = 3 * _random(4, D)
        space = PropertySpace(bank, SIGNATURES)
        torch.testing.assert_close(space.bank, bank / bank.norm(dim=1, keepdim=True))
        assert (space.num_properties, space.embedding_dim, space.num_categories) == (4, D, 3)

    def test_numpy_arrays_of_a_label_space_are_taken_as_they_are(self) -> None:
        bank = np.asarray(_random(4, D))
        bank.setflags(write=False)
        space = PropertySpace(bank, SIGNATURES.numpy())
        assert space.bank.dtype == torch.float32
        assert torch.equal(space.signatures, SIGNATURES)

    def test_constants_move_with_the_module_and_stay_out_of_the_state_dict(self) -> None:
        space = _space()
        assert len(space.state_dict()) == 0
        assert list(space.parameters()) == []
        assert {name for name, _ in space.named_buffers()} >= {"bank", "signatures"}
        assert space.to("meta").bank.device.type == "meta"

    @pytest.mark.parametrize(
        ("arguments", "options", "reason"),
        [
            ((_random(4, D), SIGNATURES[:, :3]), {}, "do not belong together"),
            ((_random(4), SIGNATURES), {}, "do not belong together"),
            ((torch.full((4, D), torch.nan), SIGNATURES), {}, "not finite"),
            ((_random(4, D), SIGNATURES), {"similarity": "L2"}, "cosine_sigmoid"),
            ((_random(4, D), SIGNATURES), {"temperature": 0.0}, "above 0"),
            ((_random(4, D), SIGNATURES), {"temperature": float("nan")}, "above 0"),
        ],
    )
    def test_unusable_arguments_are_refused(
        self, arguments: tuple[Tensor, ...], options: dict, reason: str
    ) -> None:
        with pytest.raises(ProLabError, match=reason):
            PropertySpace(*arguments, **options)

    def test_the_property_maths_does_not_import_detectron2(self) -> None:
        code = (
            "import sys; from prolab_d2.modeling import PropertySpace;"
            "assert not any(name.startswith('detectron2') for name in sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_the_segmentor_is_imported_on_demand(self) -> None:
        pytest.importorskip("detectron2", reason="the segmentor is a Detectron2 model")
        assert prolab_d2.modeling.PropertySegmentor.__name__ == "PropertySegmentor"
        assert not hasattr(prolab_d2.modeling, "NoSuchName")


class TestInference:
    def test_logits_are_products_with_the_bank(self) -> None:
        embedding = _random(2, D, 3, 4)
        space = _space()
        expected = torch.einsum("kd,bdhw->bkhw", space.bank, embedding)
        torch.testing.assert_close(space.logits(embedding), expected)

    def test_normalised_logits_are_cosines(self) -> None:
        embedding = 10 * _random(2, D, 3, 4)
        space = _space(normalize_embedding=True)
        logits = space.logits(embedding)
        expected = F.cosine_similarity(space.bank[None, :, :, None, None], embedding[:, None], 2)
        torch.testing.assert_close(logits, expected)

    def test_activations(self) -> None:
        logits = _random(2, 4, 3, 5)
        activations = _space(temperature=0.3).activations(logits)
        torch.testing.assert_close(activations, 1 / (1 + torch.exp(-logits / 0.3)))
        assert torch.equal(_space(similarity="cosine").activations(logits), logits)

    @pytest.mark.parametrize("similarity", ["cosine_sigmoid", "cosine"])
    def test_scores_are_cosines_of_activations_and_signatures(self, similarity: str) -> None:
        logits = _random(2, 4, 3, 5)
        space = _space(similarity=similarity, temperature=0.5)
        scores = space.category_scores(logits)
        activations = space.activations(logits)[:, None]  # (B, 1, K, h, w)
        signatures = SIGNATURES.float()[None, :, :, None, None]
        torch.testing.assert_close(scores, F.cosine_similarity(activations, signatures, dim=2))
        if similarity == "cosine_sigmoid":
            assert 0 <= scores.min() <= scores.max() <= 1 + 1e-6

    def test_a_pixel_that_shows_exactly_a_signature_has_the_score_one(self) -> None:
        logits = torch.where(SIGNATURES, 1.0, -1.0).T[None, :, :, None]  # one column per category
        scores = _space().category_scores(logits)[0, :, :, 0]
        torch.testing.assert_close(scores.diagonal(), torch.ones(3))
        assert scores.argmax(0).tolist() == [0, 1, 2]

    def test_scores_are_shares_of_unit_activations(self) -> None:
        space = _space()
        unit = space.unit_activations(_random(1, 4, 3, 5))
        torch.testing.assert_close(unit.norm(dim=1), torch.ones(1, 3, 5))
        shares = unit[:, None] * space.category_weights[None, :, :, None, None]
        torch.testing.assert_close(space.scores_from_unit(unit), shares.sum(2))

    def test_scores_in_bands_are_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        space, logits = _space(), _random(2, 4, 9, 5)
        whole = space.category_scores(logits)
        monkeypatch.setattr(module, "_SCORE_ENTRIES", 2 * 4 * 5 * 2)
        torch.testing.assert_close(space.category_scores(logits), whole)

    @pytest.mark.parametrize("similarity", ["cosine_sigmoid", "cosine"])
    @pytest.mark.parametrize("normalize", [False, True])
    @pytest.mark.parametrize("per_category", [2, 30])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_scores_straight_from_features(
        self,
        weighted: bool,
        similarity: str,
        normalize: bool,
        per_category: int,
        dtype: torch.dtype,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Few properties of a category are added up, many are a matrix product."""
        monkeypatch.setitem(feature_scores._BAND_ENTRIES, "cpu", 40 * 9 * 2)
        signatures = torch.rand(6, 40, generator=torch.Generator().manual_seed(1)).argsort(1)
        space = PropertySpace(
            _random(40, D),
            (signatures < per_category) | (signatures < torch.arange(1, 7)[:, None]),
            similarity=similarity,
            normalize_embedding=normalize,
            property_weights=_random(40).abs() if weighted else None,
        )
        features = _random(2, C, 5, 9).to(dtype)
        weight, bias = _random(D, C, 1, 1).to(dtype) * 0.1, _random(D) * 0.1
        logits = space.logits_from_features(features, weight, bias)
        scores = space.scorer(weight, bias)(features)
        assert scores.dtype == dtype
        torch.testing.assert_close(scores, space.category_scores(logits), rtol=1e-5, atol=1e-6)
        unbiased = space.scorer(weight, None)(features)
        expected = space.category_scores(space.logits_from_features(features, weight, None))
        torch.testing.assert_close(unbiased, expected, rtol=1e-5, atol=1e-6)

    def test_scores_carry_gradients(self) -> None:
        logits = _random(1, 4, 2, 2).double().requires_grad_()
        assert torch.autograd.gradcheck(_space(temperature=0.5).category_scores, logits)


class TestFolding:
    @pytest.mark.parametrize("with_bias", [True, False])
    @pytest.mark.parametrize("normalize", [True, False])
    def test_logits_from_features(self, normalize: bool, with_bias: bool) -> None:
        features, weight = _random(2, C, 3, 4), _random(D, C, 1, 1, seed=1)
        bias = _random(D, seed=2) if with_bias else None
        space = _space(normalize_embedding=normalize)
        expected = space.logits(F.conv2d(features, weight, bias))
        torch.testing.assert_close(space.logits_from_features(features, weight, bias), expected)

    def test_fold_is_one_convolution_with_gradients(self) -> None:
        features, weight = _random(2, C, 3, 4), _random(D, C, 1, 1, seed=1).requires_grad_()
        bias = _random(D, seed=2).requires_grad_()
        space = _space()
        folded, folded_bias = space.fold(weight, bias)
        assert folded.shape == (4, C, 1, 1)
        assert folded_bias.shape == (4,)
        logits = F.conv2d(features, folded, folded_bias)
        expected = space.logits(F.conv2d(features, weight, bias))
        torch.testing.assert_close(logits, expected)
        for parameter in (weight, bias):
            gradient, wanted = (
                torch.autograd.grad(x.square().sum(), parameter, retain_graph=True)[0]
                for x in (logits, expected)
            )
            torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-4)

    def test_half_precision_weights_are_folded_in_float32(self) -> None:
        weight = _random(D, C, 1, 1).bfloat16()
        folded, bias = _space().fold(weight, None)
        assert folded.dtype == bias.dtype == torch.float32

    @pytest.mark.parametrize("normalize", [True, False])
    @pytest.mark.parametrize("kind", ["cosine", "bce", "mse"])
    @pytest.mark.parametrize("unlabelled", ["ignore", "count"])
    @pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
    def test_loss_from_features_is_the_loss_of_the_projected_features(
        self, kind: str, unlabelled: str, normalize: bool, memory_format: torch.memory_format
    ) -> None:
        space = _space(normalize_embedding=normalize, temperature=0.2)
        features = _random(2, C, 4, 5).double().contiguous(memory_format=memory_format)
        inputs = [features, _random(D, C, 1, 1, seed=1).double(), _random(D, seed=2).double()]
        for x in inputs:
            x.requires_grad_()
        options = {"kind": kind, "unlabelled": unlabelled, "ignore_label": 255}
        loss = space.loss_from_features(*inputs, _labels(), **options)
        expected = space.loss(F.conv2d(*inputs), _labels(), **options)
        torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
        gradients, wanted = (torch.autograd.grad(x, inputs) for x in (loss, expected))
        for gradient, want in zip(gradients, wanted, strict=True):
            torch.testing.assert_close(gradient, want, rtol=1e-8, atol=1e-10)

    @pytest.mark.parametrize("normalize", [True, False])
    def test_only_the_features_may_be_rounded(self, normalize: bool) -> None:
        space = _space(normalize_embedding=normalize, temperature=0.01)
        features = _random(2, C, 4, 5).bfloat16()
        weight, bias = _random(D, C, 1, 1, seed=1), _random(D, seed=2)
        exact = space.loss_from_features(
            features.double(), weight.double(), bias.double(), _labels()
        )
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = space.loss_from_features(features, weight, bias, _labels())
            logits = space.logits_from_features(features, weight, bias)
            scores = space.category_scores(logits)
        assert loss.dtype == logits.dtype == scores.dtype == torch.float32
        assert loss.item() == pytest.approx(exact.item(), abs=1e-5)
        expected = space.category_scores(
            space.logits_from_features(features.double(), weight.double(), bias.double())
        )
        torch.testing.assert_close(scores.double(), expected, rtol=0, atol=1e-4)


class TestUnlabelledPixels:
    @pytest.mark.parametrize("kind", ["cosine", "bce", "mse"])
    def test_ignored_pixels_leave_sum_and_count(self, kind: str) -> None:
        """The loss of a batch is the weighted mean of the losses of its labelled parts."""
        embedding, space = _random(2, D, 16, 20), _space(temperature=0.3)
        labels = _labels()
        loss = space.loss(embedding, labels, kind=kind)
        parts, sizes = [], []
        for category in range(3):
            only = labels.masked_fill(labels != category, 255)
            parts.append(space.loss(embedding, only, kind=kind).item())
            sizes.append(int((only != 255).sum()))
        assert loss.item() == pytest.approx(np.average(parts, weights=sizes), abs=1e-6)

    def test_counted_pixels_add_one_to_the_cosine_loss(self) -> None:
        embedding, labels, space = _random(2, D, 4, 5), _labels(), _space()
        labelled = (labels != 255).double().mean().item()
        ignored = space.loss(embedding, labels, unlabelled="ignore").item()
        counted = space.loss(embedding, labels, unlabelled="count").item()
        assert 0.5 < labelled < 1
        assert counted == pytest.approx(labelled * ignored + (1 - labelled), abs=1e-6)

    def test_counted_pixels_are_pulled_to_zero_by_the_squared_error(self) -> None:
        embedding = torch.zeros(1, D, 2, 2)  # all activations 0.5
        labels = torch.full((1, 8, 8), 255)
        loss = _space().loss(embedding, labels, kind="mse", unlabelled="count")
        assert loss.item() == pytest.approx(0.25)

    @pytest.mark.parametrize("kind", ["cosine", "bce", "mse"])
    @pytest.mark.parametrize("normalize", [True, False])
    def test_without_labelled_pixels_the_loss_is_zero_and_connected(
        self, kind: str, normalize: bool
    ) -> None:
        features, weight = _random(2, C, 4, 5), _random(D, C, 1, 1, seed=1).requires_grad_()
        labels = torch.full((2, 16, 20), 255)
        space = _space(normalize_embedding=normalize)
        loss = space.loss_from_features(features, weight, None, labels, kind=kind)
        loss.backward()
        assert loss.item() == 0
        assert torch.equal(weight.grad, torch.zeros_like(weight))

    def test_processes_weigh_every_pixel_alike(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The mean over two processes, as DDP forms it, is the loss of the joint batch."""
        embedding, labels = _random(2, D, 4, 5).requires_grad_(), _labels()
        labels[1, 4:] = 255
        space = _space()
        joint = space.loss(embedding, labels)
        joint_gradient = torch.autograd.grad(joint, embedding)[0]

        counts = (labels != 255).sum((1, 2))
        assert counts[0] > 3 * counts[1]
        distributed = torch.distributed
        monkeypatch.setattr(distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
        losses = []
        for rank in range(2):
            other = counts[1 - rank]
            monkeypatch.setattr(distributed, "all_reduce", lambda x, other=other: x.add_(other))
            losses.append(space.loss(embedding[rank : rank + 1], labels[rank : rank + 1]))
        mean = (losses[0] + losses[1]) / 2
        torch.testing.assert_close(mean, joint)
        torch.testing.assert_close(torch.autograd.grad(mean, embedding)[0], joint_gradient)


class TestRefusals:
    @pytest.mark.parametrize("wrong", [3, 254, -1, 65535])
    def test_a_label_outside_the_categories(self, wrong: int) -> None:
        labels = _labels()
        labels[1, 2, 3] = wrong
        with pytest.raises(ProLabError, match=rf"label {wrong} .* \[0, 3\)") as error:
            _space().loss(_random(2, D, 4, 5), labels)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("ignore_label", [0, 2])
    def test_an_ignore_label_that_is_a_category(self, ignore_label: int) -> None:
        labels = torch.zeros(2, 16, 20, dtype=torch.int64)
        with pytest.raises(ProLabError, match="ignore_label"):
            _space().loss(_random(2, D, 4, 5), labels, ignore_label=ignore_label)

    def test_the_number_of_categories_can_be_the_ignore_label(self) -> None:
        labels = _labels()
        other = labels.masked_fill(labels == 255, 3)
        embedding, space = _random(2, D, 4, 5), _space()
        expected = space.loss(embedding, labels, ignore_label=255)
        assert space.loss(embedding, other, ignore_label=3) == expected

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"kind": "focal"}, "cosine.*bce.*mse"),
            ({"unlabelled": "drop"}, "ignore.*count"),
        ],
    )
    def test_unknown_options(self, options: dict[str, str], reason: str) -> None:
        with pytest.raises(ProLabError, match=reason):
            _space().loss(_random(2, D, 4, 5), _labels(), **options)

    def test_cross_entropy_of_activations_that_are_no_probabilities(self) -> None:
        with pytest.raises(ProLabError, match="use the similarity 'cosine_sigmoid'"):
            _space(similarity="cosine").loss(_random(2, D, 4, 5), _labels(), kind="bce")

    @pytest.mark.parametrize("shape", [(2, 1, 16, 20), (3, 16, 20), (16, 20)])
    def test_labels_of_another_shape(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ProLabError, match="do not fit 2 images"):
            _space().loss(_random(2, D, 4, 5), torch.zeros(shape, dtype=torch.int64))
