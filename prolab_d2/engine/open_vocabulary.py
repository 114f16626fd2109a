"""A trained network on the categories of another label space, in one way after another."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, print_csv_format
from detectron2.utils import comm

from prolab_d2.checkpoint import read_checkpoint
from prolab_d2.data.reading import stuff_classes
from prolab_d2.errors import ProLabError
from prolab_d2.evaluation import SemSegEvaluator
from prolab_d2.evaluation.open_vocabulary import (
    WAYS,
    NearestCategoryEvaluator,
    results_table,
    seen_and_unseen,
)
from prolab_d2.evaluation.reporting import write_json
from prolab_d2.label_space import LabelSpace
from prolab_d2.label_space.embedding import Encoder
from prolab_d2.label_space.vocabulary import (
    check_swap,
    encoder_of,
    in_trained_properties,
    nearest_categories,
    trained_names,
)
from prolab_d2.modeling import PropertySegmentor
from prolab_d2.modeling.backbones.weights import forget_weights

if TYPE_CHECKING:
    from prolab_d2.evaluation.stacking import Stacking

__all__ = ["evaluate_open_vocabulary"]

logger = logging.getLogger(__name__)

# Of the three supervisions; the first ones are what an empty TEST_WAYS means.
_POSSIBLE_WAYS = {
    "property": ("swap", "extend", "nearest"),
    "text": ("swap", "nearest"),
    "category": ("nearest", "conse"),
}
_NUM_DEFAULT = {"property": 2, "text": 1, "category": 1}

# As `Trainer.test`: config, model and one evaluator for each data set.
Test = Callable[[CfgNode, torch.nn.Module, list[DatasetEvaluator]], Any]


def evaluate_open_vocabulary(cfg: CfgNode, test: Test) -> OrderedDict[str, Any]:
    """Evaluates MODEL.WEIGHTS on DATASETS.TEST, whose categories are MODEL.PROLAB.TEST_LABEL_SPACE.

    Network and trained label space are those of the checkpoint. Writes for every data set
    inference/<data set>/open_vocabulary.json, and logs a table. With MODEL.PROLAB.TEST_STACKING
    there are results "<way>_stacked", too, and AUSUC (`area_under_curve`), but for "nearest",
    whose answers have no scores.

    Returns:
        {"<way>/sem_seg": {mIoU, ..., mIoU_seen, mIoU_unseen, mIoU_harmonic}} for every way, by data
        set where there are several; empty on all processes but the first.
    Raises:
        ProLabError: unusable checkpoint, or a way that this network or label space does not allow.
    """
    checkpoint = read_checkpoint(cfg.MODEL.WEIGHTS)
    trained, asked = checkpoint.label_space, LabelSpace.load(cfg.MODEL.PROLAB.TEST_LABEL_SPACE)
    ways = _choose_ways(cfg)
    if "swap" in ways:
        check_swap(trained, asked)
    encoder = None if ways == ["swap"] else encoder_of(trained, trained, asked)
    cfg = _for_evaluation(cfg)
    model = PropertySegmentor(cfg, label_space=trained)
    checkpoint.load_into(model)
    trained = model.label_space  # with MODEL.PROLAB.PROPERTY_WEIGHTS
    model.to(device=cfg.MODEL.DEVICE, memory_format=torch.channels_last)
    results: dict[str, dict[str, dict[str, float]]] = {name: {} for name in cfg.DATASETS.TEST}
    stackings: dict[str, Stacking] = {}

    def run(way: str, tested: PropertySegmentor, evaluators: list[DatasetEvaluator]) -> None:
        found = test(cfg, tested, evaluators)
        for name in results if comm.is_main_process() else ():
            of_one = found if len(results) == 1 else found[name]
            results[name][way] = of_one["sem_seg"]
            if cfg.MODEL.PROLAB.TEST_STACKING > 0 and way != "nearest":
                results[name][way]["AUSUC"] = _area(cfg, tested, trained, name)

    for way in ways:
        logger.info("Open vocabulary, %s: %s", way, WAYS[way])
        if way == "nearest":
            run(way, *_nearest(cfg, model, asked, encoder))
            continue
        tested = _answering(model, asked, way, encoder)
        run(way, tested, _evaluators(cfg, way))
        if cfg.MODEL.PROLAB.TEST_STACKING > 0:
            stacking = stackings[way] = _stacking(cfg, tested, trained)
            offsets = stacking.for_categories(tested.label_space.categories)
            way = f"{way}_stacked"
            run(way, tested.with_category_offsets(offsets), _evaluators(cfg, way))
    if not comm.is_main_process():
        return OrderedDict()
    by_set = OrderedDict(
        (name, _report(cfg, name, asked, trained, by_way, stackings))
        for name, by_way in results.items()
    )
    return by_set if len(by_set) > 1 else next(iter(by_set.values()))


def _choose_ways(cfg: CfgNode) -> list[str]:
    supervision, chosen = cfg.MODEL.PROLAB.SUPERVISION, list(cfg.MODEL.PROLAB.TEST_WAYS)
    if supervision not in _POSSIBLE_WAYS:
        raise ProLabError(
            f"MODEL.PROLAB.SUPERVISION is {supervision!r}: use one of {list(_POSSIBLE_WAYS)}"
        )
    possible = _POSSIBLE_WAYS[supervision]
    for way in chosen:
        if way not in possible:
            raise ProLabError(
                f"MODEL.PROLAB.TEST_WAYS has {way!r}, and with MODEL.PROLAB.SUPERVISION "
                f"{supervision!r} there are {list(possible)}: choose some of them"
            )
    return list(dict.fromkeys(chosen)) or list(possible[: _NUM_DEFAULT[supervision]])


def _for_evaluation(cfg: CfgNode) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    forget_weights(cfg)
    # Evaluation needs no targets, and the mapper would look for those of the trained label space.
    cfg.MODEL.PROLAB.LABEL_SPACE = ""
    cfg.MODEL.PROLAB.CATEGORY_WARMUP_ITERS = 0
    cfg.TEST.PROPERTIES = False
    cfg.freeze()
    return cfg


def _folder(cfg: CfgNode, dataset: str) -> Path:
    return Path(cfg.OUTPUT_DIR, "inference", dataset)


def _nearest(
    cfg: CfgNode, model: PropertySegmentor, asked: LabelSpace, encoder: Encoder
) -> tuple[PropertySegmentor, list[DatasetEvaluator]]:
    trained = model.label_space
    answers = nearest_categories(trained, asked.descriptions, encoder)
    pairs = zip(asked.categories, (trained.categories[i] for i in answers), strict=True)
    logger.info("answered by: %s", "; ".join(f"{name} by {answer}" for name, answer in pairs))
    if cfg.TEST.BACKGROUND_THRESHOLD > 0:  # the answer 0, in front of all categories
        answers = (0, *(answer + 1 for answer in answers))
    return model, [
        NearestCategoryEvaluator(name, answers, len(model.categories)) for name in cfg.DATASETS.TEST
    ]


def _answering(
    model: PropertySegmentor, asked: LabelSpace, way: str, encoder: Encoder
) -> PropertySegmentor:
    """The network with the categories of the test."""
    if way == "conse":
        return model.with_convex_combination(asked)
    space = asked if way == "swap" else _extended(model.label_space, asked, encoder)
    _warn_of_twins(space)
    return model.with_label_space(space)


def _evaluators(cfg: CfgNode, way: str) -> list[DatasetEvaluator]:
    return [
        SemSegEvaluator(name, output_dir=str(_folder(cfg, name) / way))
        for name in cfg.DATASETS.TEST
    ]


def _stacking(cfg: CfgNode, tested: PropertySegmentor, trained: LabelSpace) -> Stacking:
    # Imported here: trainings do without, and the predictor imports this package.
    from prolab_d2.evaluation.stacking import choose_stacking
    from prolab_d2.predictor import Predictor

    if not cfg.DATASETS.TRAIN:
        raise ProLabError(
            "MODEL.PROLAB.TEST_STACKING needs images of the training, and DATASETS.TRAIN is empty: "
            "name their data set, or set TEST_STACKING to 0"
        )
    trained_as, _ = trained_names(tested.label_space.categories, trained.categories)
    stacking = choose_stacking(
        Predictor(tested, cfg), trained_as, cfg.DATASETS.TRAIN, cfg.MODEL.PROLAB.TEST_STACKING
    )
    logger.info(stacking.describe())
    return stacking


def _area(cfg: CfgNode, tested: PropertySegmentor, trained: LabelSpace, name: str) -> float:
    from prolab_d2.evaluation.stacking import seen_unseen_area
    from prolab_d2.predictor import Predictor

    _, seen = trained_names(tested.label_space.categories, trained.categories)
    return seen_unseen_area(Predictor(tested, cfg), seen, name)


def _extended(trained: LabelSpace, asked: LabelSpace, encoder: Encoder) -> LabelSpace:
    vocabulary = in_trained_properties(trained, asked.descriptions, encoder)
    if None in vocabulary.trained_as:
        logger.info("new categories\n%s", vocabulary.describe_new())
    return vocabulary.label_space


def _warn_of_twins(space: LabelSpace) -> None:
    for names in space.confused_categories():
        logger.warning(
            f"{' and '.join(names)} have the same signature: all of them are answered as {names[0]}"
        )


def _report(
    cfg: CfgNode,
    dataset: str,
    asked: LabelSpace,
    trained: LabelSpace,
    by_way: dict[str, dict[str, float]],
    stackings: dict[str, Stacking],
) -> OrderedDict[str, dict[str, float]]:
    """Adds the means of seen and unseen categories, and writes table and file."""
    # Upper and lower case may differ between data set and label space.
    names = stuff_classes(MetadataCatalog.get(dataset))
    trained_as, seen = trained_names(asked.categories, trained.categories)
    if cfg.TEST.BACKGROUND_THRESHOLD > 0:
        trained_as, seen = (None, *trained_as), (None, *seen)
    columns = {}
    for way, results in by_way.items():
        kinds = ("", "_oracle") if way == "nearest" else ("",)
        for kind in kinds:
            iou = np.array([results[f"IoU{kind}-{name}"] for name in names])
            means = seen_and_unseen(iou, seen)
            results.update({f"{key}{kind}": value for key, value in means.items()})
            columns[f"{way}{kind}"] = iou
    table = results_table(names, seen, columns)
    logger.info("%s, trained on %d categories\n%s", dataset, trained.num_categories, table)
    categories = [
        {"name": name, "seen": seen[i], "trained_as": trained_as[i]}
        | {f"iou_{column}": values[i] for column, values in columns.items()}
        for i, name in enumerate(names)
    ]
    write_json(
        _folder(cfg, dataset) / "open_vocabulary.json",
        {
            "data_set": dataset,
            "trained_categories": list(trained.categories),
            "percent": {
                way: {key: value for key, value in results.items() if "-" not in key}
                for way, results in by_way.items()
            },
            "stacking": {way: stacking.record() for way, stacking in stackings.items()},
            "categories": categories,
        },
    )
    named = OrderedDict((f"{way}/sem_seg", results) for way, results in by_way.items())
    print_csv_format(named)
    return named
