"""The training loader: one data set, or several that are sampled by weight."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import (
    MetadataCatalog,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.utils import comm
from torch.utils.data import Sampler

from prolab_d2.data.dataset_mapper import PropertyDatasetMapper
from prolab_d2.data.datasets.joint import MEMBER, TAGGED
from prolab_d2.errors import ProLabError

__all__ = ["JointMapper", "WeightedSampler", "build_train_loader"]


def build_train_loader(cfg: CfgNode) -> Any:
    """Batches of mapped images of DATASETS.TRAIN, without end.

    Images come equally often, or by the DATASETS.SAMPLING_WEIGHTS of their data sets.

    Raises:
        ProLabError: data sets that do not go together, or weights that do not fit them.
    """
    names, weights = cfg.DATASETS.TRAIN, cfg.DATASETS.SAMPLING_WEIGHTS
    mapper: Callable[[dict[str, Any]], dict[str, Any]]
    if names and all(MetadataCatalog.get(name).get(TAGGED, False) for name in names):
        mapper = JointMapper({name: PropertyDatasetMapper(cfg, True, name) for name in names})
    else:
        mapper = PropertyDatasetMapper(cfg, True)
    if not weights:
        return build_detection_train_loader(cfg, mapper=mapper)
    if len(weights) != len(names):
        raise ProLabError(
            f"DATASETS.SAMPLING_WEIGHTS has {len(weights)} numbers for {len(names)} data sets in "
            "DATASETS.TRAIN: give one for each, or none"
        )
    parts = [
        get_detection_dataset_dicts([name], filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS)
        for name in names
    ]
    sampler = WeightedSampler([len(part) for part in parts], weights)
    entries = list(itertools.chain.from_iterable(parts))
    return build_detection_train_loader(cfg, dataset=entries, mapper=mapper, sampler=sampler)


class JointMapper:
    """Gives every entry to the mapper of the data set that it comes from."""

    def __init__(self, mappers: Mapping[str, PropertyDatasetMapper]) -> None:
        """
        Args:
            mappers: by the name that entries have under "dataset_name".
        """
        self.mappers = dict(mappers)

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        return self.mappers[dataset_dict[MEMBER]](dataset_dict)


class WeightedSampler(Sampler):
    """Indices into data sets that stand one behind the other, without end.

    The data set of every image is drawn by weight; within a data set, all images come once in a
    random order before one comes again. All processes draw the same and take turns.
    """

    def __init__(
        self, sizes: Sequence[int], weights: Sequence[float], seed: int | None = None
    ) -> None:
        """
        Args:
            sizes: images of every data set, at least 1.
            weights: how often each is drawn, in any unit; 0 leaves it out.
            seed: shared by all processes; None for a random one that they agree on.
        Raises:
            ProLabError: a negative weight, or none above 0.
        """
        if min(weights) < 0 or not sum(weights) > 0:
            raise ProLabError(
                f"DATASETS.SAMPLING_WEIGHTS is {list(weights)}: give numbers from 0, and one above"
            )
        self._sizes = list(sizes)
        self._weights = torch.tensor(weights, dtype=torch.float64)
        self._seed = comm.shared_random_seed() if seed is None else int(seed)

    def __iter__(self) -> Iterator[int]:
        rank, world_size = comm.get_rank(), comm.get_world_size()
        yield from itertools.islice(self._indices(), rank, None, world_size)

    def _indices(self) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(self._seed)
        first = [0, *itertools.accumulate(self._sizes)]
        within = [self._shuffled(size, generator) for size in self._sizes]
        while True:
            drawn = torch.multinomial(self._weights, 1024, replacement=True, generator=generator)
            for number in drawn.tolist():
                yield first[number] + next(within[number])

    @staticmethod
    def _shuffled(size: int, generator: torch.Generator) -> Iterator[int]:
        while True:
            yield from torch.randperm(size, generator=generator).tolist()
