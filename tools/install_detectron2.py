#!/usr/bin/env python3
"""Installs Detectron2 without its compiled operators, which nothing in this project needs.

A Detectron2 that works is kept. Otherwise release 0.6 comes from the package index (checked by its
sha256), is edited for today's NumPy, Pillow and setuptools (each edit has a name: see
_detectron2_installer/edits.py), and goes into the environment as a pure Python wheel: no compiler,
no CUDA toolkit, any version of torch. Needs nothing but the standard library.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from _detectron2_installer.edits import EDITS, PORTABLE_EDITS, apply_edits
from _detectron2_installer.environment import (
    has_module,
    installed_version,
    pip,
    working_detectron2,
)
from _detectron2_installer.errors import InstallError
from _detectron2_installer.fetch import (
    GIT_COMMIT,
    GIT_URL,
    SDIST_NAME,
    check_hash,
    fetch_git,
    fetch_release,
    index_settings,
    unpack,
)
from _detectron2_installer.portable import build_folder, portable_version, replaced_folder
from _detectron2_installer.wheel import OPTIONAL_REQUIREMENTS, REQUIREMENTS, build_wheel

VERSIONS = {"release": "0.6+pure", "git": f"0.6+pure.git{GIT_COMMIT[:8]}"}

EXAMPLES = """examples:
  python tools/install_detectron2.py                      into this environment
  python tools/install_detectron2.py --source git         the official repository, one commit
  python tools/install_detectron2.py --target d2          a folder for another machine, there:
  PYTHONPATH=d2 python -c "import detectron2"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the tool; returns its exit code."""
    options = parse_arguments(arguments)
    try:
        if options.target is None:
            install(options.python, options.source, options.sdist, options.force)
        else:
            make_portable(
                options.python, options.source, options.sdist, options.target, options.force
            )
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was installed", file=sys.stderr)
        return 130
    return 0


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--source",
        choices=("release", "git"),
        help="release 0.6 (default), or the official repository at a pinned commit; when given, "
        "a working Detectron2 of another source is replaced",
    )
    parser.add_argument(
        "--target",
        type=Path,
        metavar="DIR",
        help="write a portable folder instead, for a machine with torch and Python 3.10 to 3.13",
    )
    parser.add_argument("--sdist", type=Path, metavar="FILE", help=f"a local {SDIST_NAME}")
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter to install for (default: this one)"
    )
    parser.add_argument("--force", action="store_true", help="install even if one works already")
    return parser.parse_args(arguments)


def install(python: str, source: str | None, sdist: Path | None, force: bool) -> None:
    """Makes `import detectron2` work in the environment of `python`.

    Args:
        python: the interpreter.
        source: "release", "git", or None: the release, unless any Detectron2 works already.
        sdist: a local copy of the release, None to download it.
        force: install even if one works already.
    Raises:
        InstallError: nothing was installed.
    """
    if not has_module(python, "torch") or not has_module(python, "torchvision"):
        raise InstallError(
            f"{python} has no torch and torchvision, which Detectron2 needs: run "
            "`pip install torch torchvision` first"
        )
    say("looking for a working Detectron2")
    folder, found = working_detectron2(python)
    wanted = source is None or installed_version(python) == VERSIONS[source]
    if folder is not None and wanted and not force:
        say(f"keeping Detectron2 {found} in {folder}")
        return
    if folder is None:
        say(f"there is none ({found})")
    with tempfile.TemporaryDirectory() as scratch:
        wheel = prepare(python, source or "release", sdist, Path(scratch))
        say("installing what it imports: " + ", ".join(REQUIREMENTS))
        pip(python, "install", "--quiet", *REQUIREMENTS)
        install_optional(python)
        say(f"installing {wheel.name}")
        pip(python, "install", "--quiet", "--no-deps", "--force-reinstall", str(wheel))
    folder, found = working_detectron2(python)
    if folder is None:
        pip(python, "uninstall", "--quiet", "--yes", "detectron2")
        raise InstallError(
            f"Detectron2 does not run here and was removed again ({found}): please report this "
            "with the output of `pip list`"
        )
    say(f"Detectron2 {found} works, in {folder}")


def install_optional(python: str) -> None:
    """Installs what is compiled and can be done without, where a ready-made wheel exists."""
    try:
        pip(python, "install", "--quiet", "--only-binary=:all:", *OPTIONAL_REQUIREMENTS)
    except InstallError:
        say(
            "no ready-made pycocotools for this Python; only COCO's formats and Detectron2's own "
            "SemSegEvaluator need it"
        )


def make_portable(
    python: str, source: str | None, sdist: Path | None, target: Path, force: bool
) -> None:
    """Writes a folder for another machine (see `_detectron2_installer/portable.py`).

    Args:
        python: the interpreter whose pip fetches the packages.
        source, sdist, force: as in `install`.
        target: the folder.
    Raises:
        InstallError: `target` was left as it was.
    """
    target = target.absolute()
    version = VERSIONS[source or "release"]
    if portable_version(target) == version and not force:
        say(f"keeping {target}, which holds Detectron2 {version}")
        return
    with tempfile.TemporaryDirectory() as scratch, replaced_folder(target) as folder:
        wheel = prepare(python, source or "release", sdist, Path(scratch), portable=True)
        say("fetching the pure Python packages that it imports")
        build_folder(python, wheel, version, folder)
        if has_module(python, "torch"):
            say("trying it out")
            found, reason = working_detectron2(python, search=[folder])
            if found is None or not found.samefile(folder / "detectron2"):
                raise InstallError(
                    f"the portable Detectron2 does not run here ({reason}): please report this "
                    "with the output of `pip list`"
                )
    say(f"{target} is ready: on the other machine, set PYTHONPATH to it")
    say("it has to bring torch, torchvision, numpy and Pillow; opencv and matplotlib to draw")


def prepare(
    python: str, source: str, sdist: Path | None, scratch: Path, portable: bool = False
) -> Path:
    """Fetches the sources, edits them and packs the wheel, all below `scratch`.

    Returns:
        Path of the wheel.
    Raises:
        InstallError: the sources cannot be had, or an edit does not fit them.
    """
    if source == "git":
        say(f"fetching commit {GIT_COMMIT} of {GIT_URL}")
        tree = fetch_git(GIT_URL, GIT_COMMIT, scratch / "repository")
    else:
        if sdist is None:
            say(f"fetching {SDIST_NAME} from the package index")
            sdist = fetch_release(index_settings(python), scratch)
        elif not sdist.is_file():
            raise InstallError(f"{sdist} does not exist: give the path of {SDIST_NAME}")
        else:
            check_hash(sdist, str(sdist))
        tree = unpack(sdist, scratch)
    edits = EDITS + PORTABLE_EDITS if portable else EDITS
    changes = apply_edits(tree / "detectron2", edits, exact=source == "release")
    for edit in edits:
        if changes[edit.name]:
            say(f"edit {edit.name}, {changes[edit.name]} places: {edit.why}")
    return build_wheel(tree, VERSIONS[source], scratch)


def say(text: str) -> None:
    """Prints what happens, at once."""
    print(f"install_detectron2: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
