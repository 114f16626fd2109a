"""The page of the explorer, in Gradio: what is where, and which question each part asks.

Everything that can be asked is in `Workbench` and `Session`; errors of the visitor come as
`ProLabError` and stand on the page as they are.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from prolab_d2.errors import ProLabError
from prolab_d2.explorer.session import CATEGORY, PIXEL, PLACES, Session
from prolab_d2.explorer.store import SessionStore
from prolab_d2.explorer.turns import Turns
from prolab_d2.explorer.workbench import Workbench
from prolab_d2.markup import escape
from prolab_d2.report.bars import bar_style

__all__ = ["build_page", "style", "theme"]

_FOLDER = Path(__file__).resolve().parent / "page"
EXAMPLE = "lorry: large round wheels, painted metal body, tall windscreen; red letter box"
WELCOME = "Drop an image anywhere on this page, choose one, or draw a street scene."
# Questions that are worked on at once, over all visitors, and that may wait for that. Gradio
# answers each in a thread of its 40.
AT_ONCE, WAITING = 2, 30
SECONDS_KEPT = 3600


def build_page(workbench: Workbench) -> gr.Blocks:
    """The page; `workbench` and a store of sessions are all it keeps."""
    return _Page(workbench, SessionStore(seconds=SECONDS_KEPT)).blocks


def style() -> str:
    """CSS over that of `theme`."""
    return bar_style() + (_FOLDER / "explorer.css").read_text(encoding="utf-8")


def _script() -> str:
    """A JavaScript function to call once the page stands."""
    return (_FOLDER / "explorer.js").read_text(encoding="utf-8")


def theme() -> gr.themes.Base:
    """Small, blue, and in fonts that every computer has."""
    return gr.themes.Default(
        primary_hue="blue",
        neutral_hue="slate",
        spacing_size="sm",
        radius_size="sm",
        text_size="md",
        font=["system-ui", "sans-serif"],
        font_mono=["monospace"],
    )


def _status(text: str, kind: str = "") -> str:
    role = ' role="alert"' if kind == "problem" else ""
    return f'<p class="say {kind}"{role}>{escape(text, 1000)}</p>'


def _html(value: str = "", **options: Any) -> gr.HTML:
    """HTML in our style alone."""
    return gr.HTML(value, apply_default_css=False, **options)


def _hint(text: str) -> str:
    return f'<p class="muted">{text}</p>'


class _Page:
    def __init__(self, workbench: Workbench, store: SessionStore) -> None:
        self.workbench = workbench
        self.store = store
        self.turns = Turns(AT_ONCE, WAITING)
        self.blocks = gr.Blocks(
            title="ProLab explorer",
            analytics_enabled=False,
            fill_width=True,
            delete_cache=(600, SECONDS_KEPT),
        )
        with self.blocks:
            self._lay_out()
            self._wire()
        # Whose turn it is, `turns` says, in words.
        self.blocks.queue(default_concurrency_limit=None, api_open=False)

    def _lay_out(self) -> None:
        limits, space = self.workbench.limits, self.workbench.predictor.label_space
        # The key of the visitor's session. It stays on the server.
        self.key = gr.State(None, time_to_live=SECONDS_KEPT, delete_callback=self.store.drop)
        with gr.Row(elem_id="top"):
            _html(
                f'<div id="facts" data-megabytes="{limits.megabytes:g}">'
                "<h1>Why is this pixel what it is?</h1>"
                f"<p>{space.num_categories} categories from {space.num_properties} properties</p>"
                "</div>"
            )
            self.upload = gr.UploadButton(
                f"Choose an image (up to {limits.megabytes:g} MB)",
                type="filepath",
                variant="primary",
                size="md",
                scale=0,
                min_width=280,
                elem_id="upload",
            )
            self.scene = gr.Button(
                "Draw a street scene", size="md", scale=0, min_width=180, elem_id="scene"
            )
        self.status = _html(_status(WELCOME), elem_id="status")
        with gr.Row(equal_height=False, elem_id="main"):
            with gr.Column(scale=6, min_width=380, elem_id="left"):
                self.picture = gr.Image(
                    label="Segmentation: click a pixel to ask why",
                    show_label=False,
                    interactive=False,
                    type="numpy",
                    format="png",
                    buttons=["fullscreen"],
                    elem_id="picture",
                )
                self.legend = _html(elem_id="legend")
            with gr.Column(scale=5, min_width=380, elem_id="right"), gr.Tabs():
                self._pixel_tab()
                self._property_tab()
                self._new_tab()
                self._compare_tab()
                self._unknown_tab()
                self._report_tab()

    def _pixel_tab(self) -> None:
        with gr.Tab("Why", elem_id="tab-pixel"):
            with gr.Row(elem_classes="question"):
                options = {"precision": 0, "minimum": 0, "min_width": 80}
                self.x = gr.Number(label="x", elem_id="x", **options)
                self.y = gr.Number(label="y", elem_id="y", **options)
                self.ask = gr.Button(
                    "Ask about this pixel", size="md", elem_id="ask", min_width=180
                )
            self.evidence = _html(
                _hint(
                    "Click into the segmentation, or type a pixel: what speaks for the answer, "
                    "what is missing, and what else is like it."
                ),
                elem_id="evidence",
            )
            self.neighbours = _html(elem_id="neighbours")
            self.likeness = _map("How like the chosen pixel all others are", "likeness")

    def _property_tab(self) -> None:
        with gr.Tab("Properties", elem_id="tab-property"):
            self.listed = _html(_hint("There is no image yet."), elem_id="listed")
            self.property = gr.Dropdown(
                label="Any of them, as a large heat map",
                choices=[],
                interactive=True,
                elem_id="property",
            )
            self.heat_text = _html(elem_id="heat-text")
            self.heat = _map("Where the property is active", "heat")

    def _new_tab(self) -> None:
        with gr.Tab("New categories", elem_id="tab-new"):
            self.vocabulary = gr.Textbox(
                label="category: sentence, sentence; category",
                info="Say what it looks like in the words of the properties. Without sentences, "
                "the name is the sentence.",
                placeholder=EXAMPLE,
                lines=3,
                max_length=self.workbench.limits.vocabulary,
                elem_id="vocabulary",
            )
            self.lead = gr.Slider(
                0,
                0.5,
                value=0,
                step=0.02,
                label="Lead of the new over the trained categories",
                info="Added to their scores: trained categories win nearly everywhere without it.",
                elem_id="lead",
            )
            with gr.Row(elem_classes="question"):
                self.only = gr.Checkbox(label="only these", elem_id="only", min_width=110)
                self.find = gr.Button(
                    "Find them", variant="primary", size="md", elem_id="find", min_width=120
                )
                self.forget = gr.Button("Forget them", size="md", elem_id="forget", min_width=120)
            self.told = _html(elem_id="told")

    def _compare_tab(self) -> None:
        with gr.Tab("Compare", elem_id="tab-compare"):
            with gr.Row():
                self.first = gr.Dropdown(
                    label="Why this", choices=[], interactive=True, min_width=150, elem_id="first"
                )
                self.second = gr.Dropdown(
                    label="and not that",
                    choices=[],
                    interactive=True,
                    min_width=150,
                    elem_id="second",
                )
            self.place = gr.Radio(
                choices=list(PLACES), value=CATEGORY, label="Where", elem_id="place"
            )
            self.compare = gr.Button("Compare", variant="primary", size="md", elem_id="compare")
            self.contrast = _html(elem_id="contrast")

    def _unknown_tab(self) -> None:
        with gr.Tab("Unknown", elem_id="tab-unknown"):
            self.unknown = _html(_hint("There is no image yet."), elem_id="unknown")

    def _report_tab(self) -> None:
        with gr.Tab("Report", elem_id="tab-report"):
            _html(
                _hint(
                    "One page with this image, all its categories and their reasons. It needs "
                    "nothing else, and opens in any browser."
                )
            )
            with gr.Row(elem_classes="question"):
                self.write = gr.Button(
                    "Write the report", variant="primary", size="md", elem_id="write"
                )
                self.download = gr.DownloadButton(
                    "Download the report", interactive=False, size="md", elem_id="download"
                )

    def _wire(self) -> None:
        image = [
            self.key, self.picture, self.legend, self.listed, self.property, self.first,
            self.second, self.place, self.evidence, self.neighbours, self.likeness, self.contrast,
            self.unknown, self.download,
        ]  # fmt: skip
        pixel = [
            self.x, self.y, self.picture, self.evidence, self.neighbours, self.likeness,
            self.first, self.second, self.place,
        ]  # fmt: skip
        # Not the option of the whole page, which Gradio 6.24 takes and does not run.
        self.blocks.load(None, None, None, js=_script())
        on = self._on
        on(self.upload.upload, self._open, [self.upload, self.key], image, "Segmenting ...")
        on(self.scene.click, self._draw, [self.key], image, "Drawing and segmenting ...")
        for event in (self.ask.click, self.x.submit, self.y.submit):
            on(event, self._ask, [self.key, self.x, self.y], pixel, "Asking ...")
        on(self.picture.select, self._ask_picture, [self.key], pixel, "Asking ...", last=True)
        new = [self.key, self.vocabulary, self.only, self.lead]
        busy = "Reading the words and segmenting ... (the first time loads the sentence encoder)"
        for event in (self.find.click, self.vocabulary.submit, self.lead.release):
            on(event, self._find, new, [self.told, *image], busy, last=True)
        forgotten = [self.vocabulary, self.lead, self.only, self.told, *image]
        on(self.forget.click, self._forget, [self.key], forgotten, "Segmenting ...")
        chosen, heat = [self.key, self.property], [self.heat, self.heat_text]
        on(self.property.input, self._heat, chosen, heat, "Drawing the heat map ...", last=True)
        compared = [self.key, self.first, self.second, self.place]
        on(self.compare.click, self._compare, compared, [self.picture, self.contrast], "Comparing")
        on(self.write.click, self._write, [self.key], [self.download], "Writing the report ...")

    def _on(
        self,
        event: Callable[..., Any],
        function: Callable[..., tuple[str, list[Any]]],
        inputs: list[Any],
        outputs: list[Any],
        busy: str,
        last: bool = False,
    ) -> None:
        """Shows `busy` while a function works, then what it says and gives, or its error.

        Args:
            last: of several events while one is worked on, the last is kept, not the first.
        """
        if function == self._ask_picture:

            def run(event: gr.SelectData, *values: Any) -> Iterator[tuple[Any, ...]]:
                yield from self._answer(lambda: function(*values, event.index), len(outputs), busy)
        else:

            def run(*values: Any) -> Iterator[tuple[Any, ...]]:
                yield from self._answer(lambda: function(*values), len(outputs), busy)

        # In the browser, before anything is sent.
        event(None, None, self.status, js=f"() => {json.dumps(_status(busy, 'busy'))}")
        asked = event(
            run,
            inputs,
            [self.status, *outputs],
            api_visibility="private",
            show_progress="hidden",
            trigger_mode="always_last" if last else "once",
        )
        lost = "The explorer did not answer: it may have been ended. Try again, or reload the page."
        asked.failure(None, None, self.status, js=f"() => {json.dumps(_status(lost, 'problem'))}")

    def _answer(
        self, work: Callable[[], tuple[str, list[Any]]], number: int, busy: str
    ) -> Iterator[tuple[Any, ...]]:
        nothing = [gr.skip()] * number
        try:
            with self.turns.queue() as turn:
                for before in turn.wait():
                    others = "1 other is" if before == 1 else f"{before} others are"
                    yield _status(f"{others} before you ...", "busy"), *nothing
                yield _status(busy, "busy"), *nothing
                sentence, values = work()
        except ProLabError as error:
            yield _status(f"{error}.", "problem"), *nothing
        except Exception:
            logging.getLogger(__name__).exception("the explorer could not answer")
            text = "Something went wrong here; the terminal of the explorer has the details."
            yield _status(text, "problem"), *nothing
        else:
            yield _status(sentence), *values

    def _open(self, path: str, key: str | None) -> tuple[str, list[Any]]:
        session, sentence = self.workbench.open(path)
        return sentence, self._show(session, key)

    def _draw(self, key: str | None) -> tuple[str, list[Any]]:
        session, sentence = self.workbench.draw(random.randrange(10_000))
        return sentence, self._show(session, key)

    def _show(self, session: Session, key: str | None) -> list[Any]:
        """Everything that another image, or the same with other categories, changes."""
        found = session.found()
        categories = list(session.categories)
        first = found[0] if found else categories[0]
        second = next((name for name in (*found, *categories) if name != first), None)
        return [
            self.store.put(session, key),
            session.overlay,
            session.legend(),
            session.listed_properties(),
            gr.Dropdown(choices=session.property_choices(), value=None),
            gr.Dropdown(choices=categories, value=first),
            gr.Dropdown(choices=categories, value=second),
            CATEGORY,
            _hint("Click into the segmentation to ask why."),
            "",
            gr.Image(value=None, visible=False),
            "",
            session.unknown(),
            gr.DownloadButton(value=None, interactive=False),
        ]

    def _ask_picture(self, key: str | None, place: Any) -> tuple[str, list[Any]]:
        return self._ask(key, *self.store.get(key).at_picture(*place))

    def _ask(self, key: str | None, x: float | None, y: float | None) -> tuple[str, list[Any]]:
        session = self.store.get(key)
        if x is None or y is None:
            raise ProLabError("the pixel has no x or no y: type both, or click into the picture")
        answer = session.ask(int(x), int(y))
        return f"Pixel {answer.x}, {answer.y} is {answer.category}.", [
            answer.x,
            answer.y,
            answer.picture,
            answer.evidence,
            answer.neighbours,
            gr.Image(value=answer.likeness, visible=True),
            answer.category,
            answer.rival or gr.skip(),
            PIXEL,
        ]

    def _find(self, key: str | None, text: str, only: bool, lead: float) -> tuple[str, list[Any]]:
        if not text.strip():
            raise ProLabError(f"there are no words: type a category, such as {EXAMPLE}")
        session, sentence, told = self.workbench.with_vocabulary(
            self.store.get(key), text, only, lead
        )
        return sentence, [told, *self._show(session, key)]

    def _forget(self, key: str | None) -> tuple[str, list[Any]]:
        session, sentence, told = self.workbench.with_vocabulary(self.store.get(key), "", False)
        return sentence, ["", 0, False, told, *self._show(session, key)]

    def _heat(self, key: str | None, index: int | None) -> tuple[str, list[Any]]:
        session = self.store.get(key)
        if index is None:
            raise ProLabError("no property is chosen: choose one")
        picture, text = session.heat(int(index))
        name = session.prediction.label_space.properties[int(index)].name
        return f"Property: {name}.", [gr.Image(value=picture, visible=True), text]

    def _compare(
        self, key: str | None, first: str | None, second: str | None, place: str
    ) -> tuple[str, list[Any]]:
        picture, text = self.store.get(key).compare(first, second, place)
        return f"{first} or {second}, at {place}.", [picture, text]

    def _write(self, key: str | None) -> tuple[str, list[Any]]:
        path = self.workbench.report(self.store.get(key))
        return "The report is written: download it.", [
            gr.DownloadButton(value=str(path), interactive=True)
        ]


def _map(label: str, elem_id: str) -> gr.Image:
    """A picture that an answer brings; not there before."""
    return gr.Image(
        label=label,
        show_label=False,
        interactive=False,
        format="jpeg",
        buttons=["fullscreen"],
        visible=False,
        elem_id=elem_id,
    )
