"""Writes scenes as a data set folder, and goes on where an earlier run stopped.

```
<root>/images/<split>/00000.png         RGB
<root>/annotations/<split>/00000.png    category ids, 255 unlabelled
<root>/properties/<split>/00000.png     16-bit instance numbers, 0 unlabelled
<root>/properties/<split>/00000.json    {instance number: {category, colour, material, ...}}
<root>/categories.txt, scenes.json      names and colours; what drew the folder
```

`properties/` is truth for evaluation; nothing reads it in training.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from prolab_d2.device import available_cores
from prolab_d2.errors import ProLabError
from prolab_d2.files import atomic_path
from prolab_d2.scenes.palette import CATEGORIES, CATEGORY_COLOURS
from prolab_d2.scenes.scene import SIZE, draw_scene

__all__ = [
    "COUNTS",
    "GENERATOR",
    "missing_scenes",
    "read_properties",
    "write_scene",
    "write_scenes",
]

GENERATOR = 2
"""Version of the drawing code: rises whenever a seed gives another scene."""

COUNTS: dict[str, int] = {"train": 400, "val": 80, "test": 80}
"""Scenes per split."""

_MANIFEST = "scenes.json"
# Below this number of scenes, starting other processes takes longer than drawing.
_WORTH_WORKERS = 24
_WAIT = 0.2


def write_scenes(
    root: str | Path,
    counts: Mapping[str, int] | None = None,
    workers: int | None = None,
    report: Callable[[str], None] | None = None,
) -> int:
    """Draws the scenes that are not there yet. Two processes at once do no harm.

    Args:
        counts: scenes per split; the seeds of a split are 0, 1, 2, ...
        workers: processes that draw; by default one per processor that may be used, at most 8.
        report: called with a line of progress now and then.
    Returns:
        The number of scenes that were missing.
    Raises:
        ProLabError: the folder cannot be written to or was drawn by another version.
    """
    root = Path(root)
    counts = dict(COUNTS if counts is None else counts)
    _check_manifest(root)
    missing = list(missing_scenes(root, counts))
    if not (root / _MANIFEST).is_file():
        _write_frame(root)
    if not missing:
        return 0
    if workers is None:
        workers = min(available_cores(), 8)
    if workers > 1 and len(missing) >= _WORTH_WORKERS:
        _draw_with_workers(root, missing, workers, report)
    else:
        for done, (split, seed) in enumerate(missing, start=1):
            write_scene(root, split, seed)
            if report and (done % 20 == 0 or done == len(missing)):
                report(f"{done} of {len(missing)} scenes drawn")
    return len(missing)


def missing_scenes(root: str | Path, counts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """(split, seed) of every scene that is not in the folder."""
    for split, count in counts.items():
        folder = Path(root) / "images" / split
        there = set(os.listdir(folder)) if folder.is_dir() else set()
        for seed in range(count):
            if f"{seed:05d}.png" not in there:
                yield split, seed


def write_scene(root: str | Path, split: str, seed: int) -> None:
    """Draws and writes one scene; the picture comes last, so that it vouches for the rest."""
    root, stem = Path(root), f"{seed:05d}"
    scene = draw_scene(seed, split)
    table = {str(number): entry for number, entry in scene.attributes.items()}
    with atomic_path(root / "properties" / split / f"{stem}.json") as path:
        path.write_text(json.dumps(table, indent=0, sort_keys=True), encoding="utf-8")
    for folder, array in (
        ("properties", scene.instances),
        ("annotations", scene.mask),
        ("images", scene.image),
    ):
        with atomic_path(root / folder / split / f"{stem}.png") as path:
            Image.fromarray(array).save(path, compress_level=3)


def read_properties(root: str | Path, split: str, stem: str) -> tuple[np.ndarray, dict[int, dict]]:
    """The truth about one scene.

    Returns:
        (H, W) uint16 instance numbers, 0 unlabelled, and what is true of each instance: category,
        colour, material, form, orientation; second_colour of a person (trousers or skirt).
    """
    folder = Path(root) / "properties" / split
    with Image.open(folder / f"{stem}.png") as picture:
        instances = np.array(picture).astype(np.uint16)
    table = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
    return instances, {int(number): entry for number, entry in table.items()}


def _check_manifest(root: Path) -> None:
    """Raises ProLabError unless the folder is new or was drawn by this version."""
    path = root / _MANIFEST
    if not path.is_file():
        if (root / "images").is_dir():
            raise ProLabError(
                f"{root} holds images but no {_MANIFEST}: move that folder away or choose another "
                "place for the scenes"
            )
        return
    try:
        generator = json.loads(path.read_text(encoding="utf-8"))["generator"]
    except (OSError, ValueError, KeyError, TypeError):
        generator = None
    if generator != GENERATOR:
        raise ProLabError(
            f"the scenes in {root} were drawn by another version ({_MANIFEST}: generator "
            f"{generator}, needed {GENERATOR}): delete that folder, they are drawn again"
        )


def _write_frame(root: Path) -> None:
    """The list of categories and, last, the manifest."""
    lines = [
        f"{name}  #{red:02x}{green:02x}{blue:02x}"
        for name, (red, green, blue) in zip(CATEGORIES, CATEGORY_COLOURS, strict=True)
    ]
    with atomic_path(root / "categories.txt") as path:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with atomic_path(root / _MANIFEST) as path:
        manifest = {"generator": GENERATOR, "size": list(SIZE), "seeds": "number of the file"}
        path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _draw_with_workers(
    root: Path,
    missing: list[tuple[str, int]],
    workers: int,
    report: Callable[[str], None] | None,
) -> None:
    """Starts fresh interpreters: a fork of a process that runs torch threads may hang."""
    package = Path(__file__).resolve().parents[2]
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    environment["OPENBLAS_NUM_THREADS"] = "1"
    command = [sys.executable, "-m", "prolab_d2.scenes.worker", str(root)]
    processes = []
    try:
        for worker in range(workers):
            share = [f"{split}/{seed}" for split, seed in missing[worker::workers]]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
            )
            processes.append(process)
            process.stdin.write("\n".join(share))
            process.stdin.close()
        began = told = time.monotonic()
        while any(process.poll() is None for process in processes):
            time.sleep(_WAIT)
            if report and time.monotonic() - told > 5:
                told = time.monotonic()
                done = sum((root / "images" / s / f"{n:05d}.png").is_file() for s, n in missing)
                report(f"{done} of {len(missing)} scenes drawn, {told - began:.0f} s")
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
            process.wait()
    for process in processes:
        message = process.stderr.read().strip()
        process.stderr.close()
        if process.returncode:
            lines = message.splitlines() or [f"exit code {process.returncode}"]
            reason = lines[-1].removeprefix("error: ")
            raise ProLabError(
                f"drawing scenes into {root} failed ({reason}): mend that, then repeat"
            )
    if report:
        report(f"{len(missing)} scenes drawn in {time.monotonic() - began:.0f} s")
