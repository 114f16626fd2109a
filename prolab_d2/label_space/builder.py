"""From descriptions to a label space: embed, cluster, name the properties, write signatures.

Shapes: N categories, K properties, D embedding, M descriptions.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from prolab_d2.errors import ProLabError, first_line
from prolab_d2.label_space.clustering import Clusters, auto_num_properties, cluster, count_distinct
from prolab_d2.label_space.descriptions import Descriptions, check_descriptions
from prolab_d2.label_space.embedding import Encoder, load_encoder
from prolab_d2.label_space.label_space import LabelSpace
from prolab_d2.label_space.llm.base import LanguageModel
from prolab_d2.label_space.naming import name_properties, property_names
from prolab_d2.label_space.progress import Progress, Stage
from prolab_d2.label_space.quality import propose_cure, signatures_of
from prolab_d2.label_space.stages import Arrays, Stages, content_hash, read_arrays
from prolab_d2.label_space.storage import hash_arrays

__all__ = [
    "assemble",
    "build_label_space",
    "check_num_properties",
    "package_versions",
    "read_embeddings",
]

_RECORDED_PACKAGES = (
    "llama-cpp-python",
    "numpy",
    "scikit-learn",
    "scipy",
    "sentence-transformers",
    "torch",
    "transformers",
)
# Sentences that are embedded at a time; each block outlives a kill.
_BLOCK = 512


def build_label_space(
    descriptions: Mapping[str, Sequence[str]],
    encoder: Encoder | str | os.PathLike[str] | None,
    num_properties: int | None = None,
    *,
    method: str = "kmeans",
    seed: int = 0,
    embeddings: Any = None,
    namer: LanguageModel | None = None,
    workers: int = 1,
    allow_confused: bool = True,
    provenance: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    work: str | os.PathLike[str] | None = None,
) -> LabelSpace:
    """Builds a label space from sentences (paper, section 3.1).

    Args:
        descriptions: sentences by category, categories in the order of the data set's ids.
        encoder: an `Encoder`, or what `load_encoder` understands; None with `embeddings`.
        num_properties: K; about one for 7 sentences when left out.
        method: a key of `clustering.CLUSTERINGS`.
        embeddings: (M, D) of all sentences in their order, instead of an encoder.
        namer: sums up every property; without it, a property has the name of a member.
        workers: questions to the namer at a time.
        allow_confused: whether categories may have the same properties.
        provenance: where the sentences (and `embeddings`) come from; the rest is added here.
        progress: is told what happens.
        work: folder for the results of stages, which another call with the same inputs reuses.
    Raises:
        ProLabError: descriptions, encoder or number of properties cannot be used, or categories
            cannot be told apart; then the message says what would help.
    """
    progress = progress or Progress()
    stages = Stages(work, progress)
    descriptions = check_descriptions(descriptions)
    if num_properties is not None:
        check_num_properties(descriptions, num_properties)
    sentences = _sentences(descriptions)
    timings: dict[str, float] = {}
    record = {"llm": None, "prompt_hash": None, **(provenance or {})}
    record["descriptions_sha256"] = content_hash(descriptions)
    if embeddings is not None:
        embeddings = _check_embeddings(embeddings, len(sentences), "the given embeddings are")
    else:
        with _timed(timings, "load_encoder"):
            encoder = _ready(encoder, progress)
        with _timed(timings, "embed"):
            embeddings = _embed(sentences, encoder, stages, progress)
        record.update(encoder.provenance)
    with _timed(timings, "cluster"):
        if num_properties is None:
            num_properties = auto_num_properties(len(sentences), count_distinct(embeddings))
        clusters = _cluster(embeddings, num_properties, method, seed, stages, progress)
    record |= {
        "clustering": {"method": method, "num_properties": num_properties},
        "seed": seed,
        "versions": package_versions(),
        "dates": {"built": datetime.now(timezone.utc).isoformat(timespec="seconds")},
        "timings": timings,
    }
    space = assemble(descriptions, embeddings, clusters, record)
    if not allow_confused:
        _check_confused(space, embeddings, clusters, progress)
    if namer is not None:
        with _timed(timings, "name"):
            space = _rename(space, namer, seed, workers, stages, progress)
    return space


def check_num_properties(descriptions: Descriptions, num_properties: int) -> None:
    """Fails before anything is embedded when there are too few sentences.

    Raises:
        ProLabError: `num_properties` is below 1 or above the number of different sentences.
    """
    distinct = len({line.lower() for line in _sentences(descriptions)})
    if not 1 <= num_properties <= distinct:
        raise ProLabError(
            f"{num_properties} properties cannot be made of {distinct} different sentences: choose "
            f"a number between 1 and {distinct}, about one for every 7 sentences works well"
        )


def assemble(
    descriptions: Descriptions,
    embeddings: np.ndarray,
    clusters: Clusters,
    provenance: Mapping[str, Any],
) -> LabelSpace:
    """The label space of embedded and clustered descriptions.

    A category has every property that at least one of its sentences belongs to. Properties keep
    the numbers of the clusters.

    Args:
        embeddings: (M, D), in the order of the descriptions.
    """
    signatures = signatures_of(clusters.labels, _owners(descriptions), len(clusters.centres))
    return LabelSpace.from_arrays(
        tuple(descriptions),
        clusters.centres,
        signatures,
        property_names(_sentences(descriptions), embeddings, clusters),
        descriptions,
        provenance,
        embeddings=embeddings,
        property_of_description=clusters.labels,
        tree=clusters.tree,
    )


def read_embeddings(
    path: str | os.PathLike[str], descriptions: Descriptions
) -> tuple[np.ndarray, dict[str, Any]]:
    """Embeddings that were made before, for `build_label_space`.

    Args:
        path: "embeddings-....safetensors" of a working folder, another .safetensors file with an
            array "embeddings" (a label space has one), or a .npy file.
    Returns:
        (M, D) float32, and what is known about the encoder: a file of a working folder tells.
    Raises:
        ProLabError: the file cannot be read, or holds embeddings of other sentences.
    """
    path = Path(path)
    made_from: dict[str, Any] = {}
    if path.suffix == ".npy":
        try:
            embeddings = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ProLabError(
                f"cannot read the embeddings {path} ({first_line(error)}): give a .npy file of "
                "numbers"
            ) from error
    else:
        arrays, made_from = read_arrays(path)
        if "embeddings" not in arrays:
            raise ProLabError(f"{path} holds no array 'embeddings': give another file")
        embeddings = arrays["embeddings"]
    sentences = _sentences(descriptions)
    embeddings = _check_embeddings(embeddings, len(sentences), f"{path} holds embeddings")
    if made_from.get("sentences_sha256", content_hash(sentences)) != content_hash(sentences):
        raise ProLabError(
            f"{path} holds the embeddings of other sentences: give the descriptions it was made "
            "from, or an encoder that embeds these"
        )
    return embeddings, made_from.get("encoder", {})


def package_versions() -> dict[str, str]:
    """Of Python, and of all packages that embeddings, clusters and descriptions depend on."""
    versions = {"python": platform.python_version()}
    for package in _RECORDED_PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _sentences(descriptions: Descriptions) -> list[str]:
    return [line for lines in descriptions.values() for line in lines]


def _owners(descriptions: Descriptions) -> np.ndarray:
    """(M,) integers in [0, N): the category of every sentence."""
    return np.repeat(np.arange(len(descriptions)), [len(v) for v in descriptions.values()])


def _ready(encoder: Encoder | str | os.PathLike[str] | None, progress: Progress) -> Encoder:
    if encoder is None:
        raise ProLabError("sentences must be embedded: give an encoder, or their embeddings")
    if not isinstance(encoder, (str, os.PathLike)):
        return encoder
    progress.tell(f"loading the sentence encoder {os.fspath(encoder)}")
    return load_encoder(encoder)


def _embed(
    sentences: Sequence[str], encoder: Encoder, stages: Stages, progress: Progress
) -> np.ndarray:
    """(M, D) float32, encoded in blocks."""

    def inputs(lines: Sequence[str]) -> dict[str, Any]:
        return {
            "encoder": encoder.provenance,
            "sentences_sha256": content_hash(lines),
            "versions": package_versions(),
        }

    def embed_block(lines: Sequence[str]) -> Arrays:
        rows = _check_embeddings(encoder.encode(lines), len(lines), "the sentence encoder gave")
        return {"embeddings": rows}

    def embed_all(stage: Stage) -> Arrays:
        rows = []
        for start in range(0, len(sentences), _BLOCK):
            lines = sentences[start : start + _BLOCK]
            block, reused = blocks.reuse("block", inputs(lines), partial(embed_block, lines))
            rows.append(block["embeddings"])
            stage.advance(len(lines), reused=reused)
        return {"embeddings": np.concatenate(rows)}

    blocks = stages.part("embeddings")
    with progress.stage("embeddings", len(sentences), "sentences") as stage:
        arrays, reused = stages.reuse("embeddings", inputs(sentences), lambda: embed_all(stage))
        if reused:
            stage.advance(len(sentences), reused=True)
    blocks.clear()
    return arrays["embeddings"]


def _check_embeddings(embeddings: Any, count: int, what: str) -> np.ndarray:
    """(count, D) float32."""
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2 or len(embeddings) != count or embeddings.dtype.kind not in "fiu":
        raise ProLabError(
            f"{what} an array of {embeddings.dtype} of shape {embeddings.shape} for "
            f"{count} sentences: one row of numbers per sentence is needed"
        )
    if not np.isfinite(embeddings).all():
        row = int(np.flatnonzero(~np.isfinite(embeddings).all(1))[0])
        raise ProLabError(
            f"{what} an array with numbers in row {row} that are not finite: use another encoder"
        )
    return embeddings.astype(np.float32, copy=False)


def _cluster(
    embeddings: np.ndarray,
    num_properties: int,
    method: str,
    seed: int,
    stages: Stages,
    progress: Progress,
) -> Clusters:
    inputs = {
        "embeddings_sha256": hash_arrays({"embeddings": embeddings}),
        "num_properties": num_properties,
        "method": method,
        "seed": seed,
        "versions": package_versions(),
    }

    def make() -> Arrays:
        progress.tell(f"clustering {len(embeddings)} sentences into {num_properties} properties")
        found = dataclasses.asdict(cluster(embeddings, num_properties, method, seed))
        return {name: array for name, array in found.items() if array is not None}

    with progress.stage("clusters", num_properties, "properties") as stage:
        arrays, reused = stages.reuse("clusters", inputs, make)
        stage.advance(num_properties, reused=reused)
    return Clusters(**arrays)


def _check_confused(
    space: LabelSpace, embeddings: np.ndarray, clusters: Clusters, progress: Progress
) -> None:
    """
    Raises:
        ProLabError: some categories have the same properties; says what would part them.
    """
    groups = space.confused_categories()
    if not groups:
        return
    progress.tell("looking for what would part categories that have the same properties")
    cure = propose_cure(
        _sentences(space.descriptions),
        embeddings,
        clusters,
        _owners(space.descriptions),
        space.categories,
        method=space.provenance["clustering"]["method"],
        seed=space.provenance["seed"],
    )
    listed = "; ".join(" = ".join(group) for group in groups[:5])
    listed += f"; and {len(groups) - 5} more groups" if len(groups) > 5 else ""
    raise ProLabError(
        f"some categories have the same properties and cannot be told apart ({listed}): {cure}; "
        "or allow confused categories (--allow-confused)"
    )


def _rename(
    space: LabelSpace,
    namer: LanguageModel,
    seed: int,
    workers: int,
    stages: Stages,
    progress: Progress,
) -> LabelSpace:
    """The label space with names of properties by a language model."""
    names = name_properties(
        space.properties,
        namer,
        seed=seed,
        work=stages.part("names").folder,
        workers=workers,
        progress=progress,
    )
    properties = zip(space.properties, names, strict=True)
    renamed = dataclasses.replace(
        space,
        properties=tuple(dataclasses.replace(entry, name=name) for entry, name in properties),
        provenance={**space.provenance, "property_names": namer.provenance},
    )
    renamed.validate()
    return renamed


class _timed:
    """Writes the seconds of a block into a dict."""

    def __init__(self, timings: dict[str, float], name: str) -> None:
        self._timings, self._name = timings, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *exception: object) -> None:
        self._timings[self._name] = round(time.perf_counter() - self._start, 2)
