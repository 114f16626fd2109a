"""The text encoder of a CLIP: a tiny random one, as `transformers` saves it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from prolab_d2 import ProLabError
from prolab_d2.label_space.embedding import load_encoder
from tests.golden import REPOSITORY

if TYPE_CHECKING:
    from transformers import CLIPModel

pytest.importorskip("transformers", reason="needs transformers: pip install transformers")

LINES = ["green leaves", "a door", "four round wheels and a door", "Green Leaves"]
MAX_TOKENS = 40


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CLIPModel]:
    """A whole CLIP, text and images, that reads letters."""
    import torch
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("clip") / "tiny-clip"
    folder.mkdir()
    letters = [chr(code) for code in range(33, 127)]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "do", "door</w>", "or</w>"]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\nd o\no r</w>\ndo or</w>\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    width = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    width |= {"num_hidden_layers": 2, "projection_dim": 8}
    ids = {"bos_token_id": len(pieces) - 2, "eos_token_id": len(pieces) - 1}
    ids |= {"pad_token_id": len(pieces) - 1, "vocab_size": len(pieces)}
    config = CLIPConfig(
        text_config={**width, **ids, "max_position_embeddings": MAX_TOKENS},
        vision_config={**width, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIPModel(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, model


def test_it_gives_what_the_whole_model_gives(clip: tuple[Path, CLIPModel]) -> None:
    import torch
    from transformers import AutoTokenizer

    folder, model = clip
    encoder = load_encoder(f"clip:{folder}", pooling="default", batch_size=3, device="cpu")
    rows = encoder.encode(LINES)
    assert rows.shape == (4, 8) and rows.dtype == np.float32
    np.testing.assert_allclose(rows[0], rows[3], atol=1e-6, err_msg="case must not matter")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for line, row in zip(LINES, rows, strict=True):  # one by one, without padding
        with torch.inference_mode():
            expected = model.get_text_features(**tokenizer(line, return_tensors="pt"))
        if not isinstance(expected, torch.Tensor):  # newer releases wrap it
            expected = expected.pooler_output
        expected = torch.nn.functional.normalize(expected)[0].numpy()
        np.testing.assert_allclose(row, expected, atol=1e-5)
    record = encoder.provenance
    assert (record["encoder"], record["pooling"]) == ("clip:tiny-clip", "default")
    assert record["lower_case"] is True and len(record["encoder_sha256"]) == 64


def test_a_sentence_that_would_be_cut_is_named(clip: tuple[Path, CLIPModel]) -> None:
    encoder = load_encoder(f"clip:{clip[0]}", pooling="default", device="cpu")
    assert encoder.encode(["door " * (MAX_TOKENS - 2)]).shape == (1, 8)
    with pytest.raises(ProLabError, match=r"has 41 tokens, and .* reads 40 \('door door .*shorten"):
        encoder.encode(["door", "door " * (MAX_TOKENS - 1)])


def test_only_its_own_pooling(clip: tuple[Path, CLIPModel]) -> None:
    with pytest.raises(ProLabError, match="has no pooling 'mean': use the pooling 'default'"):
        load_encoder(f"clip:{clip[0]}")


def test_a_folder_with_another_model(clip: tuple[Path, CLIPModel], tmp_path: Path) -> None:
    """`transformers` alone would go on with random weights."""
    import safetensors.numpy

    shutil.copytree(clip[0], tmp_path / "damaged")
    weights = safetensors.numpy.load_file(clip[0] / "model.safetensors")
    del weights["text_projection.weight"]
    path = tmp_path / "damaged/model.safetensors"
    safetensors.numpy.save_file(weights, path, {"format": "pt"})
    with pytest.raises(ProLabError, match=r"it has no weights text_projection\.weight\): copy the"):
        load_encoder(f"clip:{tmp_path / 'damaged'}", pooling="default")
    with pytest.raises(ProLabError, match="no folder './missing' with a CLIP text encoder"):
        load_encoder("clip:./missing", pooling="default")


def test_offline_with_a_missing_model_fails_in_seconds(tmp_path: Path) -> None:
    code = (
        "from prolab_d2.label_space.embedding import load_encoder\n"
        "try: load_encoder('clip:nobody/no-such-clip', pooling='default')\n"
        "except ValueError as error: print(error)"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "the CLIP text encoder 'nobody/no-such-clip' is not in the local cache" in done.stdout
    assert time.perf_counter() - start < 15
