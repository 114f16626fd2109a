"""What a training of this project does besides Detectron2's own hooks."""

from __future__ import annotations

import logging
import math
from typing import Any

from detectron2.engine import HookBase
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from prolab_d2.checkpoint import PropertyCheckpointer

__all__ = ["BestCheckpoint", "CategoryWarmup", "WeightAverage"]


class BestCheckpoint(HookBase):
    """Writes model_best.pth whenever a metric improves; remembers the best value over a resume."""

    def __init__(self, checkpointer: PropertyCheckpointer, metric: str, period: int) -> None:
        """
        Args:
            metric: name in the event storage, such as "sem_seg/mIoU"; larger is better.
            period: iterations between two evaluations; 0 looks after the last iteration only.
        """
        self._checkpointer = checkpointer
        self._metric = metric
        self._period = period
        self._best = -math.inf

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._save_if_better()

    def after_train(self) -> None:
        # As with Detectron2's EvalHook: only after a training that came to its end.
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self._save_if_better()

    def _save_if_better(self) -> None:
        latest = self.trainer.storage.latest().get(self._metric)
        if latest is None:
            logging.getLogger(__name__).warning(
                f"no metric {self._metric}: model_best.pth is not written (TEST.BEST_METRIC)"
            )
            return
        value = float(latest[0])
        if math.isfinite(value) and value > self._best:
            self._best = value
            self._checkpointer.save_model("model_best", best={self._metric: value})

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._best = state["best"]


class CategoryWarmup(HookBase):
    """One-hot supervision for the first iterations (paper, section 4.1), properties afterwards.

    The switch follows the number of the iteration, so that a resumed training has it right.
    """

    def __init__(self, model: nn.Module, iterations: int) -> None:
        """
        Args:
            model: a `PropertySegmentor` that has category projections.
            iterations: MODEL.PROLAB.CATEGORY_WARMUP_ITERS.
        """
        self._model = model
        self._iterations = iterations

    def before_step(self) -> None:
        self._model.in_category_warmup = self.trainer.iter < self._iterations


class WeightAverage(HookBase):
    """An exponential moving average of the weights; the buffers are those of the last step."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """
        Args:
            model: what is trained, without a distributed wrapper.
            decay: SOLVER.EMA_DECAY, share of the old average that each step keeps.
        """
        self._model = model
        # Has the state: it is what checkpoints hold.
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))

    @property
    def model(self) -> nn.Module:
        """The model with the averaged weights, the trained one itself before the first step."""
        return self.average.module if self.average.n_averaged else self._model

    def after_step(self) -> None:
        self.average.update_parameters(self._model)
