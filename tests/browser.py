"""A real headless Chromium for tests of pages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage")  # fmt: skip


def start_chromium(profile: Path) -> Any:
    """A driver whose logs of console and requests can be read; the caller quits it.

    Skips without Chromium.

    Args:
        profile: an empty folder for what the browser keeps.
    """
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs pip install selenium")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    control = shutil.which("chromedriver")
    if browser is None or control is None:
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(control))
    driver.set_window_size(1366, 768)
    return driver
