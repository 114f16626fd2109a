"""What all visitors share: the network, its sentence encoder, and a place for reports."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from prolab_d2.errors import ProLabError
from prolab_d2.explorer.session import Session
from prolab_d2.explorer.uploads import Limits, read_upload
from prolab_d2.label_space.embedding import Encoder
from prolab_d2.label_space.vocabulary import encoder_of, parse_vocabulary
from prolab_d2.markup import escape
from prolab_d2.predictor import Predictor
from prolab_d2.report import ReportWriter
from prolab_d2.report.bars import patch
from prolab_d2.scenes import draw_scene
from prolab_d2.visualizer.overlay import color_of, percent

__all__ = ["Workbench"]

SCENE_SIZE = (288, 384)
# Reports that are kept at once; an older one makes room.
REPORTS = 32


class Workbench:
    """Opens images and gives them new categories; may be used by many threads.

    `work` is a folder for uploads and reports that goes with the process.
    """

    def __init__(
        self, predictor: Predictor, limits: Limits | None = None, encoder: str | None = None
    ) -> None:
        """
        Args:
            encoder: where the sentence encoder of the label space is now; None for where it was
                when the label space was made. It is loaded when it is first needed.
        Raises:
            ProLabError: the network has no properties.
        """
        predictor.require_properties()
        self.predictor = predictor
        self.limits = limits or Limits()
        self._encoder_name = encoder
        self._encoder: Encoder | None = None
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="prolab-explorer-")
        self._numbers = itertools.count()
        self.work = Path(self._folder.name)

    def __enter__(self) -> Workbench:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    def open(self, path: str) -> tuple[Session, str]:
        """An uploaded file, segmented, and a sentence about it.

        Raises:
            ProLabError: a file that is too large, no image, or damaged.
        """
        return self._segment(Path(path).name, read_upload(path, self.limits), self.predictor)

    def draw(self, seed: int) -> tuple[Session, str]:
        """A built-in scene of the split for testing, segmented."""
        return self._segment(
            f"scene {seed}", draw_scene(seed, "test", SCENE_SIZE).image, self.predictor
        )

    def with_vocabulary(
        self, session: Session, text: str, only: bool, lead: float = 0.0
    ) -> tuple[Session, str, str]:
        """The same image with more categories, typed in words; without text, the trained ones.

        Args:
            only: know no others than those of the text.
            lead: what is added to the scores of categories that training has not seen, 0 to 1.
        Returns:
            The new session, a sentence about it, and HTML that says what became of the sentences.
        Raises:
            ProLabError: a text that cannot be read, or an encoder that cannot be loaded.
        """
        predictor, new = self.predictor, {}
        if text.strip():
            new = self._parse(text)
            predictor = self.predictor.with_vocabulary(new, self._load_encoder(), only=only)
            if not 0 <= lead <= 1:
                raise ProLabError(f"a lead of {lead:g}: give 0 to 1")
            if lead and not only:
                unseen = [known is None for known in predictor.trained_as]
                predictor = predictor.with_category_offsets(lead * np.array(unseen))
        result, sentence = self._segment(session.name, session.prediction.image, predictor)
        result.pixel = session.pixel
        found = [name for name in result.found() if name in new]
        if new and not found:
            advice = "" if only else ": give them a lead, or ask for only these"
            sentence = f"None of the new categories is found in this image{advice}."
        elif new:
            sentence = f"Found: {', '.join(found)}."
        return result, sentence, _told(result, new)

    def report(self, session: Session) -> Path:
        """Writes the report of one image; the file stays until `REPORTS` later ones are there."""
        number = next(self._numbers) % REPORTS
        names = [session.name]
        folder = self.work / f"report_{number}"
        shutil.rmtree(folder, ignore_errors=True)
        writer = ReportWriter(folder, session.name, session.predictor.label_space, names)
        with writer as report:
            report.add(session.name, session.prediction)
        # Among other downloads, the name says what it is.
        return report.path.replace(folder / f"{Path(session.name).stem} explained.html")

    def _segment(self, name: str, image: np.ndarray, predictor: Predictor) -> tuple[Session, str]:
        start = time.perf_counter()
        session = Session(name, predictor, predictor(image))
        seconds = time.perf_counter() - start
        height, width = image.shape[:2]
        found = session.found()
        more = f" and {len(found) - 6} more" if len(found) > 6 else ""
        return session, (
            f"{name}, {width} x {height}, segmented in {seconds:.1f} s: "
            f"{', '.join(found[:6])}{more}. Click a pixel to ask why."
        )

    def _parse(self, text: str) -> Mapping[str, Sequence[str]]:
        if len(text) > self.limits.vocabulary:
            raise ProLabError(
                f"the categories have {len(text)} characters and {self.limits.vocabulary} are "
                "allowed: use shorter sentences"
            )
        new = parse_vocabulary(text)
        if len(new) > self.limits.new_categories:
            raise ProLabError(
                f"{len(new)} new categories, and {self.limits.new_categories} are allowed: type "
                "fewer at a time"
            )
        return new

    def _load_encoder(self) -> Encoder:
        # Loaded once, whoever asks first; encoding is short enough to take turns.
        with self._lock:
            if self._encoder is None:
                space = self.predictor.label_space
                self._encoder = _TakingTurns(encoder_of(space, name=self._encoder_name))
            return self._encoder


class _TakingTurns:
    """An encoder that several threads may call."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._lock = threading.Lock()
        self.provenance = encoder.provenance

    def encode(self, sentences: Sequence[str]) -> np.ndarray:
        with self._lock:
            return self._encoder.encode(sentences)


def _told(session: Session, new: Mapping[str, Sequence[str]]) -> str:
    """HTML: where every new category is, and the properties that it got."""
    if not new:
        return ""
    predictor, labels = session.predictor, session.prediction.labels
    space = predictor.label_space
    items = []
    for name in new:
        share = (labels == session.prediction.categories.index(name)).mean()
        found = f"{percent(share)} of the image" if share else "not found here"
        known = predictor.trained_as[space.categories.index(name)]
        row = space.signatures[space.categories.index(name)]
        names = "; ".join(space.properties[k].name for k in np.flatnonzero(row))
        made = "as trained" if known is not None else f"made of {names}"
        color = patch(color_of(session.prediction.metadata, name))
        items.append(f"<li>{color} <b><bdi>{escape(name)}</bdi></b>, {found}: {escape(made, 500)}")
    left = [
        f"<li>left out, far from every property: {escape(entry['sentence'], 200)}"
        for record in space.provenance.get("extensions", ())[-1:]
        for entry in record["left_out"]
        if entry["category"] in new
    ]
    return f'<ul class="told">{"</li>".join([*items, *left])}</li></ul>'
