#!/usr/bin/env python3
"""Runs projects/ProLab/tutorial.ipynb from nothing and stores what its cells show.

Examples:
    python tools/run_tutorial.py
    python tools/run_tutorial.py --output output/tutorial.ipynb

The notebook runs in a new kernel and an empty working folder, so the checkout stays as it is.
Pictures are stored small, and nothing that tells on which machine it ran.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import io
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from PIL import Image

from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.files import atomic_path, check_writable

REPOSITORY = Path(__file__).resolve().parent.parent
TUTORIAL = REPOSITORY / "projects/ProLab/tutorial.ipynb"
# What the notebook finds in a checkout.
PARTS = ("label_spaces", "projects", "prolab_d2", "tools")
# Of pictures, in pixels.
WIDTH = 900
# The paths that machines keep to themselves; others, such as /usr, are no secret but no use either.
PATHS = re.compile(r"(?<![\w.:/~-])/(?:[\w.+@-]+/)+[\w.+@-]*|[A-Z]:\\\w")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def make_working_folder(folder: Path) -> None:
    """Makes `folder` look like a fresh checkout."""
    for part in PARTS:
        (folder / part).symlink_to(REPOSITORY / part)


def execute(notebook: NotebookNode, folder: Path, *, cell_seconds: int = 3600) -> None:
    """Runs all cells in a new kernel of this Python, in `folder`; their outputs are replaced.

    Args:
        cell_seconds: the longest that one cell may take.
    Raises:
        ProLabError: a cell failed.
    """
    client = NotebookClient(
        notebook,
        timeout=cell_seconds,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
    )
    with _imports_from_checkout():
        try:
            client.execute()
        except CellExecutionError as error:
            raise ProLabError(
                f"a cell of the notebook failed ({error.ename}: {error.evalue}), correct it:\n"
                f"{error.traceback}"
            ) from error


@contextlib.contextmanager
def _imports_from_checkout() -> Iterator[None]:
    """The kernel and its commands import this checkout, whichever is installed."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), before]))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def tidy(notebook: NotebookNode) -> None:
    """Leaves what readers see: small pictures, texts, and no traces of the machine."""
    for cell in notebook.cells:
        cell.metadata = NotebookNode()
        for output in cell.get("outputs", ()):
            output.pop("metadata", None) if output.output_type == "stream" else None
            if "image/png" in output.get("data", {}):
                jpeg = smaller(base64.b64decode(output.data.pop("image/png")))
                output.data["image/jpeg"] = base64.b64encode(jpeg).decode()
                output.metadata = NotebookNode()
    notebook.metadata = nbformat.from_dict({**METADATA, "sources_sha256": sources_hash(notebook)})


def smaller(picture: bytes) -> bytes:
    """A JPEG of a picture, at most `WIDTH` pixels wide."""
    with Image.open(io.BytesIO(picture)) as image:
        image = image.convert("RGB")
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(WIDTH * image.height / image.width)), Image.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80, optimize=True)
    return buffer.getvalue()


def sources_hash(notebook: NotebookNode) -> str:
    """Of the code, to notice when outputs are older than it."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def machine_traces(notebook: NotebookNode) -> list[str]:
    """Absolute paths in outputs and metadata."""
    texts = [json.dumps(notebook.metadata)]
    for cell in notebook.cells:
        texts += [json.dumps(cell.metadata), *map(_text, cell.get("outputs", ()))]
    return [found for text in texts for found in PATHS.findall(text)]


def _text(output: NotebookNode) -> str:
    """All of an output but its pictures."""
    data: dict[str, Any] = output.get("data", {})
    shown = [str(value) for kind, value in data.items() if not kind.startswith("image/")]
    return "\n".join([output.get("text", ""), *shown, *output.get("traceback", ())])


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=TUTORIAL, metavar="FILE",
                        help="where to (default: its place in the project)")  # fmt: skip
    return parser.parse_args(argv)


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    check_writable(args.output.parent)
    notebook = nbformat.read(TUTORIAL, as_version=4)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        make_working_folder(Path(folder))
        execute(notebook, Path(folder))
    tidy(notebook)
    traces = machine_traces(notebook)
    if traces:
        raise ProLabError(f"cells show paths of this machine ({traces[0]}): print relative ones")
    with atomic_path(args.output) as temporary:
        nbformat.write(notebook, temporary)
    kilobytes = args.output.stat().st_size / 1000
    print(f"{args.output}: {kilobytes:.0f} kB, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
