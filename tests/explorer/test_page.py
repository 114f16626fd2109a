"""The page itself, with Gradio and without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prolab_d2 import Predictor
from prolab_d2.errors import ProLabError
from prolab_d2.explorer.store import SessionStore
from prolab_d2.explorer.workbench import Workbench
from tests.explorer.conftest import require_gradio


@pytest.fixture
def page(tiny_checkpoint: Path) -> Iterator[Any]:
    require_gradio()
    from prolab_d2.explorer.page import _Page

    with Workbench(Predictor.from_checkpoint(tiny_checkpoint, "cpu")) as workbench:
        yield _Page(workbench, SessionStore())


def statuses(page: Any, work: Any) -> list[str]:
    return [answer[0] for answer in page._answer(work, 1, "Working ...")]


def test_an_answer_is_busy_and_then_there(page: Any) -> None:
    busy, done = statuses(page, lambda: ("Done.", [1]))
    assert 'class="say busy"' in busy and "Working ..." in busy
    assert "Done." in done and "role" not in done


def test_errors_are_words_and_details_stay_in_the_terminal(
    page: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> Any:
        raise ProLabError("<b> is wrong: mend it")

    def fail() -> Any:
        raise RuntimeError("secret")

    assert 'role="alert">&lt;b&gt; is wrong: mend it.<' in statuses(page, refuse)[-1]
    assert "secret" not in statuses(page, fail)[-1]
    assert "secret" in caplog.text


def test_who_has_to_wait_is_told_the_place_and_leaves_no_gap(page: Any) -> None:
    with page.turns.queue(), page.turns.queue():
        waiting = page._answer(lambda: ("Done.", [1]), 1, "Working ...")
        assert "1 other is before you ..." in next(waiting)[0]
        waiting.close()  # as when the tab is closed
    assert len(statuses(page, lambda: ("Done.", [1]))) == 2


def test_colours_of_bars_are_those_of_the_pictures(page: Any) -> None:
    from prolab_d2.explorer.page import style
    from prolab_d2.visualizer.palette import SUPPORTS, UNEXPECTED

    for name, color in (("supports", SUPPORTS), ("opposes", UNEXPECTED)):
        assert f"--{name}: #{bytes(color).hex()};" in style()
