"""What the programs in tools/prepare_datasets share: reading downloads, writing trees."""

from __future__ import annotations

from prolab_d2.data.preparation.command import run_preparation
from prolab_d2.data.preparation.convert import (
    Plan,
    copy_from,
    decode_image,
    decode_mask,
    encode_mask,
    prepare_split,
    read_names,
    relabel,
)
from prolab_d2.data.preparation.sources import Download, Part, Sources, Tree

__all__ = [
    "Download",
    "Part",
    "Plan",
    "Sources",
    "Tree",
    "copy_from",
    "decode_image",
    "decode_mask",
    "encode_mask",
    "prepare_split",
    "read_names",
    "relabel",
    "run_preparation",
]
