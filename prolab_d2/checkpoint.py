"""Checkpoints that are complete in one file: weights, config and label space.

A file is a dictionary that `torch.load(..., weights_only=True)` accepts:

    {"model": state dict, "prolab": {"format_version", "config", "label_space", "label_space_hash"},
     and, while training goes on, the states of trainer, optimiser and schedule}

"prolab" also holds "colors" where the data set of the training has some, and "unknown_threshold"
after tools/calibrate_unknown.py. With SOLVER.EMA_DECAY a checkpoint of a training holds the
averaged weights, too, and these are what counts elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from fvcore.common.checkpoint import Checkpointer
from torch import Tensor, nn

from prolab_d2.errors import ProLabError
from prolab_d2.files import atomic_path
from prolab_d2.label_space import LabelSpace

__all__ = ["AVERAGE", "Checkpoint", "PropertyCheckpointer", "read_checkpoint", "read_tensors"]

FORMAT_VERSION = 1
# Key of the averaged weights, a state dict of torch's AveragedModel.
AVERAGE = "weight_average"
_IN_AVERAGE = "module."
# Projections of the category warm-up; they have done their work when the training ends.
_WARMUP_ONLY = ("category_projection.", "aux_category_projection.")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint of this project holds apart from the state of a training.

    `colors` are N triples of 0 to 255 to draw the categories with, None where they are not known.
    `unknown_threshold` is that of `Prediction.unknown_regions`, None without calibration.
    """

    path: Path
    model: dict[str, Tensor]
    config: str
    label_space: LabelSpace
    colors: list[list[int]] | None = None
    unknown_threshold: float | None = None

    def load_into(self, model: nn.Module) -> None:
        """Gives a model all weights.

        Raises:
            ProLabError: the model has others, or of other shapes.
        """
        own = {name: tensor.shape for name, tensor in model.state_dict().items()}
        given = {name: tensor.shape for name, tensor in self.model.items()}
        names = own.keys() | given.keys()
        wrong = sorted(name for name in names if own.get(name) != given.get(name))
        if wrong:
            raise ProLabError(
                f"checkpoint {self.path} belongs to another network than the config: "
                f"{len(wrong)} parameters differ in name or shape, such as {wrong[0]}; use the "
                "config of its training"
            )
        model.load_state_dict(self.model)


def read_tensors(path: str | Path) -> dict[str, Any]:
    """The content of a file of tensors; a bare state dict is put under "model".

    Raises:
        ProLabError: missing, damaged, or with anything in it that would have to be run.
    """
    if not Path(path).is_file():
        raise ProLabError(f"checkpoint {path} does not exist: check the path")
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no common error class
        raise ProLabError(
            f"checkpoint {path} cannot be read ({type(error).__name__}): it is damaged or not a "
            "file of tensors; get it again"
        ) from error
    if not isinstance(data, dict):
        raise ProLabError(f"checkpoint {path} holds no state dict: it is another kind of file")
    return data if {"model", "state_dict"} & data.keys() else {"model": data}


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Reads a checkpoint that training with this project has written.

    Raises:
        ProLabError: missing or damaged file, or one without config and label space.
    """
    data = read_tensors(path)
    extra = data.get("prolab")
    if extra is None:
        raise ProLabError(
            f"checkpoint {path} holds weights only, no config and no label space: it was not "
            "written by train_net.py"
        )
    if extra["format_version"] > FORMAT_VERSION:
        raise ProLabError(
            f"checkpoint {path} has format {extra['format_version']}, this version reads up to "
            f"{FORMAT_VERSION}: update prolab_d2"
        )
    label_space = LabelSpace.from_state(extra["label_space"])
    model = _without_warmup(_averaged(data))
    return Checkpoint(
        Path(path),
        model,
        extra["config"],
        label_space,
        extra.get("colors"),
        extra.get("unknown_threshold"),
    )


def _averaged(data: dict[str, Any]) -> dict[str, Tensor]:
    """The averaged weights where there are some, else the weights."""
    average = data.get(AVERAGE)
    if average is None or not average["n_averaged"]:
        return data["model"]
    return {
        name.removeprefix(_IN_AVERAGE): value
        for name, value in average.items()
        if name.startswith(_IN_AVERAGE)
    }


def _without_warmup(model: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in model.items() if not name.startswith(_WARMUP_ONLY)}


class PropertyCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with config and label space inside, atomic and without pickle."""

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        config: str = "",
        colors: Sequence[Sequence[int]] | None = None,
        unknown_threshold: float | None = None,
        allow_other_label_space: bool = False,
        save_to_disk: bool | None = None,
        **checkpointables: Any,
    ) -> None:
        """
        Args:
            model: a `PropertySegmentor`, or a distributed wrapper of one.
            config: the whole config as YAML, stored in every checkpoint.
            colors: N triples of 0 to 255, stored with it.
            unknown_threshold: stored with it, too.
            allow_other_label_space: load weights that were trained with another label space.
        """
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self._config = config
        self._colors = colors
        self._unknown_threshold = unknown_threshold
        self._allow_other_label_space = allow_other_label_space

    def save(self, name: str, **kwargs: Any) -> None:
        """Writes `<save_dir>/<name>.pth`, from which the training can go on."""
        states = {key: obj.state_dict() for key, obj in self.checkpointables.items()}
        if self._write(name, self.model.state_dict(), {**states, **kwargs}):
            self.tag_last_checkpoint(f"{name}.pth")

    def save_model(self, name: str, **kwargs: Any) -> None:
        """Writes `<save_dir>/<name>.pth` for use, not for going on: a third of the size.

        It holds the averaged weights where there are some, and no category projection of a warm-up.
        """
        data = {"model": self.model.state_dict()}
        if AVERAGE in self.checkpointables:
            data[AVERAGE] = self.checkpointables[AVERAGE].state_dict()
        self._write(name, _without_warmup(_averaged(data)), kwargs)

    def _write(self, name: str, model: dict[str, Tensor], more: dict[str, Any]) -> bool:
        """An interrupted write leaves the former file whole. False where nothing is written."""
        if not self.save_dir or not self.save_to_disk:
            return False
        state = self.model.label_space.state()
        arrays = {key: torch.from_numpy(array.copy()) for key, array in state["arrays"].items()}
        data = {
            "model": model,
            "prolab": {
                "format_version": FORMAT_VERSION,
                "config": self._config,
                "label_space": {"json": state["json"], "arrays": arrays},
                "label_space_hash": self.model.label_space.hash,
            },
        }
        if self._colors is not None:
            data["prolab"]["colors"] = [list(map(int, color)) for color in self._colors]
        if self._unknown_threshold is not None:
            data["prolab"]["unknown_threshold"] = float(self._unknown_threshold)
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info(f"Saving checkpoint to {path}")
        with atomic_path(path) as temporary:
            torch.save({**data, **more}, temporary)
        return True

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        with atomic_path(os.path.join(self.save_dir, "last_checkpoint")) as temporary:
            Path(temporary).write_text(last_filename_basename)

    def _load_file(self, filename: str) -> dict[str, Any]:
        if filename.endswith((".pkl", ".pyth")):
            return super()._load_file(filename)
        return read_tensors(filename)

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if path and "://" not in path and not os.path.isfile(path):
            raise ProLabError(f"checkpoint {path} does not exist: check MODEL.WEIGHTS")
        self._loading = path
        # Not Detectron2's `load`: on main it takes what follows a "?" in a path for options, and
        # loads nothing more after an error. All it adds is for models in a distributed wrapper,
        # which this class has already taken off.
        return Checkpointer.load(self, path, *args, **kwargs)

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        extra = checkpoint.pop("prolab", None)
        if AVERAGE not in self.checkpointables:
            checkpoint["model"] = _averaged(checkpoint)
            checkpoint.pop(AVERAGE, None)
        if extra is None:
            return super()._load_model(checkpoint)
        same = extra["label_space_hash"] == self.model.label_space.hash
        if not same and not self._allow_other_label_space:
            raise ProLabError(
                f"checkpoint {self._loading} was trained with another label space than "
                "MODEL.PROLAB.LABEL_SPACE names: use the label space of the training, or set "
                "MODEL.PROLAB.ALLOW_OTHER_LABEL_SPACE True to take the weights all the same"
            )
        incompatible = super()._load_model(checkpoint)
        wrong = [name for name, *_ in incompatible.incorrect_shapes] + incompatible.missing_keys
        wrong = [name for name in wrong if not name.startswith(_WARMUP_ONLY)]
        if same and wrong:
            raise ProLabError(
                f"checkpoint {self._loading} belongs to another network than the config: "
                f"{len(wrong)} parameters are missing or of another shape, such as {wrong[0]}"
            )
        return incompatible
