"""Encoders as GGUF files: the real MiniLM, converted here, and a tiny random one."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from prolab_d2 import ProLabError
from prolab_d2.label_space import SentenceEncoder
from prolab_d2.label_space.embedding import load_encoder
from prolab_d2.packages import package_folder
from tests.label_space.bert_gguf import convert_bert, write_tiny_bert
from tests.label_space.conftest import MINILM_PACKAGE

LINES = [
    "Dark grey asphalt",
    "May have intersections, or traffic-lights (red/amber/green)",
    "Café tables; 3.5 metres wide",
    "leaves",
    "木 and Straße",
]


@pytest.fixture(scope="module", autouse=True)
def libraries() -> None:
    for package, cure in (("llama_cpp", "make llm"), ("gguf", "pip install gguf")):
        if importlib.util.find_spec(package) is None:
            message = f"needs the package {package}: {cure}"
            (pytest.fail if os.environ.get("PROLAB_REQUIRE_LLM") == "1" else pytest.skip)(message)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that wait for each other by spinning need minutes where other tests run beside them."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def minilm_gguf(tmp_path_factory: pytest.TempPathFactory, minilm: SentenceEncoder) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "minilm.gguf"
    convert_bert(package_folder(MINILM_PACKAGE, "test") / "model", path, "MEAN")
    return path


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Reads 32 tokens; does not say how it wants to be pooled."""
    write_tiny_bert(tmp_path / "tiny.gguf", None)
    return tmp_path / "tiny.gguf"


def test_it_agrees_with_sentence_transformers(minilm_gguf: Path, minilm: SentenceEncoder) -> None:
    mean = load_encoder(minilm_gguf, device="cpu")
    rows = mean.encode(LINES)
    assert rows.shape == (len(LINES), 384) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert (rows * minilm.encode(LINES)).sum(1).min() > 0.9999
    assert mean.provenance == {
        "encoder": "minilm.gguf",
        "encoder_sha256": hashlib.sha256(minilm_gguf.read_bytes()).hexdigest(),
        "pooling": "mean",
        "lower_case": True,
    }
    cls = load_encoder(minilm_gguf, pooling="cls")
    folder = package_folder(MINILM_PACKAGE, "test") / "model"
    expected = SentenceEncoder(folder, pooling="cls", device="cpu").encode(LINES)
    assert (cls.encode(LINES) * expected).sum(1).min() > 0.9999
    assert cls.provenance["pooling"] == "cls"


def test_batches_change_nothing(minilm_gguf: Path) -> None:
    lines = [f"{word} number {i}" for i in range(40) for word in ("leaf", "wheel of a large car")]
    few, many = (load_encoder(minilm_gguf, batch_size=n).encode(lines) for n in (3, 80))
    # More than 512 tokens: llama.cpp, too, divides the large batch.
    assert len(few) == len(lines) and (few * many).sum(1).min() > 0.99999


def test_a_sentence_that_would_be_cut_is_named(tiny: Path) -> None:
    encoder = load_encoder(tiny)
    longest, other = encoder.encode(["a " * 30, "a " * 29 + "b"])
    assert not np.allclose(longest, other, atol=1e-3), "the last word counts"
    with pytest.raises(ProLabError, match=r"has 33 tokens, and .* reads 32 \('b a a .*shorten it"):
        encoder.encode(["a", "b " + "a " * 30])


def test_the_pooling_that_the_file_asks_for(tiny: Path, tmp_path: Path) -> None:
    write_tiny_bert(tmp_path / "cls.gguf", "CLS")
    default = load_encoder(tmp_path / "cls.gguf", pooling="default")
    assert default.provenance["pooling"] == "cls"
    cls, mean = (load_encoder(tiny, pooling=pooling) for pooling in ("cls", "mean"))
    np.testing.assert_array_equal(default.encode(["a b c"]), cls.encode(["a b c"]))
    assert not np.allclose(default.encode(["a b c"]), mean.encode(["a b c"]), atol=1e-2)
    with pytest.raises(ProLabError, match="states no pooling .*: choose the pooling 'mean' or"):
        load_encoder(tiny, pooling="default")
    with pytest.raises(ProLabError, match="unknown pooling 'max'"):
        load_encoder(tiny, pooling="max")


def test_files_that_are_no_model(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ProLabError, match=r"cannot read .*missing\.gguf .*: correct the path"):
        load_encoder(tmp_path / "missing.gguf")
    (tmp_path / "text.gguf").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ProLabError, match="is no GGUF file"):
        load_encoder(tmp_path / "text.gguf")
    (tmp_path / "half.gguf").write_bytes(tiny.read_bytes()[: tiny.stat().st_size // 2])
    with pytest.raises(ProLabError, match=r"cannot load .*half\.gguf \(.*copy the file again"):
        load_encoder(tmp_path / "half.gguf")


def test_a_gpu_that_llama_cpp_was_not_built_for(tiny: Path) -> None:
    import llama_cpp

    if llama_cpp.llama_supports_gpu_offload():
        pytest.skip("this llama-cpp-python was built for a GPU")
    with pytest.raises(ProLabError, match="built for the CPU only"):
        load_encoder(tiny, device="cuda")


def test_without_the_library(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(ProLabError, match=r"make llm in a checkout, or .*'prolab_d2\[llm\]'"):
        load_encoder(tiny)
