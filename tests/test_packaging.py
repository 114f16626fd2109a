"""What a wheel of this package holds, and what setup.py, Makefile and CI promise."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PACKAGED = ("setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "CITATION.cff", "label_spaces")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the checkout, built without network and without torch."""
    folder = tmp_path_factory.mktemp("packaging")
    copy = folder / "checkout"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in (*PACKAGED, "prolab_d2", "projects/ProLab/configs"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy / name)
    working = copy / "label_spaces/mine.build"
    working.mkdir()
    (working / "clusters.safetensors").touch()
    code = (
        "import sys; sys.modules['torch'] = None; sys.path.insert(0, '.')\n"
        "import setuptools.build_meta as backend; backend.build_wheel(sys.argv[1])"
    )
    command = [sys.executable, "-c", code, str(folder)]
    run = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_is_pure_and_holds_the_package_alone(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"prolab_d2"}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "prolab_d2").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules


def test_the_wheel_carries_every_label_space_and_config(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for kind, folder in {
        "label_spaces": "label_spaces",
        "configs": "projects/ProLab/configs",
    }.items():
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        assert files, folder
        for path in files:
            inside = path.relative_to(ROOT / folder).as_posix()
            assert f"prolab_d2/_resources/{kind}/{inside}" in names
    assert not [name for name in names if ".build" in name]


@pytest.mark.parametrize(
    "folder",
    [
        "data/datasets/names",
        "label_space/page",
        "label_space/prompts",
        "report/page",
        "explorer/page",
    ],
)
def test_the_wheel_carries_the_data_of_the_package(wheel: Path, folder: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    files = [path for path in (ROOT / "prolab_d2" / folder).iterdir() if path.is_file()]
    assert files
    assert {path.relative_to(ROOT).as_posix() for path in files} <= names


def test_names_resolve_from_the_wheel_in_any_folder(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    code = (
        f"import sys; sys.path.insert(0, {str(installed)!r})\n"
        "from prolab_d2 import LabelSpace\n"
        "from prolab_d2.resources import resource_folder\n"
        "print(resource_folder('configs') / 'Base-ProLab.yaml')\n"
        "print(len(LabelSpace.load('camvid').categories))\n"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    config, categories = run.stdout.split()
    assert Path(config).is_file() and Path(config).is_relative_to(installed)
    assert int(categories) == 11


def test_requirements_have_lower_bounds_and_no_direct_links(metadata: Message) -> None:
    requirements = metadata.get_all("Requires-Dist")
    assert requirements
    for requirement in requirements:
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?\s*(<[\d.]+,)?>=\d", requirement), requirement
        assert "://" not in requirement


def test_the_extras_are_those_of_the_readme(metadata: Message) -> None:
    extras = metadata.get_all("Provides-Extra")
    assert extras is not None
    known = {"datasets", "label-space", "llm", "onnx", "export", "demo", "dev", "all"}
    assert set(extras) == known
    requirements = {extra: set[str]() for extra in extras}
    for line in metadata.get_all("Requires-Dist", []):
        requirement, _, marker = line.partition(";")
        for extra in re.findall(r'extra == "([\w-]+)"', marker):
            requirements[extra].add(requirement.strip())
    assert requirements["all"] == set[str]().union(
        *(requirements[extra] for extra in extras if extra != "all")
    )
    assert requirements["label-space"] <= requirements["dev"]


def test_the_version_is_that_of_the_package(metadata: Message) -> None:
    from prolab_d2._version import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert metadata["Version"] == __version__ == citation["version"]


def test_the_citation_names_the_paper() -> None:
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text())["preferred-citation"]
    assert paper["title"].startswith("A Semantic Space is Worth 256 Language Descriptions")
    assert len(paper["authors"]) == 10
    assert paper["year"] == 2024


@pytest.mark.parametrize(
    "target",
    ["setup", "llm", "demo", "explorer", "explorer-test", "test", "test-slow", "lint", "clean"],
)
def test_the_makefile_has_every_target(target: str, tmp_path: Path) -> None:
    installs = "tools/install_detectron2.py" in dry_run(target, tmp_path)
    assert installs == (target != "clean")


def dry_run(target: str, tmp_path: Path, *options: str) -> str:
    command = ["make", "--dry-run", *options, f"VENV={tmp_path}/venv", target]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_ci_runs_what_the_readme_says() -> None:
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o100
    lines = script.read_text().splitlines()
    assert "set -euo pipefail" in lines
    assert lines[-3:] == ["make lint", "make llm", "PROLAB_REQUIRE_LLM=1 make test"]


def test_without_a_compiler_make_llm_says_what_to_install(tmp_path: Path) -> None:
    """Everything before that step counts as done, and nothing is installed."""
    stamps = tmp_path / "venv/.setup"
    stamps.mkdir(parents=True)
    for name in dry_run("llm", tmp_path, "--print-data-base").split():
        if name.startswith(f"{stamps}/") and not name.startswith(f"{stamps}/llm-"):
            Path(name.rstrip(":")).touch()
            os.utime(name.rstrip(":"), (0, 0))  # none is newer than what depends on it
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "make", "cat", "cksum", "tr", "uname"):
        (tools / name).symlink_to(shutil.which(name))
    run = subprocess.run(
        ["make", f"VENV={tmp_path}/venv", "llm"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PATH": str(tools)},
    )
    assert run.returncode == 2
    assert "there is no C++ compiler: install one" in run.stderr
    assert not list(stamps.glob("llm-*"))
