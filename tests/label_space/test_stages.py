from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from prolab_d2 import ProLabError
from prolab_d2.label_space.progress import Progress
from prolab_d2.label_space.stages import Arrays, Stages, content_hash, read_arrays
from tests.golden import REPOSITORY

INPUTS = {"encoder": "words", "sentences": content_hash(["a", "b"])}


class Maker:
    """Counts how often the arrays are made."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Arrays:
        self.calls += 1
        return {"rows": np.arange(6.0).reshape(2, 3), "labels": np.array([1, 0], dtype=np.int32)}


def assert_same(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_a_stage_with_the_same_inputs_is_reused(tmp_path: Path) -> None:
    make = Maker()
    first, reused = Stages(tmp_path).reuse("rows", INPUTS, make)
    assert not reused
    again, reused = Stages(tmp_path).reuse("rows", dict(INPUTS), make)
    assert reused and make.calls == 1
    assert_same(again, first)


def test_other_inputs_or_another_stage_are_another_file(tmp_path: Path) -> None:
    make = Maker()
    stages = Stages(tmp_path)
    for stage, inputs in (("rows", INPUTS), ("rows", {**INPUTS, "encoder": "x"}), ("row", INPUTS)):
        assert not stages.reuse(stage, inputs, make)[1]
    assert len(list(tmp_path.iterdir())) == 3


def test_without_a_folder_everything_is_made_anew() -> None:
    make = Maker()
    for _ in range(2):
        arrays, reused = Stages().part("blocks").reuse("rows", INPUTS, make)
        assert not reused and arrays.keys() == {"rows", "labels"}
    assert make.calls == 2


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def foreign(path: Path) -> None:
    path.write_bytes(safetensors.numpy.save({"rows": np.zeros((2, 3))}))


def of_other_inputs(path: Path) -> None:
    other = Stages(path.parent / "other")
    other.reuse("rows", {"encoder": "x"}, Maker())
    os.replace(other.path("rows", {"encoder": "x"}), path)


@pytest.mark.parametrize("damage", [cut, empty, flip, foreign, of_other_inputs])
def test_a_file_that_cannot_be_trusted_is_made_again(damage: object, tmp_path: Path) -> None:
    stream = io.StringIO()
    stages = Stages(tmp_path, Progress(stream))
    expected, _ = stages.reuse("rows", INPUTS, Maker())
    path = stages.path("rows", INPUTS)
    damage(path)
    again, reused = stages.reuse("rows", INPUTS, Maker())
    assert not reused and "is made again" in stream.getvalue()
    assert_same(again, expected)
    assert stages.reuse("rows", INPUTS, Maker())[1]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ProLabError, match="no space left"):
        Stages(tmp_path).reuse("rows", INPUTS, Maker())
    assert not list(tmp_path.iterdir())


def test_two_jobs_keep_out_of_each_others_way(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from prolab_d2.label_space.stages import Stages\n"
        "with Stages(sys.argv[1]).locked():\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": REPOSITORY}
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == b"ready\n"
        with (
            pytest.raises(ProLabError, match="another process works in .*: wait until"),
            Stages(tmp_path).locked(),
        ):
            pytest.fail("the block must not run")
        other.kill()
        other.wait()
    with Stages(tmp_path).locked():
        pass


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    (tmp_path / "part").mkdir()
    leftovers = [
        tmp_path / f".rows-00.{gone.pid}-0123abcd.unfinished.safetensors",
        tmp_path / "part" / f".block.{gone.pid}-0123abcd.unfinished",
    ]
    others = [
        tmp_path / f".rows-00.{os.getppid()}-0123abcd.unfinished.safetensors",
        tmp_path / ".mine.unfinished",
    ]
    for path in leftovers + others:
        path.touch()
    with Stages(tmp_path).locked():
        pass
    assert not any(path.exists() for path in leftovers)
    assert all(path.exists() for path in others)


def test_parts_are_cleared(tmp_path: Path) -> None:
    part = Stages(tmp_path).part("blocks")
    part.reuse("rows", INPUTS, Maker())
    assert part.folder == tmp_path / "blocks" and part.folder.is_dir()
    part.clear()
    assert not part.folder.exists()
    part.clear()


def test_arrays_are_read_back_with_what_they_were_made_from(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    expected, _ = stages.reuse("rows", INPUTS, Maker())
    arrays, made_from = read_arrays(stages.path("rows", INPUTS))
    assert_same(arrays, expected)
    assert made_from["encoder"] == "words" and made_from["stage"] == "rows"
