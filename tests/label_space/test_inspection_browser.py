"""The page in a real browser: what it shows, and that nothing in it runs but its own script."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from prolab_d2 import LabelSpace
from prolab_d2.label_space.inspection_page import write_page
from tests.browser import start_chromium
from tests.label_space.pages import NASTY, nasty_space

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    driver = start_chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def open_page(driver: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    folder = tmp_path_factory.mktemp("pages")
    write_page(nasty_space(), folder / "nasty.html", NASTY[0])
    write_page(LabelSpace.load("camvid"), folder / "camvid.html", "camvid")
    write_page(LabelSpace.from_arrays(["a"], [[1.0]], [[1]], ["p"]), folder / "one.html", "one")

    def open_page(name: str, choice: str = "") -> None:
        driver.get("about:blank")
        driver.get((folder / f"{name}.html").as_uri() + choice)

    return open_page


@pytest.fixture(autouse=True)
def no_complaints(driver: Any) -> Iterator[None]:
    """Errors of the script and refusals of the policy stand in the browser's log."""
    yield
    assert driver.get_log("browser") == []


def shown(driver: Any, selector: str = "#details") -> str:
    return driver.execute_script("return document.querySelector(arguments[0]).innerText", selector)


def wait_for(driver: Any, selector: str, text: str) -> None:
    end = time.monotonic() + 10
    while text not in shown(driver, selector):
        assert time.monotonic() < end, f"{text!r} is not in {shown(driver, selector)!r}"
        time.sleep(0.05)


def press(driver: Any, *keys: str) -> None:
    for key in keys:
        driver.switch_to.active_element.send_keys(key)


@pytest.mark.parametrize("view", ["matrix", "map", "likeness"])
@pytest.mark.parametrize("choice", ["", "category=1", "category=1&other=4", "property=3"])
def test_no_text_runs_as_a_script(driver: Any, open_page: Any, view: str, choice: str) -> None:
    open_page("nasty", f"#view={view}&{choice}")
    assert driver.execute_script("return window.hurt") is None
    assert driver.execute_script("return document.querySelectorAll('img, #details b').length") == 0
    assert driver.title.startswith(NASTY[0])
    expected = {"": "<img src=x", "category=1": NASTY[1], "property=3": NASTY[3]}
    assert expected.get(choice, "cosine distance") in shown(driver)


def test_nothing_is_asked_of_the_network(driver: Any, open_page: Any) -> None:
    open_page("nasty")
    loaded = driver.execute_script("return performance.getEntriesByType('resource').length")
    assert loaded == 0


def test_every_view_draws_something(driver: Any, open_page: Any) -> None:
    for name in ("camvid", "one"):
        for view in ("matrix", "map", "likeness"):
            open_page(name, f"#view={view}")
            colors = driver.execute_script(
                """const canvas = document.querySelector(`#view-${arguments[0]} canvas`);
                const pixels = canvas.getContext("2d")
                  .getImageData(0, 0, canvas.width, canvas.height).data;
                return new Set(new Uint32Array(pixels.buffer)).size;""",
                view,
            )
            assert colors > 5, (name, view)


def test_the_keyboard_is_enough(driver: Any, open_page: Any) -> None:
    keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
    open_page("camvid")
    press(driver, "/")
    assert driver.switch_to.active_element.get_attribute("id") == "query"
    press(driver, "human body")
    wait_for(driver, "#results", "Sentences")
    press(driver, keys.ARROW_DOWN, keys.ARROW_DOWN, keys.ENTER)
    wait_for(driver, "#details h2", "bicyclist")
    assert "a human body, sitting on a saddle" in shown(driver, "#details .chosen")

    driver.execute_script("document.getElementById('tab-matrix').focus()")
    press(driver, keys.ARROW_RIGHT)
    wait_for(driver, ".tabs [aria-selected='true']", "Map of properties")
    press(driver, keys.ARROW_RIGHT)
    wait_for(driver, ".tabs [aria-selected='true']", "Similar categories")

    driver.execute_script("document.querySelector('#view-likeness .scroller').focus()")
    press(driver, keys.HOME, keys.ARROW_RIGHT)
    assert "cosine distance" in shown(driver, "#tip")
    press(driver, keys.ENTER)
    wait_for(driver, "#details h2", " and ")
    driver.back()
    wait_for(driver, "#details h2", "bicyclist")

    driver.execute_script("document.getElementById('tab-map').click()")
    driver.execute_script("document.querySelector('#view-map .plane').focus()")
    press(driver, keys.ARROW_RIGHT, keys.ENTER)
    wait_for(driver, "#details .sub", "property ")


def test_the_matrix_tells_and_chooses_what_is_under_the_pointer(
    driver: Any, open_page: Any
) -> None:
    actions = pytest.importorskip("selenium.webdriver.common.action_chains").ActionChains
    open_page("camvid")
    scroller = driver.find_element("css selector", "#view-matrix .scroller")
    chain = actions(driver)
    chain.move_to_element_with_offset(scroller, 0, 0).perform()
    name = shown(driver, "#tip").splitlines()[0]
    assert name in LabelSpace.load("camvid").categories
    chain.click().perform()
    wait_for(driver, "#details h2", name)


def test_orders_can_be_changed(driver: Any, open_page: Any) -> None:
    open_page("camvid", "#category=9")
    pictures = []
    for name, values in (
        ("matrix-rows", ("alike", "given", "name", "count", "near")),
        ("matrix-columns", ("alike", "given", "count", "near")),
    ):
        for value in values:
            driver.execute_script(
                """const select = document.getElementById(arguments[0]);
                select.value = arguments[1];
                select.dispatchEvent(new Event("change"));""",
                name,
                value,
            )
            pictures.append(
                driver.find_element("css selector", "#view-matrix").screenshot_as_base64
            )
    assert len(set(pictures)) == len(pictures)


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1366, 768)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_its_window(
    driver: Any, open_page: Any, width: int, height: int, scheme: str
) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        for name in ("camvid", "nasty"):
            open_page(name, "#category=1")
            wide = driver.execute_script("return document.documentElement.scrollWidth")
            assert wide <= width, name
        light = driver.execute_script(
            "return getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0] > 128"
        )
        assert light == (scheme == "light")
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
