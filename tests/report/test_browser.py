"""The report in a real browser: what it shows, and that nothing in it runs or is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prolab_d2 import Predictor
from prolab_d2.report import ReportWriter
from tests.browser import start_chromium
from tests.conftest import make_tiny_cfg, save_tiny_checkpoint, tiny_scene
from tests.label_space.pages import NASTY, nasty_space

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    driver = start_chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report of two images whose every text would do harm if it were taken as markup."""
    folder: Path = tmp_path_factory.mktemp("report")
    nasty_space().save(folder / "space")
    cfg = make_tiny_cfg(folder / "space", folder)
    predictor = Predictor.from_checkpoint(save_tiny_checkpoint(cfg, folder), "cpu")
    with ReportWriter(folder / "page", NASTY[0], predictor.label_space, NASTY[:2]) as report:
        for i, name in enumerate(NASTY[:2]):
            report.add(name, predictor(tiny_scene(np.random.default_rng(i))[0]))
    return report.path.as_uri()


@pytest.fixture(autouse=True)
def page(driver: Any, address: str) -> Iterator[None]:
    """Opens the page; refusals of the policy would stand in the browser's log."""
    driver.get("about:blank")
    driver.get(address)
    yield
    assert driver.get_log("browser") == []


def ask(driver: Any, script: str) -> Any:
    return driver.execute_script(f"return {script}")


def test_no_text_runs_and_nothing_is_loaded(driver: Any) -> None:
    assert ask(driver, "window.hurt") is None
    assert ask(driver, "document.scripts.length") == 0
    assert driver.title.startswith("<script>")
    entries = ask(driver, "performance.getEntriesByType('resource').map(e => e.name.slice(0, 5))")
    assert set(entries) <= {"data:"}


def test_every_picture_can_be_decoded(driver: Any) -> None:
    widths = ask(driver, "Array.from(document.images).map(i => i.naturalWidth)")
    assert len(widths) >= 2 * (2 + 8) and min(widths) > 0


def test_overlay_and_photograph_change_places(driver: Any) -> None:
    shown = (
        "Array.from(document.querySelectorAll('#image-2 .stage img')).map(i => i.offsetWidth > 0)"
    )
    assert ask(driver, shown) == [True, False]
    driver.find_element("css selector", "#image-2 label:nth-of-type(2)").click()
    assert ask(driver, shown) == [False, True]
    other = shown.replace("image-2", "image-1")
    assert ask(driver, other) == [True, False], "the other image stays as it was"


def test_categories_open_and_show_bars_of_their_own_colours(driver: Any) -> None:
    closed = driver.find_element("css selector", "#image-1 .categories details:not([open])")
    closed.find_element("tag name", "summary").click()
    assert closed.get_attribute("open")
    fills = {
        driver.execute_script("return getComputedStyle(arguments[0]).fill", bar)
        for bar in closed.find_elements("css selector", "rect.supports, rect.opposes")
    }
    assert fills == {"rgb(0, 114, 178)", "rgb(230, 159, 0)"}


@pytest.mark.parametrize("width", [1366, 700])
def test_nothing_sticks_out_to_the_side(driver: Any, width: int) -> None:
    driver.set_window_size(width, 800)
    for element in driver.find_elements("css selector", "details:not([open]) > summary"):
        element.click()
    assert ask(driver, "document.documentElement.scrollWidth <= window.innerWidth")
    driver.set_window_size(1366, 768)
