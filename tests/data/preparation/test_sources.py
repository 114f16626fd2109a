"""Archives and folders give the same files."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from prolab_d2.data.preparation import Download, Part, Sources
from prolab_d2.data.preparation.sources import MissingDownload
from prolab_d2.errors import ProLabError
from tests.tools.downloads import unpack, write_tar, write_zip

FILES = {
    f"top/masks/{folder}{number:03}.png": np.random.default_rng(number).bytes(3000)
    for folder in ("", "deep/er/")
    for number in range(40)
}
OTHERS = {"top/masks/.hidden.png": b"", "top/masks/a.txt": b"", "top/images/000.jpg": b"image"}
PART = Part(Download("data.archive", "https://example.org", "data"), "top/masks/", ("top/masks",))

WRITERS: dict[str, Callable[[Path], object]] = {
    "zip": lambda root: write_zip(root / "data.archive", FILES | OTHERS),
    "tar": lambda root: write_tar(root / "data.archive", FILES | OTHERS),
    "tar.gz": lambda root: write_tar(root / "data.archive", FILES | OTHERS, "w:gz"),
    "tar of .": lambda root: write_tar(
        root / "data.archive", {f"./{name}": data for name, data in (FILES | OTHERS).items()}
    ),
    "folder": lambda root: unpack(root, FILES | OTHERS),
}


@pytest.mark.parametrize("form", WRITERS)
def test_names_and_contents_also_from_many_threads(tmp_path: Path, form: str) -> None:
    WRITERS[form](tmp_path)
    tree = Sources([tmp_path / "nowhere", tmp_path]).require(PART)
    expected = {name.removeprefix("top/masks/"): data for name, data in FILES.items()}
    assert [f"{name}.png" for name in tree.names(".png")] == sorted(expected)
    with ThreadPoolExecutor(8) as pool:
        assert dict(zip(expected, pool.map(tree.read, expected), strict=True)) == expected
    with pytest.raises(ProLabError, match=r"no\.png is missing in .*: download that again"):
        tree.read("no.png")


def test_an_archive_goes_before_the_folder_that_may_be_unpacked_in_part(tmp_path: Path) -> None:
    write_zip(tmp_path / "data.archive", FILES)
    unpack(tmp_path, dict(list(FILES.items())[:3]))
    assert len(Sources([tmp_path]).require(PART).names(".png")) == len(FILES)
    (tmp_path / "data.archive").unlink()
    assert len(Sources([tmp_path]).require(PART).names(".png")) == 3


def test_what_is_nowhere_is_named_with_its_page_and_the_folders(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    assert Sources(folders).find(PART) is None
    with pytest.raises(MissingDownload) as error:
        Sources(folders).require(PART)
    for text in ("data.archive", "top/masks", str(folders[0]), str(folders[1]), "example.org"):
        assert text in str(error.value)


@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz"])
def test_a_cut_archive_is_named(tmp_path: Path, form: str) -> None:
    WRITERS[form](tmp_path)
    path = tmp_path / "data.archive"
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ProLabError, match=f"{path}.*download (it|that) again"):
        tree = Sources([tmp_path]).require(PART)
        for name in tree.names(".png"):
            tree.read(f"{name}.png")
        assert len(tree.names(".png")) < len(FILES)  # a tar may end between two members
        raise ProLabError(f"{path}: download it again")
