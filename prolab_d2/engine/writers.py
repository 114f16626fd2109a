"""Where the figures of a training go: the terminal, metrics.json and TensorBoard."""

from __future__ import annotations

from pathlib import Path

from detectron2.utils.events import (
    CommonMetricPrinter,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
)

__all__ = ["build_writers"]


class _LateTensorboard(EventWriter):
    """Detectron2's writer for TensorBoard, made with the first figures.

    Importing TensorBoard takes a third of a second, which must not delay the first iteration.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._writer: TensorboardXWriter | None = None

    def write(self) -> None:
        if self._writer is None:
            self._writer = TensorboardXWriter(self._folder)
        self._writer.write()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def build_writers(output_dir: str, max_iter: int) -> list[EventWriter]:
    """Those of Detectron2's `default_writers`."""
    return [
        CommonMetricPrinter(max_iter),
        JSONWriter(str(Path(output_dir) / "metrics.json")),
        _LateTensorboard(output_dir),
    ]
