"""Whether two embeddings are of one sentence encoder: by what is recorded, and by what is stored.

Shapes: D embedding, m sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prolab_d2.errors import ProLabError
from prolab_d2.label_space.clustering import unit_rows

if TYPE_CHECKING:
    from prolab_d2.label_space.embedding import Encoder
    from prolab_d2.label_space.label_space import LabelSpace

__all__ = ["ENCODER_KEYS", "check_encoder", "encode_as_stored", "encoder_difference"]

# What must agree for two embeddings to be comparable.
ENCODER_KEYS = ("encoder", "encoder_sha256", "pooling", "lower_case")
# Below this cosine similarity an encoder does not give what is stored: half precision and
# another device stay above 0.9999.
_SAME_SENTENCE = 0.99


def encoder_difference(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
    """What parts the encoders of two provenances, in words; None if nothing known does.

    Both must tell of the same weights (where that is known, else of the same name) and settings.
    """
    known = {key for key in ENCODER_KEYS if None not in (recorded.get(key), given.get(key))}
    if "encoder_sha256" in known:
        known.discard("encoder")
    for key in ENCODER_KEYS:
        if key in known and recorded[key] != given[key]:
            what = {"encoder_sha256": "weights of the encoder"}.get(key, key)
            return f"the {what} {recorded[key]!r}, not with {given[key]!r}"
    return None


def check_encoder(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """
    Raises:
        ProLabError: the encoders differ.
    """
    difference = encoder_difference(recorded, given)
    if difference is not None:
        raise ProLabError(
            f"the label space was made with {difference}: use the sentence encoder "
            f"{recorded.get('encoder')!r} with the settings in its provenance"
        )


def encode_as_stored(space: LabelSpace, sentences: Sequence[str], encoder: Encoder) -> np.ndarray:
    """(m, D) float32, after a look whether the encoder still gives what is stored.

    Raises:
        ProLabError: it is another encoder, or nothing tells whether it is the same.
    """
    stored = space.embeddings
    name = space.provenance.get("encoder")
    if stored is None and name is None:
        raise ProLabError(
            "the label space neither holds embeddings nor says which encoder made its bank: "
            "record the encoder in its provenance, or build it from descriptions"
        )
    probes: list[str] = []
    if stored is not None:
        own = [line for lines in space.descriptions.values() for line in lines]
        places = np.unique(np.linspace(0, len(own) - 1, 8).astype(int))
        probes = [own[i] for i in places]
    embeddings = np.asarray(encoder.encode([*probes, *sentences]), dtype=np.float32)
    if embeddings.shape != (len(probes) + len(sentences), space.embedding_dim):
        raise ProLabError(
            f"the sentence encoder gave an array of shape {embeddings.shape} for "
            f"{len(probes) + len(sentences)} sentences, and rows of the bank have "
            f"{space.embedding_dim} numbers: use the encoder {name or 'of the label space'}"
        )
    if probes:
        likeness = (unit_rows(embeddings[: len(probes)]) * unit_rows(stored[places])).sum(1)
        worst = likeness.argmin()
        if likeness[worst] < _SAME_SENTENCE:
            raise ProLabError(
                f"the sentence encoder embeds {probes[worst]!r} in another way than the label "
                f"space has it (cosine similarity {likeness[worst]:.3f}): use the encoder "
                f"{name or 'it was made with'}"
            )
    return embeddings[len(probes) :]
