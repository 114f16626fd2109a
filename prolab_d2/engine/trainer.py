"""Detectron2's trainer with this project's data, evaluation, schedule and checkpoints."""

from __future__ import annotations

import logging
import os
import weakref
from collections import OrderedDict
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import (
    MetadataCatalog,
    build_detection_test_loader,
)
from detectron2.engine import DefaultTrainer, HookBase, TrainerBase, defaults, hooks
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from detectron2.utils.logger import setup_logger
from torch import nn

from prolab_d2.checkpoint import AVERAGE, PropertyCheckpointer
from prolab_d2.data import PropertyDatasetMapper, build_train_loader, own_label_space
from prolab_d2.engine.hooks import BestCheckpoint, CategoryWarmup, WeightAverage
from prolab_d2.engine.open_vocabulary import evaluate_open_vocabulary
from prolab_d2.engine.train_step import TrainStep
from prolab_d2.engine.writers import build_writers
from prolab_d2.evaluation import PropertyEvaluator, SemSegEvaluator, mean_results
from prolab_d2.label_space import LabelSpace
from prolab_d2.solver import build_lr_scheduler, build_optimizer

__all__ = ["Trainer"]


class Trainer(DefaultTrainer):
    """Trains and evaluates a `PropertySegmentor` as a config says, on CPU, one GPU or several."""

    def __init__(self, cfg: CfgNode) -> None:
        # Not Detectron2's, which would make an iteration and a checkpointer of its own first.
        TrainerBase.__init__(self)
        if not logging.getLogger("detectron2").isEnabledFor(logging.INFO):
            setup_logger()
        cfg = self.cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        segmentor = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, segmentor)
        data_loader = self.build_train_loader(cfg)
        model = defaults.create_ddp_model(segmentor, broadcast_buffers=False)
        self._trainer = TrainStep(
            model,
            data_loader,
            optimizer,
            precision=cfg.SOLVER.AMP.PRECISION if cfg.SOLVER.AMP.ENABLED else "float32",
            accumulate=cfg.SOLVER.ACCUMULATE,
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self._average: WeightAverage | None = None
        states: dict[str, Any] = {"trainer": weakref.proxy(self)}
        if cfg.SOLVER.EMA_DECAY:
            self._average = WeightAverage(segmentor, cfg.SOLVER.EMA_DECAY)
            states[AVERAGE] = self._average.average
        self.checkpointer = _checkpointer(cfg, model, **states)
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.register_hooks(self.build_hooks())

    def build_hooks(self) -> list[HookBase]:
        cfg = self.cfg
        built = super().build_hooks()
        place = [i for i, hook in enumerate(built) if isinstance(hook, hooks.EvalHook)][-1]
        built[place] = hooks.EvalHook(cfg.TEST.EVAL_PERIOD, self._evaluate)
        if comm.is_main_process():
            best = BestCheckpoint(self.checkpointer, cfg.TEST.BEST_METRIC, cfg.TEST.EVAL_PERIOD)
            built.insert(place + 1, best)
        if self._average is not None:
            built.insert(0, self._average)
        segmentor = getattr(self.model, "module", self.model)
        if segmentor.has_category_warmup:
            warmup = cfg.MODEL.PROLAB.CATEGORY_WARMUP_ITERS
            built.insert(0, CategoryWarmup(segmentor, warmup))
        return built

    def build_writers(self) -> list[EventWriter]:
        return build_writers(self.cfg.OUTPUT_DIR, self.max_iter)

    def _evaluate(self) -> OrderedDict[str, Any]:
        model = self.model if self._average is None else self._average.model
        self._last_eval_results = self.test(self.cfg, model)
        return self._last_eval_results

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
        return build_train_loader(cfg)

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
            background = cfg.TEST.BACKGROUND_THRESHOLD > 0
            own = own_label_space(dataset_name, label_space, background=background)
            evaluators.append(
                PropertyEvaluator(dataset_name, own, output_dir=folder, background=background)
            )
        return DatasetEvaluators(evaluators)

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: list[DatasetEvaluator] | None = None,
    ) -> OrderedDict[str, Any]:
        """As Detectron2's, with the property activations that TEST.PROPERTIES evaluates.

        Every data set is evaluated on its own categories. Results of several data sets are under
        their names, and their means under "sem_seg".
        """
        segmentor = getattr(model, "module", model)
        before = segmentor.output_properties
        segmentor.output_properties = before or (cfg.TEST.PROPERTIES and segmentor.has_properties)
        results: OrderedDict[str, Any] = OrderedDict()
        try:
            for i, name in enumerate(cfg.DATASETS.TEST):
                one = cfg.clone()
                one.defrost()
                one.DATASETS.TEST = (name,)
                # Who brings evaluators has seen to it that they and the model speak of the same.
                chosen = [evaluators[i]] if evaluators else None
                tested = model if evaluators else _for_categories_of(name, model, cfg)
                results[name] = super().test(one, tested, chosen)
        finally:
            segmentor.output_properties = before
        if len(results) == 1:
            return next(iter(results.values()))
        means = mean_results([result.get("sem_seg", {}) for result in results.values()])
        if means:
            results["sem_seg"] = means
        return results

    @classmethod
    def evaluate_checkpoint(cls, cfg: CfgNode) -> OrderedDict[str, Any]:
        """Evaluates MODEL.WEIGHTS on DATASETS.TEST, with TEST_LABEL_SPACE in several ways."""
        if cfg.MODEL.PROLAB.TEST_LABEL_SPACE:
            return evaluate_open_vocabulary(cfg, cls.test)
        model = cls.build_model(cfg)
        _checkpointer(cfg, model).load(cfg.MODEL.WEIGHTS)
        return cls.test(cfg, model)


def _for_categories_of(name: str, model: nn.Module, cfg: CfgNode) -> nn.Module:
    """The model, or where a data set lacks some of its categories the model without these."""
    segmentor = getattr(model, "module", model)
    background = cfg.TEST.BACKGROUND_THRESHOLD > 0
    own = own_label_space(name, segmentor.label_space, background=background)
    return model if own is segmentor.label_space else segmentor.with_label_space(own)


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
