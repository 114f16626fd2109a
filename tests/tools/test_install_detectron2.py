"""The installer of Detectron2: its edits, sources, wheel, portable folder and errors."""

from __future__ import annotations

import functools
import hashlib
import http.server
import importlib.metadata
import io
import json
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import install_detectron2 as tool
from _detectron2_installer import environment, fetch, portable, wheel
from _detectron2_installer.edits import EDITS, PORTABLE_EDITS, Edit, apply_edits
from _detectron2_installer.errors import InstallError
from _detectron2_installer.fetch import IndexSettings

# One miniature source per edit: file, text before, text after.
MINIATURES: dict[str, tuple[str, str, str]] = {
    "numpy-aliases": (
        "data/build.py",
        "a = np.zeros(3, dtype=np.int)\nb = c.astype(np.bool)\nd = np.int64(np.floor(1.5))\n",
        "a = np.zeros(3, dtype=int)\nb = c.astype(bool)\nd = np.int64(np.floor(1.5))\n",
    ),
    "numpy-copy": (
        "layers/mask_ops.py",
        "mask = np.array(mask, copy=False)\n",
        "mask = np.asarray(mask)\n",
    ),
    "numpy-copy-of-masks": (
        "evaluation/sem_seg_evaluation.py",
        "array = np.array(Image.open(f), copy=copy, dtype=dtype)\n",
        "array = np.array(Image.open(f), dtype=dtype)\n",
    ),
    "pillow-linear": (
        "data/transforms/transform.py",
        "def resize(image, interp=Image.LINEAR, fill=0): ...\n",
        "def resize(image, interp=Image.BILINEAR, fill=0): ...\n",
    ),
    "optional-operators": (
        "layers/rotated_boxes.py",
        "from detectron2 import _C\n\n\ndef iou(a, b):\n    return _C.box_iou_rotated(a, b)\n",
        "try:\n    from detectron2 import _C\n"
        "except ImportError:  # installed without compiled operators\n    _C = None\n"
        "\n\ndef iou(a, b):\n    return _C.box_iou_rotated(a, b)\n",
    ),
    "optional-fast-coco": (
        "evaluation/coco_evaluation.py",
        "from detectron2.evaluation.fast_eval_api import COCOeval_opt\n",
        "try:\n    from detectron2.evaluation.fast_eval_api import COCOeval_opt\n"
        "except ImportError:  # installed without compiled operators\n"
        "    COCOeval_opt = COCOeval\n",
    ),
    "model-zoo-import": ("model_zoo/model_zoo.py", "import pkg_resources\nx = 1\n", "x = 1\n"),
    "model-zoo-path": (
        "model_zoo/model_zoo.py",
        "cfg_file = pkg_resources.resource_filename(\n"
        '    "detectron2.model_zoo", os.path.join("configs", config_path)\n)\n',
        'cfg_file = os.path.join(os.path.dirname(__file__), "configs", config_path)\n',
    ),
    "optional-pycocotools": (
        "structures/masks.py",
        "import pycocotools.mask as mask_util\n",
        "try:\n    import pycocotools.mask as mask_util\n"
        "except ImportError:  # needed for run-length encoded masks\n    mask_util = None\n",
    ),
    "optional-pycocotools-classes": (
        "evaluation/rotated_coco_evaluation.py",
        "from pycocotools.cocoeval import COCOeval, maskUtils\n",
        "try:\n    from pycocotools.cocoeval import COCOeval, maskUtils\n"
        "except ImportError:  # needed for COCO's own metrics\n    COCOeval = object\n",
    ),
    "fallback-packages": (
        "__init__.py",
        "x = 1\n",
        "import os as _os\nimport sys as _sys\n\n"
        "_sys.path.append(_os.path.join(_os.path.dirname(_os.path.dirname(__file__)), "
        '"fallback"))\n\nx = 1\n',
    ),
}
ALL_EDITS = EDITS + PORTABLE_EDITS


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


# ---------------------------------------------------------------------------------------- edits


@pytest.mark.parametrize("edit", ALL_EDITS, ids=lambda edit: edit.name)
def test_each_edit_changes_its_miniature_source(edit: Edit, tmp_path: Path) -> None:
    name, before, after = MINIATURES[edit.name]
    package = write(tmp_path, {name: before, "untouched.py": "x = 1\n"})
    apply_edits(package, [edit], exact=False)
    assert (package / name).read_text() == after
    assert (package / "untouched.py").read_text() == "x = 1\n"
    compile(after, name, "exec")


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_an_edit_leaves_edited_sources_alone(edit: Edit) -> None:
    _, _, after = MINIATURES[edit.name]
    assert edit.apply_to(after) == (after, 0)


def test_edits_have_names_of_their_own_and_reasons() -> None:
    assert len({edit.name for edit in ALL_EDITS}) == len(ALL_EDITS)
    assert all(edit.why and edit.files for edit in ALL_EDITS)
    assert set(MINIATURES) == {edit.name for edit in ALL_EDITS}


def test_an_edit_that_matches_nothing_is_an_error_in_the_release(tmp_path: Path) -> None:
    (edit,) = [edit for edit in EDITS if edit.name == "pillow-linear"]
    package = write(tmp_path, {"data/transforms/transform.py": "interp = Image.BILINEAR\n"})
    with pytest.raises(InstallError, match="'pillow-linear' matches 0 places .* instead of 1"):
        apply_edits(package, [edit], exact=True)
    assert apply_edits(package, [edit], exact=False) == {"pillow-linear": 0}


def test_unguarded_operators_import_and_fail_only_when_used(tmp_path: Path) -> None:
    name, before, _ = MINIATURES["optional-operators"]
    package = write(tmp_path / "detectron2", {"__init__.py": "", name: before})
    apply_edits(package, EDITS, exact=False)
    code = "from detectron2.layers import rotated_boxes as r; assert r._C is None; r.iou(1, 2)"
    run = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.stderr.strip().endswith("has no attribute 'box_iou_rotated'")


def test_the_installed_detectron2_carries_every_edit() -> None:
    version = importlib.metadata.version("detectron2")
    if version != tool.VERSIONS["release"]:
        pytest.skip(f"Detectron2 {version} was not installed by this tool")
    found = importlib.metadata.distribution("detectron2").locate_file("detectron2")
    package = Path(str(found))
    sources = {path: path.read_text() for path in package.rglob("*.py")}
    assert len(sources) > 150
    for edit in EDITS:
        files = {path for glob in edit.files for path in package.glob(glob)}
        assert files, edit.name
        assert not [path for path in files if edit.apply_to(sources[path])[1]], edit.name


# ------------------------------------------------------------------------------ sources: release


@pytest.fixture
def sdist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file index as pip knows it, with a small sdist of the right name and pinned hash."""
    path = tmp_path / "simple" / fetch.SDIST_PROJECT / fetch.SDIST_NAME
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, text in {
            "detectron2/__init__.py": '__version__ = "0.6"\n',
            "detectron2/layers/csrc/vision.cpp": "",
            "projects/DeepLab/deeplab/__init__.py": "",
            "configs/Base.yaml": "VERSION: 2\n",
            "LICENSE": "Apache",
            "tools/__init__.py": "",
        }.items():
            entry = tarfile.TarInfo(f"pb1-detectron2-0.6/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    monkeypatch.setattr(fetch, "SDIST_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    (path.parent / "index.html").write_text(
        f'<a href="other.tar.gz">other</a> <a href="{path.name}#sha256=0">{path.name}</a>'
    )
    return path


@pytest.fixture
def server(sdist: Path) -> Iterator[str]:
    """The same index behind http; yields its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Keeps the test's output clean."""

    handler = functools.partial(Quiet, directory=str(sdist.parents[2]))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/simple"
        running.shutdown()
        thread.join()


def test_the_release_comes_from_an_index_over_http(
    server: str, sdist: Path, tmp_path: Path
) -> None:
    path = fetch.fetch_release(IndexSettings((f"{server}/",)), tmp_path)
    assert path == tmp_path / fetch.SDIST_NAME
    assert path.read_bytes() == sdist.read_bytes()


@pytest.mark.parametrize("form", ["file index", "find-links folder"])
def test_the_release_comes_from_local_folders(form: str, sdist: Path, tmp_path: Path) -> None:
    settings = {
        "file index": IndexSettings((sdist.parents[1].as_uri(),)),
        "find-links folder": IndexSettings((), (str(sdist.parent),)),
    }[form]
    assert fetch.fetch_release(settings, tmp_path).read_bytes() == sdist.read_bytes()


def test_an_index_without_the_release_is_passed_over(
    server: str, sdist: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    settings = IndexSettings((f"{server}/nowhere", (tmp_path / "empty").as_uri(), server))
    assert fetch.fetch_release(settings, tmp_path).read_bytes() == sdist.read_bytes()


def test_a_file_with_another_hash_is_refused(
    sdist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "SDIST_SHA256", "0" * 64)
    with pytest.raises(InstallError, match="has sha256 .* instead of 0000.*nothing was installed"):
        fetch.fetch_release(IndexSettings((sdist.parents[1].as_uri(),)), tmp_path)


def test_without_network_the_error_names_the_index_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(fetch, "_ATTEMPTS", 2)
    settings = IndexSettings(("http://user:secret@127.0.0.1:9/simple",))
    with pytest.raises(InstallError, match=r"\(127\.0\.0\.1: .*refused.*--sdist") as caught:
        fetch.fetch_release(settings, tmp_path)
    assert "secret" not in str(caught.value)


def test_index_settings_are_those_of_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "config": "global.index-url='http://main/simple'\n"
        "global.extra-index-url='http://more/simple file:///local'\n"
        "install.find-links='/wheels'\n"
        ":env:.cert='/certificates.pem'\n",
        "help": "-i, --index-url <url>   Base URL of the index (default http://default/simple).",
    }
    monkeypatch.setattr(fetch, "_pip_output", lambda python, command, *rest: answers[command])
    expected = ("http://main/simple", "http://more/simple", "file:///local")
    assert fetch.index_settings("python") == IndexSettings(
        expected, ("/wheels",), "/certificates.pem"
    )
    answers["config"] = ""
    assert fetch.index_settings("python") == IndexSettings(("http://default/simple",))
    answers["config"] = ":env:.no-index='1'\n:env:.find-links='/wheels'\n"
    assert fetch.index_settings("python") == IndexSettings((), ("/wheels",))


def test_the_pip_of_this_environment_names_an_index() -> None:
    settings = fetch.index_settings(sys.executable)
    assert settings.indexes or settings.find_links


# ---------------------------------------------------------------------------------- sources: git


def test_the_pinned_commit_is_a_full_id_of_the_official_repository() -> None:
    assert len(fetch.GIT_COMMIT) == 40 and int(fetch.GIT_COMMIT, 16)
    assert fetch.GIT_URL.endswith("/facebookresearch/detectron2.git")


def test_git_fetches_one_commit_and_checks_it_out(tmp_path: Path) -> None:
    commands = fetch.git_commands("URL", "COMMIT", tmp_path)
    assert [command[-2:] for command in commands[1:]] == [["URL", "COMMIT"], ["--quiet", "COMMIT"]]
    repository = write(tmp_path / "origin", {"detectron2/__init__.py": "x = 1\n"})
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    tree = fetch.fetch_git(str(repository), commit.stdout.strip(), tmp_path / "copy")
    assert (tree / "detectron2/__init__.py").read_text() == "x = 1\n"
    with pytest.raises(InstallError, match="commit 111111111111 could not be fetched from"):
        fetch.fetch_git(str(repository), "1" * 40, tmp_path / "other")


# ----------------------------------------------------------------------------------------- wheel


def test_the_wheel_is_complete_pure_and_recorded(sdist: Path, tmp_path: Path) -> None:
    tree = fetch.unpack(sdist, tmp_path / "tree")
    path = wheel.build_wheel(tree, "0.6+pure", tmp_path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        information = "detectron2-0.6+pure.dist-info"
        assert [name for name in names if not name.startswith(information)] == [
            "detectron2/__init__.py",
            "detectron2/model_zoo/configs/Base.yaml",
            "detectron2/projects/deeplab/__init__.py",
        ]
        assert "Root-Is-Purelib: true" in archive.read(f"{information}/WHEEL").decode()
        metadata = archive.read(f"{information}/METADATA").decode()
        assert "Version: 0.6+pure\n" in metadata and "Requires-Dist: fvcore" in metadata
        record = archive.read(f"{information}/RECORD").decode().splitlines()
    assert [line.split(",")[0] for line in record] == names


# -------------------------------------------------------------------------------------- portable


def make_wheel(folder: Path, name: str, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-1-py3-none-any.whl", "w") as archive:
        for inside, text in files.items():
            archive.writestr(inside, text)


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Files that the fetched packages hold, in place of what an index would give."""
    files = {"fvcore/__init__.py": ""}

    def fetched(python: str, requirements: tuple[str, ...], wheels: Path) -> None:
        if requirements == portable.PACKAGES:
            make_wheel(wheels, "fvcore", files)
            make_wheel(wheels, "pyyaml", {"yaml/__init__.py": "", "yaml/_yaml.cpython-311.so": ""})
        else:
            make_wheel(wheels, "tensorboard", {"tensorboard/__init__.py": ""})

    monkeypatch.setattr(portable, "_fetch", fetched)
    monkeypatch.setattr(tool, "has_module", lambda python, name: False)  # not tried out
    return files


def target_of(sdist: Path, monkeypatch: pytest.MonkeyPatch, folder: Path, *more: str) -> int:
    monkeypatch.setattr(tool, "EDITS", ())
    return tool.main(["--sdist", str(sdist), "--target", str(folder), *more])


def test_a_portable_folder_has_no_compiled_file_and_is_found_again(
    sdist: Path, packages: dict[str, str], tmp_path: Path, monkeypatch, capsys
) -> None:
    folder = tmp_path / "new" / "d2"
    assert target_of(sdist, monkeypatch, folder) == 0
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {
        "detectron2/__init__.py",
        "fvcore/__init__.py",
        "yaml/__init__.py",
        "fallback/tensorboard/__init__.py",
    } <= files
    assert not [name for name in files if name.endswith(".so")]
    assert '"fallback"' in (folder / "detectron2/__init__.py").read_text()
    assert json.loads((folder / portable.MARKER).read_text())["detectron2"] == "0.6+pure"
    assert [path.name for path in folder.parent.iterdir()] == ["d2"]
    capsys.readouterr()

    (folder / "kept").touch()
    assert target_of(sdist, monkeypatch, folder) == 0
    assert "keeping" in capsys.readouterr().out
    assert (folder / "kept").exists()
    assert target_of(sdist, monkeypatch, folder, "--force") == 0
    assert not (folder / "kept").exists()


def test_a_package_with_a_compiled_part_leaves_the_target_as_it_was(
    sdist: Path, packages: dict[str, str], tmp_path: Path, monkeypatch, capsys
) -> None:
    assert target_of(sdist, monkeypatch, tmp_path / "d2") == 0
    before = sorted((tmp_path / "d2").rglob("*"))
    packages["fvcore/fast.so"] = ""
    assert target_of(sdist, monkeypatch, tmp_path / "d2", "--force") == 2
    assert "error: fvcore/fast.so is compiled" in capsys.readouterr().err
    assert sorted((tmp_path / "d2").rglob("*")) == before
    assert not list(tmp_path.glob(".d2-*"))


def test_a_folder_with_other_content_is_not_overwritten(
    sdist: Path, packages: dict[str, str], tmp_path: Path, monkeypatch, capsys
) -> None:
    folder = write(tmp_path / "mine", {"thesis.txt": "long"})
    assert target_of(sdist, monkeypatch, folder, "--force") == 2
    assert "is no portable Detectron2: name a new" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_every_portable_package_comes_from_one_route() -> None:
    names = [*portable._FROM_SOURCE, *portable._COMPILED_PART_OPTIONAL]
    for name in names:
        assert [entry for entry in portable.PACKAGES if entry.startswith(name)], name
    assert not set(portable.PACKAGES) & set(portable.FALLBACK)


# ------------------------------------------------------------------------------------------ tool


@pytest.fixture
def pip_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(tool, "pip", lambda python, *arguments: calls.append(arguments))
    monkeypatch.setattr(tool, "has_module", lambda python, name: True)
    monkeypatch.setattr(tool, "EDITS", ())
    return calls


def trials(monkeypatch: pytest.MonkeyPatch, *answers: tuple[Path | None, str]) -> None:
    """Lets the tool find these states of Detectron2, one after the other."""
    left = iter(answers)
    monkeypatch.setattr(tool, "working_detectron2", lambda python: next(left))


def test_a_working_detectron2_is_kept(pip_calls: list, monkeypatch, capsys) -> None:
    trials(monkeypatch, (Path("/site/detectron2"), "0.6"))
    assert tool.main([]) == 0
    assert pip_calls == []
    assert "keeping Detectron2 0.6" in capsys.readouterr().out


def test_a_missing_one_is_installed_last_and_without_its_requirements(
    sdist: Path, pip_calls: list, monkeypatch
) -> None:
    trials(monkeypatch, (None, "No module named 'detectron2'"), (Path("/site"), "0.6"))
    assert tool.main(["--sdist", str(sdist)]) == 0
    assert [call[0] for call in pip_calls] == ["install", "install", "install"]
    assert set(wheel.REQUIREMENTS) <= set(pip_calls[0])
    assert "--no-deps" in pip_calls[-1] and "detectron2-0.6+pure-py3" in pip_calls[-1][-1]


def test_one_that_does_not_run_is_removed_again(
    sdist: Path, pip_calls: list, monkeypatch, capsys
) -> None:
    trials(monkeypatch, (None, "missing"), (None, "ImportError: something new"))
    assert tool.main(["--sdist", str(sdist)]) == 2
    assert pip_calls[-1][0] == "uninstall"
    assert "removed again (ImportError: something new)" in capsys.readouterr().err


def test_an_explicit_source_replaces_another_one(pip_calls: list, monkeypatch) -> None:
    asked: list[tuple[str, str]] = []

    def fetched(url: str, commit: str, folder: Path) -> Path:
        asked.append((url, commit))
        return write(folder, {"detectron2/__init__.py": ""})

    monkeypatch.setattr(tool, "fetch_git", fetched)
    monkeypatch.setattr(tool, "installed_version", lambda python: tool.VERSIONS["release"])
    trials(monkeypatch, *[(Path("/site/detectron2"), "0.6")] * 3)
    assert tool.main(["--source", "release"]) == 0
    assert (asked, pip_calls) == ([], [])
    assert tool.main(["--source", "git"]) == 0
    assert asked == [(fetch.GIT_URL, fetch.GIT_COMMIT)]
    assert tool.VERSIONS["git"] in pip_calls[-1][-1]


def test_pycocotools_without_a_wheel_is_no_reason_to_stop(monkeypatch, capsys) -> None:
    def fail(python: str, *arguments: str) -> None:
        raise InstallError("no wheel")

    monkeypatch.setattr(tool, "pip", fail)
    tool.install_optional(sys.executable)
    assert "no ready-made pycocotools" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--python", "/does/not/exist"], "cannot be run"),
        (["--sdist", "/does/not/exist.tar.gz", "--force"], "does not exist: give the path of"),
    ],
)
def test_bad_arguments_end_with_one_sentence(
    arguments: list[str], sentence: str, monkeypatch, capsys
) -> None:
    trials(monkeypatch, (None, "missing"))
    assert tool.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and sentence in error


def test_an_environment_without_torch_is_told_to_get_it(monkeypatch, capsys) -> None:
    monkeypatch.setattr(tool, "has_module", lambda python, name: False)
    assert tool.main([]) == 2
    assert "run `pip install torch torchvision` first" in capsys.readouterr().err


def test_a_failing_pip_is_one_sentence() -> None:
    with pytest.raises(InstallError, match="`.* install --no-index nothing-like-this .*failed"):
        environment.pip(sys.executable, "install", "--no-index", "nothing-like-this")


@pytest.mark.slow
def test_detectron2_works_in_this_environment() -> None:
    folder, version = environment.working_detectron2(sys.executable)
    assert folder is not None, version


def test_a_broken_detectron2_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "detectron2", {"__init__.py": "raise ImportError('_C is missing')"})
    folder, reason = environment.working_detectron2(sys.executable, search=[tmp_path])
    assert (folder, reason) == (None, "ImportError: _C is missing")


@pytest.mark.slow
def test_the_release_on_the_index_takes_every_edit_and_runs_from_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "d2"
    tool.make_portable(sys.executable, None, None, folder, force=False)
    found, reason = environment.working_detectron2(sys.executable, search=[folder])
    assert found == folder / "detectron2", reason
