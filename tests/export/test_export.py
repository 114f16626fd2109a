"""Exported files against the model that they were made from."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from detectron2.config import CfgNode
from PIL import Image

from prolab_d2 import LabelSpace, Predictor, ProLabError
from prolab_d2.export import OnnxModel, TorchModel, export_checkpoint, formats
from prolab_d2.label_space.property_weights import write_property_weights
from tests.conftest import make_tiny_cfg, save_tiny_checkpoint, tiny_scene

GUIDE = Path(__file__).resolve().parents[2] / "projects/ProLab/EXPORT.md"
SIZES = [(64, 96), (160, 64)]


def noise(size: tuple[int, int], batch: int = 1) -> np.ndarray:
    """(B, 3, H, W) uint8."""
    return np.random.default_rng(3).integers(0, 256, (batch, 3, *size), dtype=np.uint8)


def expected(checkpoint: Path, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Scores (N, H, W) and activations (K, h, w) by the way of evaluation."""
    model = Predictor.from_checkpoint(checkpoint, "cpu", ["TEST.OUTPUT", "scores"]).model
    model.output_properties = True
    order = [0, 1, 2]
    if "FORMAT: BGR" in torch.load(checkpoint, weights_only=True)["prolab"]["config"]:
        order = [2, 1, 0]
    answer = model([{"image": torch.from_numpy(image[order])}])[0]
    properties = answer.get("properties")
    return answer["sem_seg"].numpy(), None if properties is None else properties.numpy()


def resized(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return torch.nn.functional.interpolate(
        torch.from_numpy(scores), size, mode="bilinear", align_corners=False
    ).numpy()


@pytest.fixture(scope="module")
def dynamic_onnx(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export_checkpoint(tiny_checkpoint, path, dynamic=True)
    return path


@pytest.fixture
def adapter_checkpoint(
    tiny_label_space_folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Path:
    """Of a small adapter: the parameter is "vit", "windows" (a ViT with some) or "beit"."""
    cfg = make_tiny_cfg(tiny_label_space_folder, tmp_path)
    kind = "beit" if request.param == "beit" else "vit"
    node = cfg.MODEL[f"{kind.upper()}_ADAPTER"]
    node.EMBED_DIM, node.DEPTH, node.NUM_HEADS, node.DEFORM_NUM_HEADS = 24, 4, 3, 3
    node.CONV_INPLANE, node.NORM, node.INIT_VALUES = 4, "BN", 0.1
    if request.param == "vit":
        node.PRETRAIN_SIZE = 64
    elif request.param == "windows":  # that do not fill the grid, and none
        node.PRETRAIN_SIZE = 64
        node.WINDOW_SIZES = [3, 0, 3, 0]
    else:
        node.IMG_SIZE = [64, 96]
    cfg.MODEL.BACKBONE.NAME = f"build_{kind}_adapter_backbone"
    # 6 pools over fewer cells, and over a number that 6 does not divide.
    cfg.MODEL.DECODE_HEAD.POOL_SCALES = [1, 2, 3, 6]
    path = save_tiny_checkpoint(cfg, tmp_path)
    data = torch.load(path, weights_only=True)
    generator = torch.Generator().manual_seed(1)
    for name, tensor in data["model"].items():
        # Embeddings and tables begin at zero, which would hide what they do.
        if "embed" in name or "table" in name or "sampling_offsets" in name:
            tensor += torch.randn(tensor.shape, generator=generator) * 0.3
        # Logits of usual size: the temperature of 0.04 multiplies rounding errors.
        elif name.startswith("projection"):
            tensor *= 0.03
    torch.save(data, path)
    return path


@pytest.mark.parametrize("size", SIZES)
def test_onnx_of_any_size_answers_as_the_model_does(
    dynamic_onnx: Path, tiny_checkpoint: Path, size: tuple[int, int]
) -> None:
    images = noise(size, batch=2)
    scores, properties = OnnxModel(dynamic_onnx)(images)
    assert scores.shape == (2, 5, size[0] // 4, size[1] // 4)
    assert properties.shape == (2, 12, size[0] // 4, size[1] // 4)
    for i, image in enumerate(images):
        right_scores, right_properties = expected(tiny_checkpoint, image)
        np.testing.assert_allclose(properties[i], right_properties, atol=1e-4)
        np.testing.assert_allclose(resized(scores[i : i + 1], size)[0], right_scores, atol=1e-4)
    assert np.ptp(properties) > 0.5  # the comparison is not one of constants


def test_torch_export_of_any_size_answers_as_the_model_does(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt2"
    export_checkpoint(tiny_checkpoint, path, dynamic=True, resize=True, input_type="float32")
    model = TorchModel(path)
    for size in SIZES:
        image = noise(size).astype(np.float32)
        scores, properties = model(image)
        right_scores, right_properties = expected(tiny_checkpoint, image[0])
        np.testing.assert_allclose(scores[0], right_scores, atol=1e-4)
        np.testing.assert_allclose(properties[0], right_properties, atol=1e-4)
    assert model.metadata["resized"] and model.metadata["input_type"] == "float32"
    # Neither what only training uses, nor what projection and bank have been folded into.
    names = list(model.module.state_dict())
    assert not [name for name in names if name.startswith(("aux", "model", "category"))]
    assert model.module.state_dict()["projection.weight"].shape[0] == 12


@pytest.mark.parametrize("suffix", [".pt2", pytest.param(".onnx", marks=pytest.mark.slow)])
def test_labels_of_a_fixed_odd_size_are_those_of_the_predictor(
    tiny_cfg: CfgNode, tmp_path: Path, suffix: str
) -> None:
    tiny_cfg.INPUT.FORMAT = "BGR"
    tiny_cfg.MODEL.PIXEL_MEAN = [90.0, 127.0, 140.0]
    tiny_cfg.INPUT.MIN_SIZE_TEST, tiny_cfg.INPUT.MAX_SIZE_TEST = 45, 77
    checkpoint = save_tiny_checkpoint(tiny_cfg, tmp_path)
    path = tmp_path / f"labels{suffix}"
    export_checkpoint(checkpoint, path, size=(45, 77), output_kind="labels")
    model = formats.SUFFIXES[suffix](path)
    image = np.ascontiguousarray(tiny_scene(np.random.default_rng(5))[0][:45, :77])
    labels, properties = model(image.transpose(2, 0, 1)[None].copy())
    prediction = Predictor.from_checkpoint(checkpoint, "cpu")(image)
    assert prediction.labels.shape == (45, 77) and len(np.unique(labels)) > 1
    assert labels.dtype == np.int64
    assert (labels[0] == prediction.labels).mean() > 0.999
    assert properties.shape == (1, 12, 12, 20)
    assert model.metadata["pixel_mean"] == [140.0, 127.0, 90.0]  # RGB
    assert model.metadata["outputs"] == ["labels", "properties"]


def test_the_file_says_what_is_needed_to_use_it(
    dynamic_onnx: Path, tiny_label_space: LabelSpace
) -> None:
    onnx.checker.check_model(dynamic_onnx)
    model = OnnxModel(dynamic_onnx)
    assert [entry.name for entry in model.session.get_inputs()] == ["image"]
    assert [entry.name for entry in model.session.get_outputs()] == ["scores", "properties"]
    assert {(entry.domain, entry.version) for entry in onnx.load(dynamic_onnx).opset_import} == {
        ("", 18)
    }
    about = model.metadata
    assert about["categories"] == list(tiny_label_space.categories)
    assert about["properties"] == [entry.name for entry in tiny_label_space.properties]
    assert about["signatures"][1] == [1, 2, 3]
    assert about["label_space_hash"] == tiny_label_space.hash
    assert np.array(about["colors"]).shape == (5, 3)
    assert about["pixel_format"] == "RGB" and about["input_type"] == "uint8"
    assert about["pixel_mean"] == [127.0] * 3
    assert about["size"] is None and about["size_divisibility"] == 32 and about["stride"] == 4
    assert (about["min_size_test"], about["max_size_test"]) == (64, 128)
    assert about["temperature"] == 0.04 and about["similarity"] == "cosine_sigmoid"
    assert about["property_weights"] is None


@pytest.mark.parametrize("suffix", [".pt2", pytest.param(".onnx", marks=pytest.mark.slow)])
def test_weights_of_the_properties_are_in_the_file(
    tiny_checkpoint: Path, tiny_label_space: LabelSpace, tmp_path: Path, suffix: str
) -> None:
    weights = np.array([1, 0.5, 0.2, 1, 0, 0.7, 1, 0.3, 0.9, 0, 1, 0.1])
    write_property_weights(tmp_path / "weights.json", tiny_label_space, weights)
    overrides = ["MODEL.PROLAB.PROPERTY_WEIGHTS", str(tmp_path / "weights.json")]
    path = tmp_path / f"model{suffix}"
    export_checkpoint(tiny_checkpoint, path, size=(64, 96), resize=True, overrides=overrides)
    model = formats.SUFFIXES[suffix](path)
    assert model.metadata["property_weights"] == pytest.approx(weights)
    image = noise((64, 96))
    scores, properties = model(image)
    # By their formula, from the activations in the file, which have no weights.
    signatures = np.zeros((5, 12))
    for row, places in zip(signatures, model.metadata["signatures"], strict=True):
        row[places] = 1
    a, y = np.moveaxis(properties[0], 0, -1) * weights, signatures * weights
    lengths = np.linalg.norm(a, axis=-1)[..., None] * np.linalg.norm(y, axis=1)
    cosine = resized(np.moveaxis(a @ y.T / lengths, -1, 0)[None], (64, 96))
    np.testing.assert_allclose(scores, cosine, atol=1e-5)
    _, plain = expected(tiny_checkpoint, image[0])
    np.testing.assert_allclose(properties[0], plain, atol=1e-4)
    # The labels are those of PyTorch with the weights, and not those without.
    rgb = np.ascontiguousarray(image[0].transpose(1, 2, 0))
    labels, equal = (
        Predictor.from_checkpoint(tiny_checkpoint, "cpu", options)(rgb).labels
        for options in (overrides, [])
    )
    assert (scores[0].argmax(axis=0) == labels).mean() > 0.999
    assert (labels != equal).mean() > 0.05


def test_the_example_of_the_guide_runs(
    dynamic_onnx: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if "onnxruntime" in block]
    (tmp_path / "model.onnx").write_bytes(dynamic_onnx.read_bytes())
    image = tiny_scene(np.random.default_rng(5))[0]
    Image.fromarray(image).save(tmp_path / "street.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code, names)
    assert names["labels"].shape == (16, 16)  # 64 x 80 becomes 64 x 64
    assert "meadow" in capsys.readouterr().out


@pytest.mark.slow
def test_a_checkpoint_with_category_supervision(tiny_cfg: CfgNode, tmp_path: Path) -> None:
    tiny_cfg.MODEL.PROLAB.SUPERVISION = "category"
    checkpoint = save_tiny_checkpoint(tiny_cfg, tmp_path)
    for suffix in formats.SUFFIXES:
        path = tmp_path / f"model{suffix}"
        export_checkpoint(checkpoint, path, size=(64, 96), resize=True)
        model = formats.SUFFIXES[suffix](path)
        (scores,) = model(noise((64, 96)))
        right, _ = expected(checkpoint, noise((64, 96))[0])
        np.testing.assert_allclose(scores[0], right, atol=1e-4 * np.abs(right).max())
        assert model.metadata["outputs"] == ["scores"]
        assert "properties" not in model.metadata


@pytest.mark.slow
def test_embeddings_that_are_normalised(tiny_cfg: CfgNode, tmp_path: Path) -> None:
    tiny_cfg.MODEL.PROLAB.NORMALIZE_EMBEDDING = True
    checkpoint = save_tiny_checkpoint(tiny_cfg, tmp_path)
    export_checkpoint(checkpoint, tmp_path / "model.onnx", size=(64, 96), resize=True)
    scores, properties = OnnxModel(tmp_path / "model.onnx")(noise((64, 96)))
    right_scores, right_properties = expected(checkpoint, noise((64, 96))[0])
    np.testing.assert_allclose(scores[0], right_scores, atol=1e-4)
    np.testing.assert_allclose(properties[0], right_properties, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("adapter_checkpoint", ["vit"], indirect=True)
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_vit_adapter_of_any_size(adapter_checkpoint: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    export_checkpoint(adapter_checkpoint, path, dynamic=True, resize=True)
    model = formats.SUFFIXES[suffix](path)
    for size in [(64, 96), (224, 160), (64, 64)]:
        image = noise(size)
        scores, properties = model(image)
        right_scores, right_properties = expected(adapter_checkpoint, image[0])
        np.testing.assert_allclose(scores[0], right_scores, atol=1e-4)
        np.testing.assert_allclose(properties[0], right_properties, atol=1e-4)
        assert np.ptp(properties) > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("adapter_checkpoint", ["windows", "beit"], indirect=True)
def test_adapters_of_a_fixed_size_that_is_filled_up(
    adapter_checkpoint: Path, tmp_path: Path
) -> None:
    export_checkpoint(adapter_checkpoint, tmp_path / "model.onnx", size=(60, 90), resize=True)
    image = noise((60, 90))
    scores, _ = OnnxModel(tmp_path / "model.onnx")(image)
    right, _ = expected(adapter_checkpoint, image[0])
    np.testing.assert_allclose(scores[0], right, atol=1e-4)


@pytest.mark.parametrize("adapter_checkpoint", ["beit"], indirect=True)
def test_beit_has_one_size(adapter_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ProLabError, match="images of 64 x 96 pixels only.*--size 64 96"):
        export_checkpoint(adapter_checkpoint, tmp_path / "model.pt2", dynamic=True)
    with pytest.raises(ProLabError, match="96 x 96 is larger than IMG_SIZE"):
        export_checkpoint(adapter_checkpoint, tmp_path / "model.pt2", size=(96, 96))
    assert not list(tmp_path.glob("*.pt2"))


@pytest.mark.parametrize("adapter_checkpoint", ["windows"], indirect=True)
def test_attention_in_windows_has_one_size(adapter_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ProLabError, match="attends in windows .*export it with --size H W"):
        export_checkpoint(adapter_checkpoint, tmp_path / "model.pt2", dynamic=True)


@pytest.mark.slow
def test_large_weights_lie_beside_the_file(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "MOST_BYTES", 1000)
    (tmp_path / "first").mkdir()
    path = tmp_path / "first/model.onnx"
    export_checkpoint(tiny_checkpoint, path, size=(64, 64))
    assert sorted(file.name for file in path.parent.iterdir()) == ["model.onnx", "model.onnx.data"]
    path.parent.rename(tmp_path / "moved")
    scores, _ = OnnxModel(tmp_path / "moved/model.onnx")(noise((64, 64)))
    assert scores.shape == (1, 5, 16, 16)
