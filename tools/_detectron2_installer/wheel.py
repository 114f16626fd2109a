"""Packs Detectron2's Python sources into a wheel, without running its setup.py.

Its setup.py imports torch and compiles C++; the Python part needs neither.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["OPTIONAL_REQUIREMENTS", "REQUIREMENTS", "build_wheel"]

# What Detectron2 imports, beside torch and torchvision. Its own list pins versions of 2021 and
# names packages that only its exporter needs.
REQUIREMENTS = (
    "cloudpickle",
    "fvcore>=0.1.5,<0.1.6",
    "hydra-core>=1.1",
    "iopath>=0.1.7,<0.2",
    "matplotlib",
    "numpy",
    "omegaconf>=2.1",
    "packaging",
    "Pillow>=7.1",
    "tabulate",
    "tensorboard",
    "termcolor>=1.1",
    "tqdm>4.29.0",
    "yacs>=0.1.8",
)
# Compiled, and needed for COCO's run-length encoded masks only.
OPTIONAL_REQUIREMENTS = ("pycocotools>=2.0.2",)

# Small projects that Detectron2 installs as its subpackages.
_PROJECTS = {
    "detectron2/projects/point_rend": "projects/PointRend/point_rend",
    "detectron2/projects/deeplab": "projects/DeepLab/deeplab",
    "detectron2/projects/panoptic_deeplab": "projects/Panoptic-DeepLab/panoptic_deeplab",
}


def build_wheel(source: Path, version: str, folder: Path) -> Path:
    """Writes a pure Python wheel of the sources below `source` into `folder`.

    Args:
        source: the folder that holds `detectron2/` and `projects/`.
        version: version of the wheel, such as "0.6+pure".
        folder: where the wheel goes.
    Returns:
        Path of the wheel.
    """
    path = folder / f"detectron2-{version}-py3-none-any.whl"
    information = f"detectron2-{version}.dist-info"
    record: list[str] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:

        def add(name: str, content: bytes) -> None:
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            record.append(f"{name},sha256={digest.decode()},{len(content)}\n")
            archive.writestr(name, content)

        for name, file in sorted(_files(source)):
            add(name, file.read_bytes())
        for file in source.glob("LICENSE*"):
            add(f"{information}/licenses/{file.name}", file.read_bytes())
        add(f"{information}/METADATA", _metadata(version).encode())
        tags = "Wheel-Version: 1.0\nGenerator: install_detectron2\nRoot-Is-Purelib: true\n"
        add(f"{information}/WHEEL", f"{tags}Tag: py3-none-any\n".encode())
        add(f"{information}/top_level.txt", b"detectron2\n")
        record.append(f"{information}/RECORD,,\n")
        archive.writestr(f"{information}/RECORD", "".join(record))
    return path


def _files(source: Path) -> Iterator[tuple[str, Path]]:
    """Names inside the wheel and the files that go there."""
    folders = {"detectron2": "detectron2", **_PROJECTS}
    if not (source / "detectron2/model_zoo/configs").is_dir():  # the repository keeps them apart
        folders["detectron2/model_zoo/configs"] = "configs"
    for inside, outside in folders.items():
        for file in (source / outside).rglob("*"):
            relative = file.relative_to(source / outside)
            if file.is_file() and file.suffix in (".py", ".yaml") and "csrc" not in relative.parts:
                yield f"{inside}/{relative.as_posix()}", file


def _metadata(version: str) -> str:
    lines = [
        "Metadata-Version: 2.1",
        "Name: detectron2",
        f"Version: {version}",
        "Summary: Detectron2 without compiled operators",
        "License: Apache-2.0",
        "Requires-Python: >=3.10",
        *(f"Requires-Dist: {requirement}" for requirement in REQUIREMENTS),
    ]
    return "\n".join(lines) + "\n"
