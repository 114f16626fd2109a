"""Looks into a Python environment and installs into it with its own pip."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .errors import InstallError

__all__ = ["has_module", "installed_version", "pip", "working_detectron2"]

# Everything of Detectron2 that this project builds on, and one network that runs.
_TRIAL = """
import warnings
warnings.simplefilter("ignore")
import detectron2
import torch
import detectron2.checkpoint, detectron2.config, detectron2.data, detectron2.engine
import detectron2.evaluation, detectron2.modeling, detectron2.solver
try:
    import cv2, matplotlib
except ImportError:
    pass  # a machine that only trains
else:
    import detectron2.utils.visualizer
cfg = detectron2.config.get_cfg()
cfg.MODEL.RESNETS.DEPTH = 18
cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
cfg.MODEL.RESNETS.OUT_FEATURES = ["res5"]
features = detectron2.modeling.build_backbone(cfg)(torch.zeros(1, 3, 32, 32))
assert features["res5"].shape == (1, 512, 1, 1), features["res5"].shape
print(detectron2.__version__, detectron2.__path__[0], sep="\\n")
"""


def _run(python: str, code: str, search: Sequence[Path] = ()) -> subprocess.CompletedProcess[str]:
    """Runs `code` with `python`, in an empty folder so that no checkout is imported by accident."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    if search:
        inherited = [environment["PYTHONPATH"]] if environment.get("PYTHONPATH") else []
        environment["PYTHONPATH"] = os.pathsep.join([*map(str, search), *inherited])
    with tempfile.TemporaryDirectory() as empty:
        return subprocess.run(
            [python, "-c", code], capture_output=True, text=True, cwd=empty, env=environment
        )


def has_module(python: str, name: str) -> bool:
    """Whether `python` finds the top-level module `name`."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"
    try:
        return _run(python, code).returncode == 0
    except OSError as error:
        raise InstallError(
            f"the interpreter {python} cannot be run ({error.strerror}): name another one with "
            "--python"
        ) from None


def installed_version(python: str) -> str | None:
    """The version of the distribution detectron2 that `python` has, as pip knows it."""
    code = "import importlib.metadata as m; print(m.version('detectron2'))"
    run = _run(python, code)
    return run.stdout.strip() if run.returncode == 0 else None


def working_detectron2(python: str, search: Sequence[Path] = ()) -> tuple[Path | None, str]:
    """Tries Detectron2 out.

    Args:
        python: the interpreter that should be able to import it.
        search: folders that come first on its path.
    Returns:
        The folder of the package and its version if it works, else None and the reason.
    """
    run = _run(python, _TRIAL, search)
    lines = (run.stdout if run.returncode == 0 else run.stderr).strip().splitlines()
    if run.returncode:
        return None, lines[-1] if lines else f"the interpreter ended with {run.returncode}"
    version, folder = lines[-2:]
    return Path(folder), version


def pip(python: str, *arguments: str) -> None:
    """Runs the pip of `python`, quietly.

    Raises:
        InstallError: pip failed; the message holds its last complaint.
    """
    command = [python, "-m", "pip", *arguments, "--disable-pip-version-check"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        lines = run.stderr.strip().splitlines() or ["no reason given"]
        complaints = [line for line in lines if line.startswith("ERROR: ")] or lines
        raise InstallError(
            f"`{' '.join(command)}` failed ({complaints[-1].removeprefix('ERROR: ')}): check the "
            "network and run this again"
        )
