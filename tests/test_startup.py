"""What a program pays before it starts to work: imports, and loading a label space."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest

from prolab_d2 import LabelSpace
from prolab_d2.label_space import shipped_label_spaces
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


@pytest.mark.parametrize("name", shipped_label_spaces())
def test_a_label_space_is_loaded_in_50_milliseconds(name: str) -> None:
    seconds = []
    for _ in range(5):
        start = time.process_time()
        LabelSpace.load(name)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.05
