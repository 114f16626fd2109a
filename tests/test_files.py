from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prolab_d2 import ProLabError
from prolab_d2.files import atomic_files, atomic_folder, atomic_path, check_writable
from tests.golden import REPOSITORY


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.json"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.parent == target.parent and temporary.suffix == ".json"
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_failing_block_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), atomic_path(target) as temporary:
        temporary.write_text("new")
        raise RuntimeError("half way")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with atomic_path(tmp_path / "atomic") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_keeps_pointing_to_the_written_file(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_path(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "new"


def test_an_unwritable_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "x", tmp_path / "file" / "x" / "y"):
        with pytest.raises(ProLabError, match="cannot write .*: choose another"):
            check_writable(path)
        with pytest.raises(ProLabError, match="cannot write"), atomic_path(path):
            pytest.fail("the block must not run")
        with pytest.raises(ProLabError, match="cannot write"), atomic_folder(path):
            pytest.fail("the block must not run")
    with pytest.raises(ProLabError, match="a folder of that name"), atomic_path(tmp_path):
        pytest.fail("the block must not run")


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    def fill(place: Path) -> None:
        raise OSError(28, os.strerror(28))

    with pytest.raises(ProLabError, match="no space left"), atomic_path(tmp_path / "x") as place:
        fill(place)
    with pytest.raises(ProLabError, match="no space left"), atomic_folder(tmp_path / "y") as place:
        fill(place)
    assert not list(tmp_path.iterdir())


def test_other_errors_of_the_block_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "x"):
        (tmp_path / "input that is missing").read_text()
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "y"):
        Path("input that is missing").read_text()


def test_a_new_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"
    with atomic_folder(target) as temporary:
        (temporary / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    assert list(target.parent.iterdir()) == [target]


def test_an_existing_folder_keeps_what_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "a").write_text("old")
    (target / "notes").write_text("mine")
    with atomic_folder(target) as temporary:
        (temporary / "a").write_text("new")
        assert (target / "a").read_text() == "old"
    assert {p.name: p.read_text() for p in target.iterdir()} == {"a": "new", "notes": "mine"}
    assert list(tmp_path.iterdir()) == [target]


def test_a_failing_block_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "x") as temporary:
        (temporary / "a").touch()
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_checking_a_place_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "folder")
    check_writable(tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_checking_names_the_folder_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ProLabError, match=rf"cannot write {folder} \("):
            check_writable(folder)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_killed_writer_leaves_the_old_file_and_a_hidden_one(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    code = (
        "import os, sys; from prolab_d2.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as place:\n"
        "    place.write_text('new')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)], cwd=REPOSITORY, check=False)
    assert done.returncode == -9
    assert target.read_text() == "old"
    # Hidden, so that no listing of images or label spaces takes it for one.
    (leftover,) = (path for path in tmp_path.iterdir() if path != target)
    assert leftover.name.startswith(".")


def test_files_that_belong_together_appear_together_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new/model.onnx"
    with atomic_files(target) as temporary:
        assert temporary.name == target.name
        temporary.write_text("graph")
        temporary.with_name("model.onnx.data").write_text("weights")
        assert not target.exists()
    assert target.read_text() == "graph"
    with pytest.raises(KeyError), atomic_files(target) as temporary:
        temporary.write_text("another graph")
        temporary.with_name("model.onnx.data").write_text("other weights")
        raise KeyError
    assert target.read_text() == "graph"
    assert target.with_name("model.onnx.data").read_text() == "weights"
    assert len(list(target.parent.iterdir())) == 2
    with pytest.raises(ProLabError, match="a folder of that name exists"), atomic_files(tmp_path):
        pass
