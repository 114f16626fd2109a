"""Training loop and set-up shared by the command-line programs."""

from prolab_d2.engine.launch import argument_parser, launch
from prolab_d2.engine.setup import load_config, prepare_run
from prolab_d2.engine.trainer import Trainer

__all__ = [
    "Trainer",
    "argument_parser",
    "launch",
    "load_config",
    "prepare_run",
]
