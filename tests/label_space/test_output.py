from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.label_space import build_label_space, read_descriptions
from prolab_d2.label_space.output import Output, write_descriptions
from tests.label_space.conftest import SENTENCES, WordEncoder

SETTINGS = {"descriptions": "mine.json", "properties": 4}


@pytest.fixture
def other(encoder: WordEncoder) -> LabelSpace:
    """A label space of the same categories, with other properties than `space`."""
    return build_label_space(SENTENCES, encoder, 5)


def output(tmp_path: Path, settings: dict[str, Any] | None = None, **options: Any) -> Output:
    return Output(tmp_path / "out", tmp_path / "work", settings=settings or SETTINGS, **options)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".log"}


def test_the_descriptions_stand_beside_the_label_space(space: LabelSpace, tmp_path: Path) -> None:
    output(tmp_path).write(space)
    assert LabelSpace.load(tmp_path / "out").hash == space.hash
    assert read_descriptions(tmp_path / "out/descriptions.json") == SENTENCES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "work"]


def test_categories_without_sentences_are_not_in_the_descriptions(tmp_path: Path) -> None:
    space = LabelSpace.from_arrays(["a", "b"], [[1.0, 0], [0, 1]], [[1, 0], [0, 1]])
    output(tmp_path).write(space)
    assert not (tmp_path / "out/descriptions.json").exists()
    space = LabelSpace.from_arrays(
        ["a", "b"], [[1.0, 0], [0, 1]], [[1, 0], [0, 1]], descriptions={"b": ["blue"]}
    )
    output(tmp_path, overwrite=True).write(space)
    assert json.loads((tmp_path / "out/descriptions.json").read_text()) == {"b": ["blue"]}


def test_the_same_job_may_write_again_what_it_has_written(
    space: LabelSpace, tmp_path: Path
) -> None:
    output(tmp_path).write(space)
    before = content(tmp_path / "out")
    output(tmp_path).write(space)
    assert content(tmp_path / "out") == before


def test_another_job_needs_leave_to_overwrite(
    space: LabelSpace, other: LabelSpace, tmp_path: Path
) -> None:
    output(tmp_path).write(space)
    with pytest.raises(ProLabError, match="holds a label space already: .*--overwrite"):
        output(tmp_path, {"properties": 5})
    output(tmp_path, {"properties": 5}, overwrite=True).write(other)
    assert LabelSpace.load(tmp_path / "out").hash == other.hash


def test_a_label_space_of_unknown_origin_needs_leave_to_overwrite(
    space: LabelSpace, tmp_path: Path
) -> None:
    space.save(tmp_path / "out")
    with pytest.raises(ProLabError, match="holds a label space already"):
        output(tmp_path)


def test_the_same_settings_with_other_results_need_leave_to_overwrite(
    space: LabelSpace, other: LabelSpace, tmp_path: Path
) -> None:
    output(tmp_path).write(space)
    before = content(tmp_path / "out")
    with pytest.raises(ProLabError, match="holds a label space already"):
        output(tmp_path).write(other)
    assert content(tmp_path / "out") == before


def test_what_was_edited_by_hand_needs_leave_to_overwrite(
    space: LabelSpace, tmp_path: Path
) -> None:
    output(tmp_path).write(space)
    file = tmp_path / "out/label_space.json"
    edited = file.read_text().replace("sloping roof", "steep roof")
    file.write_text(edited)
    with pytest.raises(ProLabError, match="holds a label space already"):
        output(tmp_path).write(space)
    assert file.read_text() == edited


@pytest.mark.parametrize("moved", range(1, 5))
def test_a_job_that_was_stopped_while_it_replaced_files_comes_to_its_end(
    space: LabelSpace,
    other: LabelSpace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moved: int,
) -> None:
    """Into a folder that exists, files are moved one by one."""
    (tmp_path / "out").mkdir()
    places: list[Path] = []

    def stop(source: Path, target: Path) -> None:
        if Path(target).parent.name == "out":
            if len(places) == moved:
                raise KeyboardInterrupt
            places.append(target)
        shutil.move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        if moved < 4:
            with pytest.raises(KeyboardInterrupt):
                output(tmp_path).write(space)
        else:
            output(tmp_path).write(space)
    if moved == 3:
        with pytest.raises(ProLabError, match="holds a label space already"):
            output(tmp_path).write(other)
    output(tmp_path).write(space)
    assert LabelSpace.load(tmp_path / "out").hash == space.hash


def test_descriptions_that_say_the_same_stay_as_they_are(space: LabelSpace, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    text = json.dumps({name: [f" {line}" for line in lines] for name, lines in SENTENCES.items()})
    (tmp_path / "out/descriptions.json").write_text(text)
    output(tmp_path).write(space)
    assert (tmp_path / "out/descriptions.json").read_text() == text


@pytest.mark.parametrize("text", ['{"car": ["red"]}', "notes of my own"])
def test_other_descriptions_need_leave_to_overwrite(
    text: str, space: LabelSpace, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    file = tmp_path / "out/descriptions.json"
    file.write_text(text)
    with pytest.raises(ProLabError, match=r"descriptions.json holds other descriptions"):
        output(tmp_path).write(space)
    assert content(tmp_path / "out") == {"descriptions.json": text.encode()}
    output(tmp_path, overwrite=True).write(space)
    assert read_descriptions(file) == SENTENCES


def test_a_damaged_record_counts_as_none(space: LabelSpace, tmp_path: Path) -> None:
    output(tmp_path).write(space)
    (tmp_path / "work/output.json").write_text("{")
    with pytest.raises(ProLabError, match="holds a label space already"):
        output(tmp_path)


def test_written_descriptions_are_read_back(tmp_path: Path) -> None:
    descriptions = {"a/b": ('“quoted” "twice"',), "line\nbreak": ("x",), "猫" * 100: ("毛",)}
    write_descriptions(tmp_path / "d.json", descriptions)
    assert read_descriptions(tmp_path / "d.json") == descriptions
