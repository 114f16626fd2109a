"""A folder with Detectron2 and its pure Python requirements, for a machine that has torch.

It holds no compiled file, so one folder serves Python 3.10 to 3.13 on any system. What the other
machine has to bring: torch, torchvision, numpy and Pillow; opencv and matplotlib to draw.
    <folder>/detectron2, fvcore, iopath, ...  found first, through PYTHONPATH
    <folder>/fallback/tensorboard, ...        found last: the machine's own come before them
    <folder>/portable.json                    what is inside, marks a complete folder
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from .environment import pip
from .errors import InstallError

__all__ = ["FALLBACK", "MARKER", "PACKAGES", "build_folder", "portable_version", "replaced_folder"]

MARKER = "portable.json"
OLDEST_PYTHON = "3.10"

# Names of distributions, from the index, without their own requirements (all are listed).
PACKAGES = (
    "antlr4-python3-runtime==4.9.*",
    "cloudpickle",
    "fvcore>=0.1.5,<0.1.6",
    "hydra-core>=1.3,<1.4",
    "iopath>=0.1.7,<0.2",
    "omegaconf>=2.1,<2.4",
    "portalocker",
    "PyYAML>=5.1",
    "tabulate",
    "termcolor>=1.1",
    "tqdm>4.29.0",
    "yacs>=0.1.8",
)
FALLBACK = (
    "absl-py",
    "Markdown",
    "packaging",
    "protobuf",
    "tensorboard",
    "typing-extensions",
    "Werkzeug",
)
# Published as sources only; their wheels come out pure.
_FROM_SOURCE = ("antlr4-python3-runtime", "fvcore", "iopath")
# Published compiled; works without its compiled part.
_COMPILED_PART_OPTIONAL = ("PyYAML",)
_COMPILED = (".so", ".pyd", ".dylib", ".dll")


def portable_version(folder: Path) -> str | None:
    """The version of Detectron2 in a complete portable folder, None for any other."""
    try:
        return json.loads((folder / MARKER).read_text(encoding="utf-8"))["detectron2"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`, which takes its place when the block succeeds.

    Raises:
        InstallError: `folder` holds something else, or cannot be written.
    """
    if folder.exists() and portable_version(folder) is None and not _empty(folder):
        raise InstallError(
            f"{folder} exists and is no portable Detectron2: name a new or an empty folder with "
            "--target"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise InstallError(
            f"{folder} cannot be written ({error.strerror}): name another folder with --target"
        ) from None
    try:
        yield temporary
        temporary.chmod(0o755)
        if folder.exists():
            old = temporary.with_name(f"{temporary.name}-old")
            os.replace(folder, old)
            os.replace(temporary, folder)
            shutil.rmtree(old)
        else:
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def build_folder(python: str, detectron2_wheel: Path, version: str, folder: Path) -> None:
    """Fills the empty `folder`.

    Args:
        python: interpreter whose pip fetches the packages.
        detectron2_wheel: the wheel of Detectron2, with the portable edits.
        version: its version, for the marker.
        folder: what to fill.
    Raises:
        InstallError: a package cannot be fetched, or has a compiled part that it needs.
    """
    with tempfile.TemporaryDirectory() as scratch:
        for requirements, destination in ((PACKAGES, folder), (FALLBACK, folder / "fallback")):
            wheels = Path(scratch) / destination.name
            _fetch(python, requirements, wheels)
            for wheel in sorted(wheels.glob("*.whl")):
                _unpack(wheel, destination)
    _unpack(detectron2_wheel, folder)
    compiled = [path for path in folder.rglob("*") if path.suffix in _COMPILED]
    if compiled:
        raise InstallError(
            f"{compiled[0].relative_to(folder)} is compiled and would tie the folder to one "
            "Python version: this package needs an older, pure release in portable.py"
        )
    content = {"detectron2": version, "packages": [*PACKAGES], "fallback": [*FALLBACK]}
    (folder / MARKER).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _fetch(python: str, requirements: tuple[str, ...], wheels: Path) -> None:
    """Wheels of `requirements` that run on the oldest supported Python."""
    source = [name for name in requirements if name.startswith(_FROM_SOURCE)]
    compiled = [name for name in requirements if name.startswith(_COMPILED_PART_OPTIONAL)]
    pure = [name for name in requirements if name not in (*source, *compiled)]
    to = ("--quiet", "--no-deps")
    if source:
        pip(python, "wheel", *to, "--wheel-dir", str(wheels), *source)
    if compiled:
        pip(python, "download", *to, "--only-binary=:all:", "--dest", str(wheels), *compiled)
    pip(
        python,
        *("download", *to, "--only-binary=:all:", "--dest", str(wheels)),
        *("--platform", "any", "--implementation", "py", "--abi", "none"),
        *("--python-version", OLDEST_PYTHON),
        *pure,
    )


def _unpack(wheel: Path, folder: Path) -> None:
    optional = wheel.name.lower().startswith(tuple(n.lower() for n in _COMPILED_PART_OPTIONAL))
    with zipfile.ZipFile(wheel) as archive:
        names = [
            name
            for name in archive.namelist()
            if ".data/" not in name and not (optional and name.endswith(_COMPILED))
        ]
        archive.extractall(folder, names)
