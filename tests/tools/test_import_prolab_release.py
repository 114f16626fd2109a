from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prolab_d2 import LabelSpace
from tests.label_space.conftest import WordEncoder
from tests.label_space.release_files import KEY, ORDER, Files
from tests.refusals import assert_one_sentence
from tools import import_prolab_release as tool


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def run(files: Files, *more: str) -> int:
    where = ["--descriptors", str(files.descriptors), "--embeddings", str(files.embeddings)]
    return tool.main([*where, "--output", str(files.embeddings.parent / "out"), *more])


def test_a_release_becomes_a_label_space(
    files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "load_encoder", lambda name, **_: WordEncoder())
    more = ["--properties", str(files.properties), "--encoder", "words", "--key", KEY]
    assert run(files, *more) == 0
    space = LabelSpace.load(files.embeddings.parent / "out")
    assert [entry.name for entry in space.properties] == ORDER
    np.testing.assert_array_equal(space.bank, files.bank)
    assert "3 categories, 7 sentences, 6 properties" in capsys.readouterr().out


def test_what_is_there_stays(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files) == 0
    before = LabelSpace.load(files.embeddings.parent / "out").hash
    assert run(files, "--properties", str(files.properties)) == 2
    assert_one_sentence(capsys, "holds a label space already: choose another --output")
    assert LabelSpace.load(files.embeddings.parent / "out").hash == before
    assert run(files, "--properties", str(files.properties), "--overwrite") == 0
    assert LabelSpace.load(files.embeddings.parent / "out").hash != before


def test_a_file_that_cannot_be_read(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    files.embeddings.write_text("no pickle")
    assert run(files) == 2
    assert_one_sentence(capsys, "is not a file of tensors and arrays alone")
    assert not (files.embeddings.parent / "out").exists()
    files.embeddings.unlink()
    assert run(files) == 2
    assert_one_sentence(capsys, "cannot read .*bank.pth")
