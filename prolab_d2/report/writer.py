"""The report as a whole: one HTML file, written image by image.

No script runs on the page and nothing is loaded: pictures are part of the file, and a content
security policy allows its own style alone. Memory does not grow with the number of images.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TextIO

from prolab_d2.files import atomic_path
from prolab_d2.label_space import LabelSpace
from prolab_d2.markup import escape, integrity
from prolab_d2.prediction import Prediction
from prolab_d2.report.bars import bar_style
from prolab_d2.report.section import failed_section, image_section
from prolab_d2.report.tables import LONGEST_NAME

__all__ = ["ReportWriter"]

_FOLDER = Path(__file__).resolve().parent / "page"


class ReportWriter:
    """Writes `index.html` into a folder; the file appears when the `with` block succeeds.

    with ReportWriter("report", "my street", predictor.label_space, names) as report:
        for name in names:
            report.add(name, predictor(name))
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        title: str,
        label_space: LabelSpace,
        names: Sequence[str],
    ) -> None:
        """
        Args:
            folder: is created; other files in it stay.
            title: the heading.
            label_space: of the model, for the facts at the top.
            names: of all images, in the order in which they are added; for the list at the top.
        """
        self.path = Path(folder) / "index.html"
        self._title = title
        self._label_space = label_space
        self._names = names
        self._count = 0
        self._stack = ExitStack()
        self._file: TextIO | None = None

    def __enter__(self) -> ReportWriter:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            self._file = stack.enter_context(open(temporary, "w", encoding="utf-8", newline="\n"))
            self._file.write(_head(self._title, self._label_space, self._names))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._file.write("</main>\n</body>\n</html>\n")
        self._stack.__exit__(kind, error, traceback)

    def add(self, name: str, prediction: Prediction) -> None:
        """Adds the next image, at most `SECTION_BYTES` to the page.

        Raises:
            ProLabError: a prediction of a model with category supervision.
        """
        self._write(image_section(self._count + 1, name, prediction))

    def add_failure(self, name: str, reason: str) -> None:
        """Says at the place of the next image why it could not be used."""
        self._write(failed_section(self._count + 1, name, reason))

    def _write(self, section: str) -> None:
        self._file.write(section)
        self._count += 1


def _head(title: str, label_space: LabelSpace, names: Sequence[str]) -> str:
    style = bar_style() + (_FOLDER / "report.css").read_text(encoding="utf-8")
    count = len(names)
    values = {
        "title": escape(title, LONGEST_NAME),
        "style": style,
        "policy": f"default-src 'none'; img-src data:; style-src '{integrity(style)}'; "
        "base-uri 'none'; form-action 'none'",
        "facts": f"{count} image{'' if count == 1 else 's'}, {label_space.num_categories} "
        f"categories, {label_space.num_properties} properties",
        "contents": "".join(
            f'<li><a href="#image-{i}"><bdi>{escape(name, LONGEST_NAME)}</bdi></a></li>'
            for i, name in enumerate(names, 1)
        ),
    }
    template = (_FOLDER / "head.html").read_text(encoding="utf-8")
    # In one pass: braces inside a value stay what they are.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)
