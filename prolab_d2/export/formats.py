"""The two kinds of exported files: written, read with what is written in them, and run.

Both hold a JSON text beside the graph (`prolab_d2.export.metadata`).
"""

from __future__ import annotations

import json
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from prolab_d2.errors import ProLabError, first_line
from prolab_d2.export.requirements import require_package

__all__ = ["METADATA_KEY", "SUFFIXES", "ExportedModel", "OnnxModel", "TorchModel", "exported_kind"]

# Of the metadata in an ONNX file, and the name of the extra file in a .pt2 file.
METADATA_KEY = "prolab_d2"
# Bytes of weights in one ONNX file. The format ends at 2 GB, and the graph needs some of them.
MOST_BYTES = 3 << 29


class ExportedModel(ABC):
    """A file that was exported, ready to run on a CPU.

    Attributes:
        metadata: see `prolab_d2.export.metadata.describe`.
    """

    metadata: dict[str, Any]

    @staticmethod
    @abstractmethod
    def require() -> None:
        """Raises a `ProLabError` if something to write and run such files is missing."""

    @staticmethod
    @abstractmethod
    def write(
        program: ExportedProgram,
        path: Path,
        metadata: dict[str, Any],
        output_names: list[str],
        opset: int,
    ) -> None:
        """Writes `path`, which should not exist.

        Args:
            opset: version of ONNX's operators; unused elsewhere.
        Raises:
            ProLabError: an operator cannot be expressed.
        """

    @abstractmethod
    def __init__(self, path: Path) -> None: ...

    @abstractmethod
    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """The outputs for `images` (B, 3, H, W) of the type that the file takes."""


class OnnxModel(ExportedModel):
    """An ONNX file, run by ONNX Runtime."""

    @staticmethod
    def require() -> None:
        for package in ("onnx", "onnxscript", "onnxruntime"):
            require_package(package)

    @staticmethod
    def write(
        program: ExportedProgram,
        path: Path,
        metadata: dict[str, Any],
        output_names: list[str],
        opset: int,
    ) -> None:
        try:
            with _quiet():
                result = torch.onnx.export(
                    program,
                    (),
                    input_names=["image"],
                    output_names=output_names,
                    opset_version=opset,
                    dynamo=True,
                    verbose=False,
                )
                result.model.metadata_props[METADATA_KEY] = json.dumps(metadata)
                weights = program.state_dict.values()
                size = sum(tensor.numel() * tensor.element_size() for tensor in weights)
                # In `<name>.data` beside the file, which needs it then.
                result.save(path, external_data=size > MOST_BYTES)
        except OSError:
            raise
        except Exception as error:  # of very many kinds
            raise ProLabError(
                f"PyTorch {torch.__version__} cannot express this network in ONNX, opset {opset} "
                f"({first_line(error)}): try another --opset, a fixed --size, or a .pt2 file"
            ) from error

    def __init__(self, path: Path) -> None:
        onnxruntime = require_package("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.metadata = json.loads(self.session.get_modelmeta().custom_metadata_map[METADATA_KEY])

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        return self.session.run(None, {"image": images})


class TorchModel(ExportedModel):
    """A file of `torch.export.save`."""

    @staticmethod
    def require() -> None:
        """PyTorch is all that it needs."""

    @staticmethod
    def write(
        program: ExportedProgram,
        path: Path,
        metadata: dict[str, Any],
        output_names: list[str],
        opset: int,
    ) -> None:
        text = json.dumps(metadata)
        with _quiet():
            torch.export.save(program, path, extra_files={f"{METADATA_KEY}.json": text})

    def __init__(self, path: Path) -> None:
        extra = {f"{METADATA_KEY}.json": ""}
        self.module = torch.export.load(path, extra_files=extra).module()
        self.metadata = json.loads(extra[f"{METADATA_KEY}.json"])

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            return [output.numpy() for output in self.module(torch.from_numpy(images))]


SUFFIXES: dict[str, type[ExportedModel]] = {".onnx": OnnxModel, ".pt2": TorchModel}


def exported_kind(path: Path) -> type[ExportedModel]:
    """The kind of file that the suffix of `path` names.

    Raises:
        ProLabError: it names none.
    """
    if path.suffix not in SUFFIXES:
        raise ProLabError(
            f"{path}: unknown kind of file {path.suffix!r}: choose a name that ends in .onnx or "
            ".pt2 (torch.export)"
        )
    return SUFFIXES[path.suffix]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the notes on internals that PyTorch writes for its developers."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
