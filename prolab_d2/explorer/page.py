"""The page of the explorer, in Gradio: what is where, and which question each part asks.

Everything that can be asked is in `Workbench` and `Session`; errors of the visitor come as
`ProLabError` and stand on the page as they are.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from prolab_d2.errors import ProLabError
from prolab_d2.explorer.session import CATEGORY, PLACES, Session
from prolab_d2.explorer.store import SessionStore
from prolab_d2.explorer.workbench import Workbench
from prolab_d2.markup import escape

__all__ = ["STYLE", "build_page"]

_FOLDER = Path(__file__).resolve().parent / "page"
STYLE = (_FOLDER / "explorer.css").read_text(encoding="utf-8")
EXAMPLE = "lorry: large round wheels, painted metal body, tall windscreen; red letter box"
WELCOME = "Drop an image at the left, or draw a scene."
# Calls of the network at once, over all visitors; others wait in a queue of this length.
AT_ONCE, QUEUE = 2, 32
SECONDS_KEPT = 3600


def build_page(workbench: Workbench) -> gr.Blocks:
    """The page; `workbench` and a store of sessions are all it keeps."""
    return _Page(workbench, SessionStore(seconds=SECONDS_KEPT)).blocks


def _status(text: str, kind: str = "") -> str:
    role = "alert" if kind == "problem" else "status"
    return f'<p class="say {kind}" role="{role}">{escape(text, 1000)}</p>'


class _Page:
    def __init__(self, workbench: Workbench, store: SessionStore) -> None:
        self.workbench = workbench
        self.store = store
        self.blocks = gr.Blocks(
            title="ProLab explorer",
            analytics_enabled=False,
            fill_width=True,
            delete_cache=(600, SECONDS_KEPT),
        )
        with self.blocks:
            self._lay_out()
            self._wire()
        self.blocks.queue(max_size=QUEUE, default_concurrency_limit=AT_ONCE, api_open=False)

    def _lay_out(self) -> None:
        limits, space = self.workbench.limits, self.workbench.predictor.label_space
        # The key of the visitor's session. It stays on the server.
        self.key = gr.State(None, time_to_live=SECONDS_KEPT, delete_callback=self.store.drop)
        gr.HTML(
            "<h1>Why is this pixel what it is? <small>"
            f"{space.num_categories} categories from {space.num_properties} properties</small></h1>"
        )
        self.status = gr.HTML(_status(WELCOME), elem_id="status")
        with gr.Row(equal_height=False):
            with gr.Column(scale=6, min_width=420):
                self.picture = gr.Image(
                    label="Segmentation: click a pixel to ask why",
                    interactive=False,
                    type="numpy",
                    format="png",
                    buttons=["fullscreen"],
                    height=430,
                    elem_id="picture",
                    alt_text="the image under its categories",
                )
                self.legend = gr.HTML(elem_id="legend")
                with gr.Row(equal_height=True):
                    self.upload = gr.File(
                        label=f"Your image, up to {limits.megabytes:g} MB",
                        file_count="single",
                        type="filepath",
                        height=110,
                        elem_id="upload",
                    )
                    self.scene = gr.Button("Draw a street scene", elem_id="scene")
            with gr.Column(scale=5, min_width=420), gr.Tabs():
                self._pixel_tab()
                self._property_tab()
                self._new_tab()
                self._compare_tab()
                self._report_tab()

    def _pixel_tab(self) -> None:
        with gr.Tab("Why", elem_id="tab-pixel"):
            with gr.Row(equal_height=True):
                self.x = gr.Number(label="x", precision=0, minimum=0, min_width=70, elem_id="x")
                self.y = gr.Number(label="y", precision=0, minimum=0, min_width=70, elem_id="y")
                self.ask = gr.Button("Ask about this pixel", elem_id="ask", min_width=150)
            self.evidence = gr.HTML(
                '<p class="muted">Click into the segmentation: what speaks for the answer, what is '
                "missing, and what else is like it.</p>",
                elem_id="evidence",
            )
            self.neighbours = gr.HTML(elem_id="neighbours")
            self.likeness = gr.Image(
                label="How like the chosen pixel all others are",
                interactive=False,
                format="jpeg",
                buttons=["fullscreen"],
                visible=False,
                elem_id="likeness",
            )

    def _property_tab(self) -> None:
        with gr.Tab("Properties", elem_id="tab-property"):
            self.property = gr.Dropdown(
                label="Property (those that show most come first)",
                choices=[],
                interactive=True,
                elem_id="property",
            )
            self.heat = gr.Image(
                label="Where it is active",
                interactive=False,
                format="jpeg",
                buttons=["fullscreen"],
                elem_id="heat",
            )
            self.heat_text = gr.HTML(elem_id="heat-text")

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
            with gr.Row(equal_height=True):
                self.only = gr.Checkbox(label="only these categories", elem_id="only")
                self.find = gr.Button("Find them", variant="primary", elem_id="find")
                self.forget = gr.Button("Forget them", elem_id="forget")
            self.told = gr.HTML(elem_id="told")

    def _compare_tab(self) -> None:
        with gr.Tab("Compare", elem_id="tab-compare"):
            with gr.Row(equal_height=True):
                self.first = gr.Dropdown(
                    label="Why this", choices=[], interactive=True, elem_id="first"
                )
                self.second = gr.Dropdown(
                    label="and not that", choices=[], interactive=True, elem_id="second"
                )
            self.place = gr.Radio(
                choices=list(PLACES), value=CATEGORY, label="Where", elem_id="place"
            )
            self.compare = gr.Button("Compare", elem_id="compare")
            self.contrast = gr.HTML(elem_id="contrast")

    def _report_tab(self) -> None:
        with gr.Tab("Report", elem_id="tab-report"):
            gr.HTML(
                '<p class="muted">One page with this image, all its categories and their reasons. '
                "It needs nothing else, and opens in any browser.</p>"
            )
            self.write = gr.Button("Write the report", elem_id="write")
            self.download = gr.DownloadButton(
                "Download the report", interactive=False, elem_id="download"
            )

    def _wire(self) -> None:
        image = [
            self.key, self.picture, self.legend, self.property, self.first, self.second,
            self.evidence, self.neighbours, self.likeness, self.contrast, self.download,
        ]  # fmt: skip
        properties = [self.heat, self.heat_text]
        pixel = [self.x, self.y, self.picture, self.evidence, self.neighbours, self.likeness]
        on = self._on
        on(self.upload.upload, self._open, [self.upload, self.key], image, "Segmenting ...")
        on(self.scene.click, self._draw, [self.key], image, "Drawing and segmenting ...")
        for event in (self.ask.click, self.x.submit, self.y.submit):
            on(event, self._ask, [self.key, self.x, self.y], pixel, "Asking ...")
        new = [self.key, self.vocabulary, self.only]
        busy = "Reading the words and segmenting ... (the first time loads the sentence encoder)"
        for event in (self.find.click, self.vocabulary.submit):
            on(event, self._find, new, [self.told, *image], busy)
        forgotten = [self.vocabulary, self.told, *image]
        on(self.forget.click, self._forget, [self.key], forgotten, "Segmenting ...")
        chosen = [self.key, self.property]
        on(self.property.change, self._heat, chosen, properties, "Drawing the heat map ...")
        compared = [self.key, self.first, self.second, self.place]
        on(self.compare.click, self._compare, compared, [self.picture, self.contrast], "...")
        on(self.write.click, self._write, [self.key], [self.download], "Writing the report ...")

        def click(event: gr.SelectData, key: str | None) -> Iterator[tuple[Any, ...]]:
            yield from self._answer(
                lambda: self._ask_picture(key, event.index), len(pixel), "Asking ..."
            )

        self.picture.select(
            click,
            [self.key],
            [self.status, *pixel],
            api_visibility="private",
            show_progress_on=self.evidence,
        )

    def _on(
        self,
        event: Callable[..., Any],
        function: Callable[..., tuple[str, list[Any]]],
        inputs: list[Any],
        outputs: list[Any],
        busy: str,
    ) -> None:
        """Shows `busy` while a function works, then what it says and gives, or its error."""

        def run(*values: Any) -> Iterator[tuple[Any, ...]]:
            yield from self._answer(lambda: function(*values), len(outputs), busy)

        event(
            run,
            inputs,
            [self.status, *outputs],
            api_visibility="private",
            show_progress_on=self.status,
        )

    def _answer(
        self, work: Callable[[], tuple[str, list[Any]]], number: int, busy: str
    ) -> Iterator[tuple[Any, ...]]:
        nothing = [gr.skip()] * number
        yield _status(busy, "busy"), *nothing
        try:
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
        choices = session.property_choices()
        return [
            self.store.put(session, key),
            session.overlay,
            session.legend(),
            gr.Dropdown(choices=choices, value=choices[0][1]),
            gr.Dropdown(choices=categories, value=first),
            gr.Dropdown(choices=categories, value=second),
            '<p class="muted">Click into the segmentation to ask why.</p>',
            "",
            gr.Image(value=None, visible=False),
            "",
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
        ]

    def _find(self, key: str | None, text: str, only: bool) -> tuple[str, list[Any]]:
        if not text.strip():
            raise ProLabError(f"there are no words: type a category, such as {EXAMPLE}")
        session, told = self.workbench.with_vocabulary(self.store.get(key), text, only)
        return "These categories are known now.", [told, *self._show(session, key)]

    def _forget(self, key: str | None) -> tuple[str, list[Any]]:
        session, _ = self.workbench.with_vocabulary(self.store.get(key), "", False)
        return "Back to the trained categories.", ["", "", *self._show(session, key)]

    def _heat(self, key: str | None, index: int | None) -> tuple[str, list[Any]]:
        session = self.store.get(key)
        if index is None:
            raise ProLabError("no property is chosen: choose one")
        picture, text = session.heat(int(index))
        return f"Property: {session.prediction.label_space.properties[int(index)].name}.", [
            picture,
            text,
        ]

    def _compare(
        self, key: str | None, first: str, second: str, place: str
    ) -> tuple[str, list[Any]]:
        picture, text = self.store.get(key).compare(first, second, place)
        return f"{first} or {second}, at {place}.", [picture, text]

    def _write(self, key: str | None) -> tuple[str, list[Any]]:
        path = self.workbench.report(self.store.get(key))
        return "The report is written: download it.", [
            gr.DownloadButton(value=str(path), interactive=True)
        ]
