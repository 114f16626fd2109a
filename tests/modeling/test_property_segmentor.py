from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.modeling import PropertySegmentor
from tests.conftest import tiny_scene

SUPERVISIONS = ["property", "category", "text"]


@pytest.fixture
def tiny_cfg(tiny_cfg: CfgNode, tiny_described_space_folder: Path) -> CfgNode:
    """With a label space that text supervision can use, too."""
    tiny_cfg.MODEL.PROLAB.LABEL_SPACE = str(tiny_described_space_folder)
    return tiny_cfg


def batch(size: tuple[int, int] = (48, 64), count: int = 2) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "image": torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8),
            "sem_seg": torch.randint(0, 5, size, generator=generator),
        }
        for _ in range(count)
    ]


def build(cfg: CfgNode, *overrides: object) -> PropertySegmentor:
    cfg.merge_from_list(list(overrides))
    torch.manual_seed(0)
    return build_model(cfg)


@pytest.mark.parametrize("supervision", SUPERVISIONS)
def test_every_parameter_learns(tiny_cfg: CfgNode, supervision: str) -> None:
    model = build(tiny_cfg, "MODEL.PROLAB.SUPERVISION", supervision).train()
    losses = model(batch())
    assert set(losses) == {f"loss_{supervision}", "loss_aux"}
    sum(losses.values()).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    # A convolution's effect on the mean is undone by the batch norm that follows it, never its
    # whole gradient: every parameter has one.
    assert without == []


def test_category_warm_up_teaches_categories_first_and_properties_later(tiny_cfg: CfgNode) -> None:
    model = build(tiny_cfg, "MODEL.PROLAB.CATEGORY_WARMUP_ITERS", 10).train()
    plain = build(tiny_cfg, "MODEL.PROLAB.CATEGORY_WARMUP_ITERS", 0).train()
    projections = {"projection", "aux_projection"}
    for warming, name, idle in (
        (True, "loss_category", projections),
        (False, "loss_property", {"category_projection", "aux_category_projection"}),
    ):
        model.zero_grad()
        model.in_category_warmup = warming
        losses = model(batch())
        assert set(losses) == {name, "loss_aux"}
        sum(losses.values()).backward()
        gradients = {n: p.grad for n, p in model.named_parameters()}
        assert all(gradient is not None for gradient in gradients.values()), "distributed training"
        still = {n.rpartition(".")[0] for n, g in gradients.items() if not g.abs().sum()}
        assert still == idle
    assert set(plain.state_dict()) == {
        name for name in model.state_dict() if "category_projection" not in name
    }


def test_the_loss_is_the_property_loss_of_the_projected_features(tiny_cfg: CfgNode) -> None:
    model = build(tiny_cfg, "MODEL.PROLAB.DROPOUT", 0.0).train()
    inputs = batch()
    losses = model(inputs)
    images = model._batch([model._normalise(one["image"]) for one in inputs]).tensor
    embedding = model.projection(model.decode_head(model.backbone(images)))
    labels = torch.full((2, *images.shape[-2:]), 255)
    labels[:, :48, :64] = torch.stack([one["sem_seg"] for one in inputs])
    expected = model.property_space.loss(embedding, labels, ignore_label=255)
    assert losses["loss_property"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("supervision", SUPERVISIONS)
def test_losses_have_their_weights(tiny_cfg: CfgNode, supervision: str) -> None:
    """0.4 for the auxiliary head; published code, which loses the weight, is 1.0."""
    options = ("MODEL.PROLAB.SUPERVISION", supervision, "MODEL.PROLAB.DROPOUT", 0.0)
    usual = build(tiny_cfg, *options).train()(batch())
    weights = ("MODEL.PROLAB.LOSS_WEIGHT", 3.0, "MODEL.AUX_HEAD.LOSS_WEIGHT", 1.0)
    other = build(tiny_cfg, *options, *weights).train()(batch())
    factors = {name: (other[name] / usual[name]).item() for name in usual}
    assert factors == pytest.approx({f"loss_{supervision}": 3.0, "loss_aux": 2.5}, rel=1e-5)


def test_padding_has_no_label(tiny_cfg: CfgNode) -> None:
    """An image that needs padding has the loss of its own pixels."""
    model = build(tiny_cfg, "MODEL.PROLAB.DROPOUT", 0.0).eval()
    one = batch((64, 64), 1)[0]
    padded = {
        "image": torch.full((3, 96, 64), 127, dtype=torch.uint8),
        "sem_seg": torch.full((96, 64), 255),
    }
    padded["image"][:, :64] = one["image"]
    padded["sem_seg"][:64] = one["sem_seg"]
    smaller = {"image": padded["image"][:, :70], "sem_seg": padded["sem_seg"][:70]}
    # The mean of this config is 127, so that both are padded with zeros after normalisation.
    assert model._losses([smaller])["loss_property"].item() == pytest.approx(
        model._losses([padded])["loss_property"].item(), rel=1e-5
    )


@pytest.mark.parametrize("supervision", SUPERVISIONS)
@pytest.mark.parametrize("windows", [False, True])
def test_labels_are_the_argmax_of_the_scores(
    tiny_cfg: CfgNode, supervision: str, windows: bool
) -> None:
    model = build(
        tiny_cfg,
        "MODEL.PROLAB.SUPERVISION", supervision,
        "TEST.SLIDING_WINDOW.ENABLED", windows,
        "TEST.SLIDING_WINDOW.CROP_SIZE", [40, 48],
        "TEST.SLIDING_WINDOW.STRIDE", [27, 30],
    ).eval()  # fmt: skip
    torch.nn.init.normal_(model.projection.weight)
    one = {**batch((50, 70), 1)[0], "height": 75, "width": 91}
    labels = model([one])[0]["labels"]
    model.output = "scores"
    scores = model([one])[0]["sem_seg"]
    assert labels.shape == (75, 91) and labels.dtype == torch.int64
    assert scores.shape == (5, 75, 91)
    assert torch.equal(scores.argmax(0), labels)
    assert len(labels.unique()) > 1


@pytest.mark.parametrize("supervision", SUPERVISIONS)
def test_views_are_averaged_as_probabilities(tiny_cfg: CfgNode, supervision: str) -> None:
    model = build(tiny_cfg, "MODEL.PROLAB.SUPERVISION", supervision, "TEST.OUTPUT", "scores").eval()
    torch.nn.init.normal_(model.projection.weight)
    images = [batch(size, 1)[0]["image"] for size in ((48, 64), (75, 99))]
    views = [{"image": image, "flip": False} for image in images]
    views += [{"image": image.flip(2), "flip": True} for image in images]
    one = {"image": images[0], "height": 60, "width": 81}

    def alone(image: torch.Tensor) -> torch.Tensor:
        return model([{**one, "image": image}])[0]["sem_seg"].softmax(0)

    expected = sum(alone(image) + alone(image.flip(2)).flip(2) for image in images) / 4
    assert torch.allclose(model([{**one, "views": views}])[0]["sem_seg"], expected, atol=1e-5)
    model.output, model.output_properties = "labels", supervision == "property"
    answer = model([{**one, "views": views}])[0]
    assert torch.equal(answer["labels"], model.predict_labels_of_views(views, (60, 81)))
    best = expected.topk(2, dim=0).values
    clear = best[0] - best[1] > 1e-4
    assert torch.equal(answer["labels"][clear], expected.argmax(0)[clear]) and clear.any()
    if supervision == "property":
        plain = model([one])[0]["properties"]
        assert torch.equal(answer["properties"], plain), "properties are those of the image itself"


@pytest.mark.parametrize("views", [False, True])
@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("supervision", SUPERVISIONS)
def test_background_wins_where_no_category_is_probable(
    tiny_cfg: CfgNode, supervision: str, windows: bool, views: bool
) -> None:
    model = build(
        tiny_cfg,
        "MODEL.PROLAB.SUPERVISION", supervision,
        "TEST.OUTPUT", "scores",
        "TEST.SLIDING_WINDOW.ENABLED", windows,
        "TEST.SLIDING_WINDOW.CROP_SIZE", [40, 48],
        "TEST.SLIDING_WINDOW.STRIDE", [27, 30],
    ).eval()  # fmt: skip
    torch.nn.init.normal_(model.projection.weight)
    one = {**batch((50, 70), 1)[0], "height": 75, "width": 91}
    if views:
        image = one["image"]
        one["views"] = [{"image": image, "flip": False}, {"image": image.flip(2), "flip": True}]
    plain = model([one])[0]["sem_seg"]
    plain = plain if views else plain.softmax(0)
    best, category = plain.max(0)
    model.background_threshold = 2 * best.median().item()
    assert model.categories == ("background", *model.label_space.categories)
    scores = model([one])[0]["sem_seg"]
    assert scores.shape == (6, 75, 91)
    assert torch.allclose(scores[1:], plain, atol=1e-6)
    model.output = "labels"
    labels = model([one])[0]["labels"]
    assert torch.equal(labels, scores.argmax(0))
    clear = (best - best.median()).abs() > 1e-5
    expected = torch.where(best < best.median(), 0, category + 1)
    assert torch.equal(labels[clear], expected[clear])
    assert 0.4 < (labels == 0).float().mean() < 0.6
    if not views:
        again = model.predict_labels(model.predict_logits(one["image"]), (75, 91))
        assert torch.equal(again[clear], labels[clear])


def test_scores_come_from_activations_and_signatures(tiny_cfg: CfgNode) -> None:
    model = build(tiny_cfg, "TEST.OUTPUT", "scores").eval()
    torch.nn.init.normal_(model.projection.weight)
    model.output_properties = model.output_unit_activations = True
    one = batch((64, 96), 1)[0]
    result = model([one])[0]
    activations, units = result["properties"], result["unit_activations"]
    assert activations.shape == units.shape == (12, 16, 24)
    assert activations.min() >= 0 and activations.max() <= 1
    expected = F.normalize(activations, dim=0)
    assert torch.allclose(units, expected, atol=1e-5)
    rows = F.normalize(torch.from_numpy(model.label_space.signatures).float(), dim=1)
    scores = F.interpolate(
        torch.einsum("nk,khw->nhw", rows, units)[None], (64, 96), mode="bilinear"
    )[0]
    assert torch.allclose(result["sem_seg"], scores, atol=1e-5)


def test_another_label_space_takes_the_place_of_the_configured(
    tiny_cfg: CfgNode, tiny_label_space: LabelSpace
) -> None:
    two = tiny_label_space.subset(("sky", "car"))
    model = PropertySegmentor(tiny_cfg, label_space=two)
    assert model.label_space.categories == ("sky", "car")
    assert np.array_equal(model.property_space.signatures.bool().numpy(), two.signatures)


def test_text_supervision_compares_embeddings_with_the_categories_sentences(
    tiny_cfg: CfgNode, tiny_described_space: LabelSpace
) -> None:
    options = ("MODEL.PROLAB.SUPERVISION", "text", "MODEL.PROLAB.TEXT_TEMPERATURE", 0.1)
    model = build(tiny_cfg, *options, "TEST.OUTPUT", "scores", "MODEL.PROLAB.DROPOUT", 0.0).eval()
    inputs = batch((64, 96))
    images = model._batch([model._normalise(one["image"]) for one in inputs]).tensor
    embedding = model.projection(model.decode_head(model.backbone(images)))
    assert embedding.shape == (2, 16, 16, 24)
    text = torch.tensor(tiny_described_space.category_embeddings)
    cosines = F.cosine_similarity(embedding[:, None], text[None, :, :, None, None], dim=2)
    logits = F.interpolate(cosines / 0.1, (64, 96), mode="bilinear")
    for one, expected in zip(model(inputs), logits, strict=True):
        assert torch.allclose(one["sem_seg"], expected, atol=1e-4)
    labels = torch.stack([one["sem_seg"] for one in inputs])
    expected = F.cross_entropy(logits, labels)
    assert model._losses(inputs)["loss_text"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert not [name for name in model.state_dict() if "text" in name]


def test_text_supervision_needs_sentences(tiny_cfg: CfgNode, tiny_label_space: LabelSpace) -> None:
    tiny_cfg.MODEL.PROLAB.SUPERVISION = "text"
    with pytest.raises(ProLabError, match="has no embeddings of its sentences.*build it"):
        PropertySegmentor(tiny_cfg, label_space=tiny_label_space)


def test_text_supervision_learns(tiny_cfg: CfgNode) -> None:
    model = build(tiny_cfg, "MODEL.PROLAB.SUPERVISION", "text", "MODEL.PROLAB.DROPOUT", 0.0).train()
    rng = np.random.default_rng(0)
    inputs = [
        {
            "image": torch.from_numpy(image.transpose(2, 0, 1).copy()),
            "sem_seg": torch.from_numpy(mask.astype(np.int64)),
        }
        for image, mask in (tiny_scene(rng) for _ in range(2))
    ]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    for _ in range(40):
        optimizer.zero_grad()
        sum(model(inputs).values()).backward()
        optimizer.step()
    answers = model.eval()(inputs)
    right = [
        (answer["labels"] == one["sem_seg"])[one["sem_seg"] != 255].float().mean().item()
        for answer, one in zip(answers, inputs, strict=True)
    ]
    assert min(right) > 0.9


def test_no_label_at_all_gives_a_finite_loss_without_gradient(tiny_cfg: CfgNode) -> None:
    for supervision in SUPERVISIONS:
        model = build(tiny_cfg, "MODEL.PROLAB.SUPERVISION", supervision).train()
        inputs = [{**one, "sem_seg": torch.full((48, 64), 255)} for one in batch()]
        total = sum(model(inputs).values())
        total.backward()
        assert total.item() == 0
        assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.PROLAB.SUPERVISION", "pixel"),
        ("MODEL.PROLAB.LOSS", "dice"),
        ("MODEL.PROLAB.UNLABELLED", "drop"),
        ("TEST.OUTPUT", "mask"),
    ],
)
def test_unknown_options_are_named(tiny_cfg: CfgNode, key: str, value: str) -> None:
    with pytest.raises(ProLabError, match=f"{key} is '{value}'"):
        build(tiny_cfg, key, value)


@pytest.mark.parametrize("supervision", SUPERVISIONS)
def test_only_features_are_half_under_autocast(tiny_cfg: CfgNode, supervision: str) -> None:
    """Logits and losses are those of the same features in float32."""
    model = build(tiny_cfg, "MODEL.PROLAB.SUPERVISION", supervision).eval()  # no dropout
    torch.nn.init.normal_(model.projection.weight)
    features = torch.randn(2, 16, 12, 16).bfloat16()
    model.decode_head.forward = lambda _: features
    model.backbone.forward = lambda images: None
    labels = torch.stack([one["sem_seg"] for one in batch()])
    expected = model._head_loss(features.float(), model.projection, None, labels)
    logits = model._logits(torch.zeros(2, 3, 48, 64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model._head_loss(features, model.projection, None, labels)
        under_autocast = model._logits(torch.zeros(2, 3, 48, 64))
    assert loss.dtype == under_autocast.dtype == torch.float32
    assert torch.equal(under_autocast, logits)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("declared", [None, 7])
def test_the_ignore_label_is_that_of_the_training_data(
    tiny_cfg: CfgNode, tmp_path: Path, declared: int | None
) -> None:
    """Also where the test data has another one, or the training data declares none."""
    train, test = (f"{split}_{tmp_path.name}" for split in ("train", "test"))
    MetadataCatalog.get(test).ignore_label = 99
    if declared is not None:
        MetadataCatalog.get(train).ignore_label = declared
    tiny_cfg.DATASETS.TRAIN, tiny_cfg.DATASETS.TEST = (train,), (test,)
    assert build(tiny_cfg).ignore_label == (255 if declared is None else declared)


def test_the_same_weights_answer_in_other_categories(tiny_cfg: CfgNode) -> None:
    model = build(tiny_cfg).eval()
    torch.nn.init.normal_(model.projection.weight)
    names = ["car", "sky", "sign symbol", "fence", "meadow"]
    other = model.with_label_space(model.label_space.subset(names))
    before, after = model(batch())[0]["labels"], other(batch())[0]["labels"]
    order = torch.tensor([model.label_space.categories.index(name) for name in names])
    assert len(before.unique()) > 1 and torch.equal(order[after], before)
    assert other.projection is model.projection
    few = model.with_label_space(model.label_space.subset(["fence"]))
    assert few(batch())[0]["labels"].max() == 0
    assert torch.equal(model(batch())[0]["labels"], before), "the first one stays as it is"


def test_other_categories_need_properties_of_the_same_width(tiny_cfg: CfgNode) -> None:
    wide = LabelSpace.from_arrays(["a"], np.ones((2, 20)), [[1, 1]])
    with pytest.raises(ProLabError, match="embeddings of 20 numbers and the network gives 16"):
        build(tiny_cfg).with_label_space(wide)
    one_hot = build(tiny_cfg, "MODEL.PROLAB.SUPERVISION", "category")
    with pytest.raises(ProLabError, match="not 'a', MODEL.PROLAB.SUPERVISION is 'category'"):
        one_hot.with_label_space(LabelSpace.from_arrays(["a"], np.ones((2, 16)), [[1, 1]]))


def test_a_one_hot_network_answers_with_some_of_its_categories(tiny_cfg: CfgNode) -> None:
    model = build(tiny_cfg, "MODEL.PROLAB.SUPERVISION", "category", "TEST.OUTPUT", "scores").eval()
    torch.nn.init.normal_(model.projection.weight)
    some = model.with_label_space(model.label_space.subset(["car", "sky"]))
    whole, part = model(batch())[0]["sem_seg"], some(batch())[0]["sem_seg"]
    torch.testing.assert_close(part, whole[[3, 0]])


def test_text_embeddings_of_other_categories_take_the_place_of_the_trained_ones(
    tiny_cfg: CfgNode, tiny_described_space_folder: Path
) -> None:
    tiny_cfg.MODEL.PROLAB.LABEL_SPACE = str(tiny_described_space_folder)
    model = build(tiny_cfg, "MODEL.PROLAB.SUPERVISION", "text").eval()
    torch.nn.init.normal_(model.projection.weight)
    names = model.label_space.categories[::-1]
    other = model.with_label_space(model.label_space.subset(names))
    before, after = model(batch())[0]["labels"], other(batch())[0]["labels"]
    assert len(before.unique()) > 1 and torch.equal(len(names) - 1 - after, before)


def test_a_convex_combination_answers_with_some_of_its_categories(tiny_cfg: CfgNode) -> None:
    """As where one of several data sets lacks a category of the test."""
    model = build(tiny_cfg, "MODEL.PROLAB.SUPERVISION", "category", "TEST.OUTPUT", "scores").eval()
    torch.nn.init.normal_(model.projection.weight)
    all_categories = model.with_convex_combination(model.label_space)
    part = model.label_space.subset(["car", "sky"])
    expected = all_categories(batch())[0]["sem_seg"][[3, 0]]
    for some in (
        all_categories.with_label_space(part),
        all_categories.with_convex_combination(part),
    ):
        torch.testing.assert_close(some(batch())[0]["sem_seg"], expected)
        again = some.with_convex_combination(model.label_space)
        torch.testing.assert_close(again(batch())[0]["sem_seg"][[3, 0]], expected)
