"""Names of properties: the sentence in the middle of a cluster, short and unique.

Shapes: M descriptions, D embedding, K properties.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from prolab_d2.label_space.clustering import Clusters

__all__ = ["property_names", "shorten"]

# Characters. Sentences written for a label space are below, answers of a language model often not.
_MAX_LENGTH = 60
_MIN_WORDS = 3


def property_names(
    sentences: Sequence[str], embeddings: np.ndarray, clusters: Clusters
) -> list[str]:
    """For every cluster the member nearest its centre, shortened and made unique.

    Names that differ only in case count as equal. When the nearest member names another property
    already, the next nearest does, and in the end a number is added.

    Args:
        sentences: M of them.
        embeddings: (M, D).
    """
    names: list[str] = []
    taken: set[str] = set()
    for number, centre in enumerate(clusters.centres):
        members = np.flatnonzero(clusters.labels == number)
        distance = np.linalg.norm(embeddings[members] - centre, axis=1)
        candidates = [shorten(sentences[i]) for i in members[distance.argsort(kind="stable")]]
        candidates += [f"{candidates[0]} ({i})" for i in range(2, len(sentences) + 2)]
        name = next(name for name in candidates if name.lower() not in taken)
        names.append(name)
        taken.add(name.lower())
    return names


def shorten(sentence: str, max_length: int = _MAX_LENGTH) -> str:
    """The sentence without its final stop; a long one ends in "…" after a clause or a word.

    What is left out is only ever the end, and the dots say so: nothing in the middle changes.
    """
    text = " ".join(sentence.split()).rstrip(" .")
    if len(text) <= max_length:
        return text
    room = text[: max_length - 1]
    clauses = [m.start() for m in re.finditer(r"[,;:(]| [-–—] ", room)]
    clauses = [end for end in clauses if _is_whole(room[:end])]
    words = [m.start() for m in re.finditer(" ", room)]
    end = (clauses or words or [len(room)])[-1]
    return room[:end].rstrip(" .,;:(-–—") + "…"


def _is_whole(text: str) -> bool:
    return len(text.split()) >= _MIN_WORDS and text.count("(") == text.count(")")
