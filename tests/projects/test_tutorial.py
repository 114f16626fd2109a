"""The tutorial notebook: what is stored in it, and what it does when it is run."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from prolab_d2.engine import argument_parser, load_config
from tools.run_tutorial import (
    REPOSITORY,
    TUTORIAL,
    execute,
    machine_traces,
    make_working_folder,
    sources_hash,
    tidy,
)

# Says in numbers what the cells have shown; runs after them, in the same kernel.
FINDINGS = """
import json
metrics = json.loads(next(folder.glob("run/inference/*/sem_seg_metrics.json")).read_text())
print("FINDINGS", json.dumps({
    "categories": space.categories,
    "shared": int((space.signatures.sum(axis=0) > 1).sum()),
    "mIoU": metrics["percent"]["mIoU"],
    "evaluated": [entry["name"] for entry in metrics["categories"]],
    "explained": explanation.category,
    "score": explanation.score,
    "shares": [item.share for item in explanation.evidence],
    "new": wider.label_space.categories,
    "vehicle": float(iou),
}))
"""


@pytest.fixture(scope="module")
def stored() -> NotebookNode:
    return nbformat.read(TUTORIAL, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def python_trees(notebook: NotebookNode) -> Iterator[ast.Module]:
    """The Python cells, without lines of other programs."""
    for cell in code_cells(notebook):
        if not cell.source.startswith("%%"):
            yield ast.parse(re.sub(r"(?m)^( *)[!%].*$", r"\1pass", cell.source))


def commands(notebook: NotebookNode) -> list[list[str]]:
    """Words of every `python SCRIPT ...` of the shell cells, up to a pipe."""
    found = []
    for cell in code_cells(notebook):
        if not cell.source.startswith("%%bash"):
            continue
        for line in cell.source.replace("\\\n", " ").splitlines():
            words = shlex.split(re.split(r" 2>&1| \|", line)[0])
            if words[:1] == ["python"]:
                found.append(words[1:])
    return found


def test_the_stored_outputs_are_of_these_cells_and_complete(stored: NotebookNode) -> None:
    nbformat.validate(stored)
    cells = code_cells(stored)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert stored.metadata.sources_sha256 == sources_hash(stored), "run `make tutorial`"
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    pictures = [output for output in outputs if "image/jpeg" in output.get("data", {})]
    assert len(pictures) >= 6
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_the_stored_notebook_is_small_and_tells_no_paths(stored: NotebookNode) -> None:
    assert TUTORIAL.stat().st_size < 500_000
    assert machine_traces(stored) == []


def test_paths_in_outputs_are_noticed(stored: NotebookNode) -> None:
    for text in ("wrote /home/me/space", "File '/usr/lib/x.py'", r"C:\Users\me"):
        cell = new_code_cell("1", outputs=[nbformat.v4.new_output("stream", text=text)])
        assert machine_traces(nbformat.v4.new_notebook(cells=[cell]))
    for text in ("output/tutorial/run", "3 / 4, and/or, mIoU/mAP", "https://arxiv.org/abs/1"):
        cell = new_code_cell("1", outputs=[nbformat.v4.new_output("stream", text=text)])
        assert not machine_traces(nbformat.v4.new_notebook(cells=[cell]))


def test_everything_that_the_cells_import_exists(stored: NotebookNode) -> None:
    names = 0
    for tree in python_trees(stored):
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), node.module
                names += len(node.names)
    assert names >= 4


def test_all_commands_are_understood(stored: NotebookNode) -> None:
    found = commands(stored)
    assert len(found) == 3
    for script, *words in found:
        assert (REPOSITORY / script).is_file(), script
        module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
        parse(module, words)


def parse(module: ModuleType, words: list[str]) -> None:
    """Fails when a program does not know one of the options."""
    if hasattr(module, "parse_args"):
        module.parse_args(words)
        return
    args = argument_parser("").parse_args(words)
    load_config(args.config_file, args.opts, datasets=args.dataset)


def test_links_lead_somewhere(stored: NotebookNode) -> None:
    text = "\n".join(cell.source for cell in stored.cells if cell.cell_type == "markdown")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert links
    for link in links:
        name, _, anchor = link.partition("#")
        page = (TUTORIAL.parent / name).read_text(encoding="utf-8")
        assert not anchor or anchor in map(anchor_of, re.findall(r"(?m)^#+ (.+)$", page)), link


def anchor_of(heading: str) -> str:
    """As code hosts make it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.slow
def test_the_tutorial_runs_from_nothing(stored: NotebookNode, tmp_path: Path) -> None:
    make_working_folder(tmp_path)
    notebook = nbformat.from_dict(stored)
    notebook.cells.append(new_code_cell(FINDINGS))
    execute(notebook, tmp_path)
    text = notebook.cells.pop().outputs[0].text
    found = json.loads(text.partition("FINDINGS ")[2])
    assert len(found["categories"]) == 8 and found["shared"] >= 8
    assert found["evaluated"] == found["categories"]
    # The answer "sky" everywhere, the best of a single one, would reach 3.
    assert found["mIoU"] > 40
    assert found["explained"] == "car"
    assert sum(found["shares"]) == pytest.approx(found["score"], abs=1e-9)
    assert "vehicle" in found["new"] and not {"car", "bus"} & set(found["new"])
    assert found["vehicle"] > 0.5
    tidy(notebook)
    assert machine_traces(notebook) == []
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert len(nbformat.writes(notebook)) < 500_000
