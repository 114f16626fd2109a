"""Detectron2's trainer with this project's data, evaluation, schedule and checkpoints."""

from __future__ import annotations

import logging
import math
import os
import weakref
from collections import OrderedDict
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import (
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.engine import DefaultTrainer, HookBase, TrainerBase, hooks
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from detectron2.utils import comm
from torch import nn

from prolab_d2.checkpoint import PropertyCheckpointer
from prolab_d2.data import PropertyDatasetMapper
from prolab_d2.evaluation import PropertyEvaluator, SemSegEvaluator
from prolab_d2.label_space import LabelSpace
from prolab_d2.solver import build_lr_scheduler, build_optimizer

__all__ = ["BestCheckpoint", "Trainer"]


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


class Trainer(DefaultTrainer):
    """Trains and evaluates a `PropertySegmentor` as a config says, on CPU, one GPU or several."""

    def build_hooks(self) -> list[HookBase]:
        cfg = self.cfg
        # Takes the place of Detectron2's checkpointer before the hooks that use it are made.
        self.checkpointer = _checkpointer(cfg, self.model, trainer=weakref.proxy(self))
        built = super().build_hooks()
        if comm.is_main_process():
            evaluation = [i for i, hook in enumerate(built) if isinstance(hook, hooks.EvalHook)]
            best = BestCheckpoint(self.checkpointer, cfg.TEST.BEST_METRIC, cfg.TEST.EVAL_PERIOD)
            built.insert(evaluation[-1] + 1, best)
        return built

    # Detectron2 0.6 leaves the state of the optimiser out of its checkpoints; main does as here.
    def state_dict(self) -> dict[str, Any]:
        return {**TrainerBase.state_dict(self), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        TrainerBase.load_state_dict(self, state)
        self._trainer.load_state_dict(state["_trainer"])

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        return super().build_model(cfg).to(memory_format=torch.channels_last)

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
        mapper = PropertyDatasetMapper(cfg, False, dataset_name)
        return build_detection_test_loader(cfg, dataset_name, mapper=mapper)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        folder = os.path.join(cfg.OUTPUT_DIR, "inference", dataset_name)
        evaluators = [SemSegEvaluator(dataset_name, output_dir=folder)]
        if cfg.TEST.PROPERTIES and cfg.MODEL.PROLAB.SUPERVISION == "property":
            label_space = LabelSpace.load(cfg.MODEL.PROLAB.LABEL_SPACE)
            evaluators.append(PropertyEvaluator(dataset_name, label_space, output_dir=folder))
        return DatasetEvaluators(evaluators)

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: list[DatasetEvaluator] | None = None,
    ) -> OrderedDict[str, Any]:
        """As Detectron2's, with the property activations that TEST.PROPERTIES evaluates."""
        segmentor = getattr(model, "module", model)
        before = segmentor.output_properties
        segmentor.output_properties = before or (
            cfg.TEST.PROPERTIES and segmentor.supervision == "property"
        )
        try:
            return super().test(cfg, model, evaluators)
        finally:
            segmentor.output_properties = before

    @classmethod
    def evaluate_checkpoint(cls, cfg: CfgNode) -> OrderedDict[str, Any]:
        """Evaluates MODEL.WEIGHTS on DATASETS.TEST."""
        model = cls.build_model(cfg)
        _checkpointer(cfg, model).load(cfg.MODEL.WEIGHTS)
        return cls.test(cfg, model)


def _checkpointer(cfg: CfgNode, model: nn.Module, **checkpointables: Any) -> PropertyCheckpointer:
    names = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    return PropertyCheckpointer(
        model,
        cfg.OUTPUT_DIR,
        config=cfg.dump(),
        colors=MetadataCatalog.get(names[0]).get("stuff_colors", None) if names else None,
        allow_other_label_space=cfg.MODEL.PROLAB.ALLOW_OTHER_LABEL_SPACE,
        **checkpointables,
    )
