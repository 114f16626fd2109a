from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from PIL import Image

from prolab_d2 import LabelSpace, Predictor, ProLabError
from prolab_d2.checkpoint import PropertyCheckpointer
from prolab_d2.data import PropertyDatasetMapper, register_folder
from prolab_d2.label_space import build_label_space
from prolab_d2.modeling import PropertySegmentor
from tests.conftest import make_tiny_cfg, save_tiny_checkpoint
from tests.label_space.conftest import WordEncoder


@pytest.fixture(scope="module")
def category_predictor(
    tiny_label_space_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Predictor:
    """Of a checkpoint with one-hot supervision."""
    folder = tmp_path_factory.mktemp("category")
    cfg = make_tiny_cfg(tiny_label_space_folder, folder)
    cfg.MODEL.PROLAB.SUPERVISION = "category"
    return Predictor.from_checkpoint(save_tiny_checkpoint(cfg, folder))


def test_path_pillow_image_and_array_give_the_same(
    predictor: Predictor, image: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(image).save(tmp_path / "image.png")
    expected = predictor(image).labels
    for given in (tmp_path / "image.png", str(tmp_path / "image.png"), Image.fromarray(image)):
        assert (predictor(given).labels == expected).all()


@pytest.mark.parametrize("color_order", ["RGB", "BGR"])
@pytest.mark.parametrize("augmented", [False, True])
def test_labels_are_those_of_evaluation(
    tiny_cfg: CfgNode,
    tiny_dataset_folder: Path,
    tmp_path: Path,
    color_order: str,
    augmented: bool,
) -> None:
    names = register_folder(tiny_dataset_folder)
    tiny_cfg.TEST.AUG.ENABLED = augmented
    tiny_cfg.TEST.AUG.MIN_SIZES = (40, 90)
    tiny_cfg.INPUT.FORMAT = color_order
    tiny_cfg.INPUT.MIN_SIZE_TEST = 75
    tiny_cfg.DATASETS.TEST = (names["val"],)
    predictor = Predictor.from_checkpoint(save_tiny_checkpoint(tiny_cfg, tmp_path))
    mapper = PropertyDatasetMapper(tiny_cfg, False)
    file = tiny_dataset_folder / "images/val/0.png"
    with torch.no_grad():
        expected = predictor.model([mapper({"file_name": str(file)})])[0]["labels"]
    assert (predictor(file).labels == expected.numpy()).all()


def test_the_checkpoint_alone_is_enough(
    tiny_label_space: LabelSpace, image: np.ndarray, tmp_path: Path
) -> None:
    tiny_label_space.save(tmp_path / "space")
    cfg = make_tiny_cfg(tmp_path / "space", tmp_path)
    checkpoint = save_tiny_checkpoint(cfg, tmp_path)
    shutil.rmtree(tmp_path / "space")
    prediction = Predictor.from_checkpoint(checkpoint)(image)
    assert prediction.label_space.hash == tiny_label_space.hash
    assert prediction.explain(3, 4).evidence


def test_colors_come_from_the_data_set_where_it_is_known(
    tiny_cfg: CfgNode, tiny_dataset_folder: Path, tmp_path: Path
) -> None:
    (tiny_dataset_folder / "categories.txt").write_text(
        "sky #010203\nmeadow\nfence\ncar\nsign symbol\n"
    )
    names = register_folder(tiny_dataset_folder)
    tiny_cfg.DATASETS.TEST = (names["val"],)
    predictor = Predictor.from_checkpoint(save_tiny_checkpoint(tiny_cfg, tmp_path))
    assert tuple(predictor.metadata.stuff_colors[0]) == (1, 2, 3)
    assert len(predictor.metadata.stuff_colors) == 5


def test_colors_of_a_checkpoint_come_before_those_of_a_data_set_of_the_same_name(
    tiny_cfg: CfgNode, tmp_path: Path
) -> None:
    tiny_cfg.DATASETS.TEST = ("camvid_sem_seg_val",)
    colors = [[i, 100 + i, 200] for i in range(5)]
    model = PropertySegmentor(tiny_cfg)
    PropertyCheckpointer(model, str(tmp_path), config=tiny_cfg.dump(), colors=colors).save("own")
    predictor = Predictor.from_checkpoint(tmp_path / "own.pth")
    assert list(map(list, predictor.metadata.stuff_colors)) == colors


def test_unknown_data_sets_stay_unknown(tiny_cfg: CfgNode, tmp_path: Path) -> None:
    tiny_cfg.DATASETS.TEST = ("never_seen_sem_seg_val",)
    predictor = Predictor.from_checkpoint(save_tiny_checkpoint(tiny_cfg, tmp_path))
    assert list(predictor.metadata.stuff_classes) == list(predictor.label_space.categories)
    assert not MetadataCatalog.get("never_seen_sem_seg_val").get("stuff_classes")


def test_images_are_turned_upright(predictor: Predictor, image: np.ndarray, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(image).save(tmp_path / "turned.jpg", exif=exif)
    with Image.open(tmp_path / "turned.jpg") as turned:
        from_pillow = predictor(turned)
    assert from_pillow.labels.shape == (80, 64)
    assert (predictor(tmp_path / "turned.jpg").labels == from_pillow.labels).all()


def test_grey_images_of_16_bits_are_scaled(predictor: Predictor, image: np.ndarray) -> None:
    grey = image[..., 0]
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    assert (predictor(wide).image == grey[..., None]).all()


def test_grey_and_transparent_images_are_read(predictor: Predictor, image: np.ndarray) -> None:
    for mode in ("L", "RGBA", "P"):
        assert predictor(Image.fromarray(image).convert(mode)).labels.shape == (64, 80)


@pytest.fixture(scope="module")
def text_checkpoint(
    tiny_described_space_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """With text supervision, untrained."""
    folder = tmp_path_factory.mktemp("text")
    cfg = make_tiny_cfg(tiny_described_space_folder, folder)
    cfg.MODEL.PROLAB.SUPERVISION = "text"
    return save_tiny_checkpoint(cfg, folder)


@pytest.mark.parametrize("supervision", ["category", "text"])
def test_baselines_give_labels_but_explain_nothing(
    category_predictor: Predictor, text_checkpoint: Path, image: np.ndarray, supervision: str
) -> None:
    if supervision == "text":
        category_predictor = Predictor.from_checkpoint(text_checkpoint, "cpu")
    prediction = category_predictor(image)
    assert len(np.unique(prediction.labels)) > 1
    assert prediction.labels.shape == (64, 80)
    assert not prediction.has_properties
    prediction.draw()
    for ask in (
        lambda: prediction.explain(0, 0),
        lambda: prediction.properties,
        lambda: prediction.unit_activations,
        category_predictor.require_properties,
    ):
        with pytest.raises(ProLabError, match="no properties to explain with"):
            ask()


def test_text_supervision_takes_other_categories_without_training(
    text_checkpoint: Path, tiny_described_space: LabelSpace, image: np.ndarray, tmp_path: Path
) -> None:
    """The same categories in another order, and one that lies beside none of them."""
    before = Predictor.from_checkpoint(text_checkpoint, "cpu")(image).labels
    order = ["car", "sky", "sign symbol", "meadow", "fence"]
    other = tiny_described_space.subset(order)
    away = -other.category_embeddings.mean(axis=0, keepdims=True)
    LabelSpace.from_arrays(
        [*order, "new"],
        other.bank,
        np.concatenate([other.signatures, other.signatures[:1]]),
        descriptions={**other.descriptions, "new": ["unlike the others"]},
        embeddings=np.concatenate([other.embeddings, away]),
    ).save(tmp_path / "other")
    overrides = ["MODEL.PROLAB.LABEL_SPACE", str(tmp_path / "other")]
    overrides += ["MODEL.PROLAB.ALLOW_OTHER_LABEL_SPACE", "True"]
    prediction = Predictor.from_checkpoint(text_checkpoint, "cpu", overrides)(image)
    assert prediction.categories == (*order, "new")
    places = np.array([order.index(name) for name in tiny_described_space.categories])
    trained = prediction.labels < 5
    assert trained.any() and (prediction.labels[trained] == places[before][trained]).all()


def test_overrides_change_the_config_of_the_checkpoint(
    tiny_checkpoint: Path, image: np.ndarray
) -> None:
    larger = Predictor.from_checkpoint(tiny_checkpoint, "cpu", ["INPUT.MIN_SIZE_TEST", "96"])
    assert larger(image).properties.shape == (12, 24, 30)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["MODEL.NO_SUCH_KEY", "1"], "NO_SUCH_KEY"),
        (["MODEL.DECODE_HEAD.CHANNELS", "24"], "belongs to another network"),
        (["MODEL.PROLAB.LABEL_SPACE", "/no/such/folder"], "/no/such/folder"),
    ],
)
def test_overrides_that_do_not_fit_are_one_sentence(
    tiny_checkpoint: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(ProLabError, match=message):
        Predictor.from_checkpoint(tiny_checkpoint, "cpu", overrides)


def test_another_label_space_is_an_explicit_option(
    tiny_checkpoint: Path, tiny_label_space: LabelSpace, image: np.ndarray, tmp_path: Path
) -> None:
    tiny_label_space.subset(["car", "sky"]).save(tmp_path / "two")
    overrides = ["MODEL.PROLAB.LABEL_SPACE", str(tmp_path / "two")]
    with pytest.raises(ProLabError, match="trained with another label space"):
        Predictor.from_checkpoint(tiny_checkpoint, "cpu", overrides)
    overrides += ["MODEL.PROLAB.ALLOW_OTHER_LABEL_SPACE", "True"]
    prediction = Predictor.from_checkpoint(tiny_checkpoint, "cpu", overrides)(image)
    assert prediction.categories == ("car", "sky")
    assert prediction.labels.max() <= 1


def test_checkpoints_that_cannot_be_used_are_one_sentence(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(tiny_checkpoint.read_bytes()[:5000])
    weights = tmp_path / "weights.pth"
    torch.save({"model": {"a": torch.zeros(1)}}, weights)
    for path, message in (
        (tmp_path / "missing.pth", "does not exist"),
        (damaged, "cannot be read"),
        (weights, "weights only"),
    ):
        with pytest.raises(ProLabError, match=message):
            Predictor.from_checkpoint(path)


def test_a_device_that_is_not_there_is_one_sentence(tiny_checkpoint: Path) -> None:
    with pytest.raises(ProLabError, match="device 'gpu' cannot be used"):
        Predictor.from_checkpoint(tiny_checkpoint, "gpu")


def test_images_that_cannot_be_used_are_one_sentence(
    predictor: Predictor, image: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(image).save(tmp_path / "whole.png")
    cut = tmp_path / "cut.png"
    cut.write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    for given, message in (
        (tmp_path / "missing.png", "missing image"),
        (cut, "unreadable image"),
        (Image.open(cut), "unreadable image"),
        (image.astype(np.float32), "an image of float32"),
        ([[1, 2]], "an image of list"),
        (image[:, :, 0], r"shape \(64, 80\)"),
        (image[:0], "shape"),
    ):
        with pytest.raises(ProLabError, match=message):
            predictor(given)


def test_new_categories_join_the_trained_ones(
    tiny_cfg: CfgNode, image: np.ndarray, tmp_path: Path
) -> None:
    encoder = WordEncoder(16)
    sentences = {
        "sky": ["blue and far away", "wide and even"],
        "meadow": ["wide and even ground", "green blades of grass"],
        "fence": ["thin upright bars", "painted metal"],
    }
    build_label_space(sentences, encoder, 4).save(tmp_path / "space")
    tiny_cfg.MODEL.PROLAB.LABEL_SPACE = str(tmp_path / "space")
    predictor = Predictor.from_checkpoint(save_tiny_checkpoint(tiny_cfg, tmp_path), "cpu")
    before = predictor(image)
    new = {"lawn": ["green blades of grass"], "rail": ["thin upright bars", "metal"]}
    both = predictor.with_vocabulary(new, encoder)
    assert both.model.projection is predictor.model.projection
    after = both(image)
    assert after.categories == ("sky", "meadow", "fence", "lawn", "rail")
    assert after.metadata.stuff_colors[:3] == before.metadata.stuff_colors
    assert len(set(after.metadata.stuff_colors)) == 5
    # Scores of trained categories are the same, so new labels are only where new ones win.
    stays = after.labels < 3
    np.testing.assert_array_equal(after.labels[stays], before.labels[stays])
    assert after.explain(10, 10, "lawn").category == "lawn"
    np.testing.assert_array_equal(predictor(image).labels, before.labels)

    # Nothing new, so that no encoder is needed, whatever the sentences say.
    few = predictor.with_vocabulary({"fence": ["unheard of"], "Sky": ["!"]}, only=True)
    assert few(image).categories == ("fence", "Sky")
    assert few.metadata.stuff_colors == [before.metadata.stuff_colors[i] for i in (2, 0)]
    for options, words in (
        ((new,), "encoder of the label space, 'words of 16'"),
        (({"FENCE": ["a"]}, encoder), "'FENCE' already"),
        (({}, encoder), "at least one category"),
        ((new, WordEncoder(24)), "made with the encoder 'words of 16', not with 'words of 24'"),
    ):
        with pytest.raises(ProLabError, match=words):
            predictor.with_vocabulary(*options)


def test_one_hot_networks_take_no_new_categories(tiny_cfg: CfgNode, tmp_path: Path) -> None:
    tiny_cfg.MODEL.PROLAB.SUPERVISION = "category"
    predictor = Predictor.from_checkpoint(save_tiny_checkpoint(tiny_cfg, tmp_path), "cpu")
    assert predictor.with_vocabulary({"sky": ["blue"]}, only=True).label_space.categories == (
        "sky",
    )
    space = predictor.label_space
    renamed = LabelSpace.from_arrays(["kite", *space.categories[1:]], space.bank, space.signatures)
    with pytest.raises(ProLabError, match="only the categories that it was trained with"):
        predictor.model.with_label_space(renamed)
