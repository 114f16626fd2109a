"""Draws the scenes that standard input names ("train/17", one per line) into a folder."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from prolab_d2.errors import exit_cleanly
from prolab_d2.scenes.write import write_scene

__all__ = ["main"]


@exit_cleanly
def main(root: str, lines: Iterable[str]) -> None:
    """Leaves out what another process has drawn by now."""
    for line in lines:
        split, _, seed = line.strip().partition("/")
        if not (Path(root) / "images" / split / f"{int(seed):05d}.png").is_file():
            write_scene(root, split, int(seed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.stdin.read().split()))
