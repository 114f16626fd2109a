from __future__ import annotations

import subprocess
import sys

import pytest

import prolab_d2
from tests.golden import REPOSITORY


def test_importing_the_package_needs_no_heavy_library() -> None:
    code = (
        "import sys; import prolab_d2, prolab_d2.label_space;"
        "print([m for m in ('torch', 'detectron2', 'sklearn', 'sentence_transformers')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    assert set(prolab_d2.__all__) <= set(dir(prolab_d2))
    for name in prolab_d2.__all__:
        assert getattr(prolab_d2, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Segmentor'"):
        _ = prolab_d2.Segmentor
