"""Training loop and set-up shared by the command-line programs."""

from prolab_d2.engine.setup import load_config, prepare_run
from prolab_d2.engine.trainer import Trainer

__all__ = ["Trainer", "load_config", "prepare_run"]
