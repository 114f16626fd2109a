"""What a program pays before it starts to work: imports, and loading a label space."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy

from prolab_d2 import LabelSpace
from prolab_d2.label_space import shipped_label_spaces
from prolab_d2.label_space.storage import find_folder, hash_arrays
from tests.golden import REPOSITORY

# Needed to build label spaces, to cluster, to probe and to draw, not to train.
HEAVY = (
    "llama_cpp",
    "matplotlib",
    "pandas",
    "scipy",
    "sentence_transformers",
    "sklearn",
    "tensorboard",
    "transformers",
)


# Detectron2 first, so that what this package adds can be told; then as train_net.py goes on.
PROGRAM = f"""
import json, runpy, sys, time
import detectron2.engine, detectron2.evaluation, detectron2.modeling
found, start = {{}}, time.process_time()
import prolab_d2.engine, prolab_d2.modeling.property_segmentor
found["seconds"] = time.process_time() - start
sys.argv = ["train_net.py", "--help"]
try:
    runpy.run_path("projects/ProLab/train_net.py", run_name="__main__")
except SystemExit as end:
    found["help"] = end.code
prolab_d2.engine.load_config("camvid/lite0_property")  # registers models and heads
found["heavy"] = [name for name in {HEAVY} if name in sys.modules]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def started() -> dict[str, Any]:
    """What a new process found that imports what training needs."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_training_imports_nothing_that_it_does_not_need(started: dict[str, Any]) -> None:
    assert started["help"] in (0, None)
    assert started["heavy"] == []


def test_importing_adds_little_to_torch_and_detectron2(started: dict[str, Any]) -> None:
    # About 0.2 s; CPU seconds, since other work on the machine must not count.
    assert started["seconds"] < 2


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def read_the_files(folder: Path) -> None:
    """What loading cannot do without: parse both files, and tell that they belong together."""
    json.loads((folder / "label_space.json").read_text(encoding="utf-8"))
    hash_arrays(safetensors.numpy.load_file(folder / "label_space.safetensors"))


def test_a_label_space_is_loaded_about_as_fast_as_its_files_are_read() -> None:
    folder = find_folder("ade20k_847")  # the largest: 5,415 descriptions
    loading, reading = [], []
    for _ in range(7):  # in turns: the speed of a busy machine changes
        loading.append(cpu_seconds(lambda: LabelSpace.load(folder)))
        reading.append(cpu_seconds(lambda: read_the_files(folder)))
    assert min(loading) < 4 * min(reading)  # about 2.2


@pytest.mark.slow  # seconds of this machine, which other work may double
@pytest.mark.parametrize("name", shipped_label_spaces())
def test_a_label_space_is_loaded_in_50_milliseconds(name: str) -> None:
    assert min(cpu_seconds(lambda: LabelSpace.load(name)) for _ in range(10)) < 0.05
