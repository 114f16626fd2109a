"""The installer of Detectron2: its sources, wheel, portable folder and errors."""

from __future__ import annotations

import functools
import hashlib
import http.server
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

from tests.tools.sources import write

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import install_detectron2 as tool
from _detectron2_installer import environment, fetch, portable, wheel
from _detectron2_installer.errors import InstallError
from _detectron2_installer.fetch import IndexSettings

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
