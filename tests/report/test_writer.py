from __future__ import annotations

import base64
import hashlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prolab_d2 import LabelSpace, Predictor, ProLabError
from prolab_d2.report import ReportWriter
from prolab_d2.report.section import SECTION_BYTES, image_section
from tests.conftest import make_tiny_cfg, save_tiny_checkpoint, tiny_scene
from tests.label_space.pages import NASTY, Page, nasty_space


def trained_on(space: LabelSpace, folder: Path) -> Predictor:
    """A random network with this label space."""
    space.save(folder / "space")
    cfg = make_tiny_cfg(folder / "space", folder)
    return Predictor.from_checkpoint(save_tiny_checkpoint(cfg, folder), "cpu")


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """With a label space whose every text would do harm if it were taken as markup."""
    return trained_on(nasty_space(), tmp_path_factory.mktemp("nasty"))


@pytest.fixture(scope="module")
def source(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of two images and a failure, all with hostile names."""
    folder = tmp_path_factory.mktemp("report")
    names = [NASTY[0], NASTY[1], "\udcff.png"]
    with ReportWriter(folder, NASTY[4], predictor.label_space, names) as report:
        for i, name in enumerate(names[:2]):
            report.add(name, predictor(tiny_scene(np.random.default_rng(i))[0]))
        report.add_failure(names[2], "<script>window.hurt = 1</script> cannot be read")
    assert [path.name for path in folder.iterdir()] == ["index.html"]
    return report.path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_the_page_is_well_formed(source: str, page: Page) -> None:
    assert source.startswith("<!DOCTYPE html>\n")
    assert not page.faults and not page.open
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.elements:
        if tag == "label":
            assert attributes["for"] in ids
        if tag == "a":
            assert attributes["href"].removeprefix("#") in ids
    assert [f"image-{i}" in ids for i in (1, 2, 3, 4)] == [True, True, True, False]


def test_no_text_becomes_markup(source: str, page: Page) -> None:
    allowed = {"html", "head", "meta", "title", "style", "body", "header", "main", "section",
               "h1", "h2", "h3", "h4", "p", "b", "bdi", "small", "span", "div", "details",
               "summary", "ol", "ul", "li", "a", "table", "tr", "td", "input", "label", "img",
               "figure", "figcaption", "svg", "rect"}  # fmt: skip
    assert {tag for tag, _ in page.elements} <= allowed
    text = "".join(page.text)
    for name in (NASTY[0], NASTY[1], NASTY[4], "<script>window.hurt = 1</script> cannot be read"):
        assert name in text
    assert "\ufffd.png" in text and "\udcff" not in source
    assert not any(key.startswith("on") or key == "style" for _, a in page.elements for key in a)


def test_nothing_is_loaded_and_nothing_runs(page: Page) -> None:
    (policy,) = [
        attributes["content"]
        for _, attributes in page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert rules == {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'",
                     "form-action": "'none'", "style-src": f"'sha256-{digest}'"}  # fmt: skip
    assert not re.search(r"https?:|url\(|@import|@font-face", page.style)
    for tag, attributes in page.elements:
        for key in ("src", "href", "srcset", "action", "poster"):
            if key in attributes:
                assert attributes[key].startswith(
                    "data:image/jpeg;base64," if tag == "img" else "#"
                )


def test_pictures_are_those_of_the_image(page: Page) -> None:
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(a["src"].partition(",")[2]))))
        for tag, a in page.elements
        if tag == "img"
    ]
    assert 2 * (2 + 8) <= len(pictures) <= 2 * (2 + 8 + 3)
    photo = tiny_scene(np.random.default_rng(0))[0].astype(float)
    shown = np.asarray(Image.fromarray(pictures[1]).resize((80, 64), Image.BOX), dtype=float)
    assert np.abs(shown - photo).mean() < 12, "the second picture is the photograph"


def test_every_category_found_is_explained(predictor: Predictor) -> None:
    prediction = predictor(tiny_scene(np.random.default_rng(0))[0])
    page = Page(image_section(1, "a", prediction))
    assert not page.faults and not page.open
    found = [NASTY[j] for j in np.unique(prediction.labels)]
    summaries = [tag for tag, _ in page.elements].count("summary")
    assert summaries == len(found) > 1
    text = "".join(page.text)
    for finding in prediction.findings():
        assert f"score {finding.explanation.score:.3f}" in text
        assert f"{finding.contrast.difference:+.2f} to " in text
    assert text.count("least certain") == 1


def test_regions_that_fit_nothing_are_cut_out_and_described(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    prediction = predictor(tiny_scene(np.random.default_rng(0))[0])
    regions = prediction.unknown_regions(threshold=0.3)
    assert regions
    for found in (regions, []):
        monkeypatch.setattr(prediction, "unknown_regions", lambda found=found: found)
        page = Page(image_section(1, "a", prediction))
        assert not page.faults and not page.open
        figures = [a for tag, a in page.elements if a.get("class") == "unknown"]
        assert len(figures) == min(len(found), 3)
        assert ("What fits no category well" in page.text) == bool(found)
    name, score = regions[0].nearest[0]
    monkeypatch.setattr(prediction, "unknown_regions", lambda: regions)
    text = "".join(Page(image_section(1, "a", prediction)).text)
    assert f"nearest: {name[:100]}" in text and f" {score:.2f}" in text


@pytest.mark.parametrize("size", [(900, 1200), (70, 2000)])
def test_an_image_adds_less_than_a_megabyte_whatever_it_shows(
    size: tuple[int, int], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    many, names = 20, '"&<>\U0001f6b2' * 80
    space = LabelSpace.from_arrays(
        [f"{i} {names}" for i in range(many)],
        rng.normal(size=(60, 8)),
        np.stack([np.roll(np.arange(60) < 20, 3 * i) for i in range(many)]),
        [f"{k} {names}" for k in range(60)],
    )
    predictor = trained_on(space, tmp_path)
    noise = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    prediction = predictor(noise)
    # More categories than the network finds in noise.
    prediction.labels[:] = (
        np.arange(many).repeat(-(-noise[..., 0].size // many))[: noise[..., 0].size].reshape(size)
    )
    assert prediction.unknown_regions(), "they take room, too"
    section = image_section(1, names, prediction)
    assert 300_000 < len(section.encode()) <= SECTION_BYTES < 1_000_000


def test_a_failure_leaves_the_former_page_as_it_was(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("kept")
    (tmp_path / "other.txt").write_text("kept")
    with (
        pytest.raises(RuntimeError),
        ReportWriter(tmp_path, "title", predictor.label_space, ["a"]) as report,
    ):
        report.add_failure("a", "reason")
        raise RuntimeError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "other.txt"]
    assert (tmp_path / "index.html").read_text() == "kept"


def test_a_place_that_cannot_be_written_is_one_sentence(
    predictor: Predictor, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("kept")
    with (
        pytest.raises(ProLabError, match="cannot write"),
        ReportWriter(tmp_path / "file" / "report", "title", predictor.label_space, []),
    ):
        pass
