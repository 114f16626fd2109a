"""Detectron2's trainer with this project's data, evaluation, schedule and checkpoints."""

from __future__ import annotations

import math
import weakref
from collections import OrderedDict
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.engine import DefaultTrainer, HookBase, hooks
from detectron2.engine.train_loop import TrainerBase
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from detectron2.utils import comm
from torch import nn

from prolab_d2.checkpoint import PropertyCheckpointer
from prolab_d2.data import PropertyDatasetMapper
from prolab_d2.errors import ProLabError
from prolab_d2.evaluation import PropertyEvaluator, SemSegEvaluator
from prolab_d2.solver import build_lr_scheduler, build_optimizer

__all__ = ["BestCheckpoint", "Trainer"]


class BestCheckpoint(HookBase):
    """Writes model_best.pth whenever the metric improves, also across a resume."""

    def __init__(self, checkpointer: PropertyCheckpointer, metric: str, period: int) -> None:
        self._checkpointer = checkpointer
        self._metric = metric
        self._period = period
        self._best = -math.inf

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if (self._period > 0 and done % self._period == 0) or done == self.trainer.max_iter:
            self._check()

    def _check(self) -> None:
        latest = self.trainer.storage.latest().get(self._metric)
        if latest is None:
            return
        value, iteration = latest
        if math.isfinite(value) and value > self._best and iteration == self.trainer.iter:
            self._best = value
            self._checkpointer.save("model_best", iteration=self.trainer.iter, best=value)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._best = state["best"]


class Trainer(DefaultTrainer):
    """Trains and evaluates a `PropertySegmentor` as a config says, on CPU, one GPU or several."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__(cfg)
        # Detectron2 has built its own checkpointer; ours also stores config and label space.
        self.checkpointer = PropertyCheckpointer(
            self._trainer.model,
            cfg.OUTPUT_DIR,
            config=cfg.dump(),
            allow_other_label_space=cfg.MODEL.PROLAB.ALLOW_OTHER_LABEL_SPACE,
            trainer=weakref.proxy(self),
        )
        self._hooks.clear()
        self.register_hooks(self.build_hooks())

    def build_hooks(self) -> list[HookBase]:
        built = super().build_hooks()
        # After evaluation, before the writers; the evaluation hook is the last but the writers.
        place = 1 + max(
            (i for i, hook in enumerate(built) if isinstance(hook, hooks.EvalHook)), default=-1
        )
        best = BestCheckpoint(
            self.checkpointer, self.cfg.TEST.BEST_METRIC, self.cfg.TEST.EVAL_PERIOD
        )
        built.insert(place, best)
        return built

    def run_step(self) -> None:
        super().run_step()
        self._check_memory_format()

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        model = super().build_model(cfg)
        return model.to(memory_format=torch.channels_last)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> Any:
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        return build_detection_train_loader(cfg, mapper=PropertyDatasetMapper(cfg, True))

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        mapper = PropertyDatasetMapper(cfg, False)
        return build_detection_test_loader(cfg, dataset_name, mapper=mapper)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        raise AssertionError
