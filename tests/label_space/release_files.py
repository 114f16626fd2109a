"""A small release in the layout of the published one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prolab_d2 import LabelSpace
from prolab_d2.label_space.release import read_release
from tests.label_space.conftest import WordEncoder

# As in the release: one name ends in a space, and a sentence may hold a colon.
DESCRIPTORS = {
    "car": ["Four round wheels", "Made of metal: steel", "Glass windows"],
    "bed ": ["Four wooden legs", "Soft mattress"],
    "house": ["Glass windows all around", "Walls of brick"],
}
# Properties 1 and 4 belong to the car alone; the file lists them in another order than the bank.
MEMBERS = {
    "Glass": ["car: Glass windows", "house: Glass windows all around"],
    "Stands on something": ["bed : Four wooden legs"],
    "Metallic": ["car: Made of metal: steel"],
    "Soft": ["bed : Soft mattress"],
    "Rolls": ["car: Four round wheels"],
    "Brick": ["house: Walls of brick"],
}
ORDER = ["Brick", "Rolls", "Glass", "Soft", "Metallic", "Stands on something"]
KEY = "words_gpt3.5_cluster_6_embeddings_and_labels"


class Files:
    """A release in a folder, which tests change before they read it.

    Attributes:
        bank: (6, 24) float32, in `ORDER`.
        signatures: (3, 6) bool.
    """

    def __init__(self, folder: Path) -> None:
        self.descriptors = folder / "descriptors.json"
        self.embeddings = folder / "bank.pth"
        self.properties = folder / "properties.json"
        encoder = WordEncoder()
        self.bank = np.stack(
            [
                encoder.encode([line.partition(": ")[2] for line in MEMBERS[name]]).mean(0)
                for name in ORDER
            ]
        )
        self.signatures = np.array(
            [
                [any(line.startswith(f"{category}: ") for line in MEMBERS[name]) for name in ORDER]
                for category in DESCRIPTORS
            ]
        )
        self.write()

    def write(self) -> None:
        """All three files, as they belong together."""
        self.descriptors.write_text(json.dumps(DESCRIPTORS))
        self.properties.write_text(json.dumps(MEMBERS))
        self.save()

    def save(self, pair: list[Any] | None = None, *, zipped: bool = True, **more: Any) -> None:
        """The embedding file, with `pair` instead of centres and labels, and `more` entries."""
        pair = pair or [self.bank.T, self.signatures.T.astype(np.float64)]
        content = {"descriptions": DESCRIPTORS, KEY: pair, **more}
        torch.save(content, self.embeddings, _use_new_zipfile_serialization=zipped)

    def read(self, **options: Any) -> LabelSpace:
        return read_release(self.descriptors, self.embeddings, **options)
