from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from prolab_d2 import ProLabError
from prolab_d2.label_space import SentenceEncoder, embedding
from prolab_d2.label_space.embedding import load_encoder
from prolab_d2.packages import package_folder
from tests.golden import REPOSITORY
from tests.label_space.conftest import MINILM_PACKAGE
from tests.label_space.hub_server import hub

LINES = ["Dark grey asphalt", "dark grey asphalt", "green leaves", "four round wheels and a door"]


def minilm_folder() -> Path:
    return package_folder(MINILM_PACKAGE, "test") / "model"


def test_real_embeddings_have_unit_length_and_mean_something(minilm: SentenceEncoder) -> None:
    rows = minilm.encode(LINES + ["light grey concrete"])
    assert rows.shape == (5, 384) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6, err_msg="case must not matter")
    assert rows[0] @ rows[4] > rows[0] @ rows[2] + 0.2


def test_what_was_used_is_recorded(minilm: SentenceEncoder) -> None:
    record = minilm.provenance
    assert record["encoder"] == f"package:{MINILM_PACKAGE}"
    assert (record["pooling"], record["lower_case"]) == ("mean", True)
    assert len(record["encoder_sha256"]) == 64


def test_pooling_changes_what_comes_out(minilm: SentenceEncoder) -> None:
    folder = minilm_folder()
    cls, default = (
        load_encoder(folder, pooling=pooling, device="cpu") for pooling in ("cls", "default")
    )
    mean_rows, cls_rows = minilm.encode(LINES), cls.encode(LINES)
    np.testing.assert_allclose(np.linalg.norm(cls_rows, axis=1), 1, atol=1e-5)
    assert ((mean_rows * cls_rows).sum(1) < 0.8).all()
    # This model's own setting is the mean.
    np.testing.assert_allclose(default.encode(LINES), mean_rows, atol=1e-6)
    assert (cls.provenance["pooling"], default.provenance["pooling"]) == ("cls", "mean")
    assert cls.provenance["encoder"] == folder.name, "no path of this machine"
    assert cls.provenance["encoder_sha256"] == minilm.provenance["encoder_sha256"]


def test_an_unknown_pooling_names_the_choices() -> None:
    with pytest.raises(ProLabError, match="unknown pooling 'max': choose one of 'mean', 'cls'"):
        SentenceEncoder("anything", pooling="max")


@pytest.mark.parametrize("name", ["./missing", "/missing/model", "a/b/c", "two words", ""])
def test_a_path_that_does_not_exist_never_reaches_the_hub(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embedding, "require_hub", lambda *_: pytest.fail("the hub was asked"))
    with pytest.raises(ProLabError, match="correct the path, or give a name from"):
        SentenceEncoder(name)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ProLabError, match=r"holds no sentence encoder \(config.json is missing\)"):
        SentenceEncoder(tmp_path)


def test_a_folder_with_half_a_model(tmp_path: Path, minilm: SentenceEncoder) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ProLabError, match="copy the whole folder of the model again"):
        SentenceEncoder(tmp_path, device="cpu")


def test_a_folder_with_damaged_weights(tmp_path: Path, minilm: SentenceEncoder) -> None:
    for file in minilm_folder().glob("*.*"):
        if file.name == "model.safetensors":
            with file.open("rb") as whole:
                (tmp_path / file.name).write_bytes(whole.read(100_000))
        else:
            shutil.copy(file, tmp_path)
    with pytest.raises(ProLabError, match="copy the whole folder of the model again"):
        SentenceEncoder(tmp_path, device="cpu")


def test_a_device_that_is_not_there(minilm: SentenceEncoder) -> None:
    with pytest.raises(ProLabError, match="device 'warp:9' cannot be used .*: try cpu"):
        SentenceEncoder(minilm_folder(), device="warp:9")


def test_a_sentence_that_would_be_cut_is_named(minilm: SentenceEncoder) -> None:
    # 256 tokens are what this model reads; two of them mark beginning and end.
    assert minilm.encode(["leaf " * 254]).shape == (1, 384)
    with pytest.raises(
        ProLabError, match=r"has 257 tokens, and .* reads 256 \('leaf leaf .*shorten"
    ):
        minilm.encode(["short", "leaf " * 255])


def test_packages_without_a_model() -> None:
    with pytest.raises(ProLabError, match="package 'no_such_model' is not installed: .*no-such"):
        SentenceEncoder("package:no_such_model")
    with pytest.raises(ProLabError, match="'package:json' holds no sentence encoder"):
        SentenceEncoder("package:json")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    with pytest.raises(ProLabError, match=r"pip install 'prolab_d2\[label-space\]'"):
        SentenceEncoder(tmp_path)


def run_encoder(name: str, **environment: str) -> str:
    """What a process of its own prints: its provenance, or its error."""
    code = (
        "import json, sys\n"
        "from prolab_d2.label_space.embedding import load_encoder\n"
        "try: print(json.dumps(load_encoder(sys.argv[1], device='cpu').provenance))\n"
        "except ValueError as error: print(error)"
    )
    environment = {"HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1", **environment}
    return subprocess.run(
        [sys.executable, "-c", code, name],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_offline_with_a_missing_model_fails_in_seconds(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="needs the package sentence-transformers")
    cases = {
        "HF_HUB_OFFLINE forbids a download: connect once": {"HF_HUB_OFFLINE": "1"},
        # A port where nobody listens stands for a machine without network.
        "http://127.0.0.1:9 cannot be reached": {"HF_ENDPOINT": "http://127.0.0.1:9"},
    }
    for message, setting in cases.items():
        start = time.perf_counter()
        printed = run_encoder("nobody/no-such-model", HF_HOME=str(tmp_path), **setting)
        assert message in printed
        assert "copy the model's folder here and give its path" in printed
        assert time.perf_counter() - start < 15


@pytest.mark.slow
def test_a_model_is_fetched_from_the_hub_once(tmp_path: Path, minilm: SentenceEncoder) -> None:
    with hub("someone/minilm", minilm_folder()) as server:
        settings = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": server.address}
        record = json.loads(run_encoder("someone/minilm", **settings))
        assert record == {**minilm.provenance, "encoder": "someone/minilm"}
        server.asked.clear()
        assert json.loads(run_encoder("someone/minilm", **settings)) == record
        assert not [path for path in server.asked if "minilm" in path], "what is here is not asked"
        printed = run_encoder("someone/else", **settings)
        assert "cannot load the sentence encoder 'someone/else' from the Hugging Face" in printed
