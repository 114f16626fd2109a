"""Loading every label space that comes with the package, and what is made from one in memory.

Nothing is embedded: "extend" gets sentences whose embeddings are there already. "merge" clusters
anew with K-Means, which takes most of its time; it needs --merge.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from prolab_d2 import LabelSpace
from prolab_d2.label_space import shipped_label_spaces

from .contest import Contest, Goal, Side

_LOAD_SECONDS = 0.05
_NEW_CATEGORIES = 10


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--label-spaces", nargs="+", default=[], metavar="NAME", help="instead of all shipped ones"
    )
    parser.add_argument("--merge", action="store_true", help="also merge each with camvid")


def contests(args: argparse.Namespace) -> Iterator[Contest]:
    names = args.label_spaces if args.preset is None else []
    for name in names or shipped_label_spaces():
        space = LabelSpace.load(name)
        settings = {
            "label_space": name,
            "categories": space.num_categories,
            "properties": space.num_properties,
            "sentences": sum(map(len, space.descriptions.values())),
            "dimensions": space.embedding_dim,
        }
        yield Contest(
            f"label space {name}, N {space.num_categories}, K {space.num_properties}, "
            f"{settings['sentences']} sentences",
            _sides(name, space, args.merge),
            settings,
            goals=(Goal("seconds", _LOAD_SECONDS),),
        )


def _sides(name: str, space: LabelSpace, merge: bool) -> dict[str, Side]:
    half = space.categories[::2]
    sides = {
        "load": Side(lambda: LabelSpace.load(name)),
        "subset of half": Side(lambda: space.subset(half)),
    }
    if space.embeddings is not None:
        encoder = _Stored(space)
        new = {f"new {n}": space.descriptions[n] for n in space.categories[:_NEW_CATEGORIES]}
        sides[f"extend by {len(new)}"] = Side(lambda: space.extend(new, encoder))
    if merge:
        camvid = LabelSpace.load("camvid")
        sides["merge with camvid"] = Side(lambda: space.merge(camvid))
    return sides


class _Stored:
    """An encoder that knows the sentences of one label space."""

    def __init__(self, space: LabelSpace) -> None:
        self.provenance: dict[str, Any] = space.provenance
        sentences = [line for lines in space.descriptions.values() for line in lines]
        self._rows = dict(zip(sentences, space.embeddings.astype(np.float32), strict=True))

    def encode(self, sentences: Sequence[str]) -> np.ndarray:
        return np.stack([self._rows[line] for line in sentences])
