"""Writes sentence encoders of the BERT kind as GGUF files, the way llama.cpp's converter does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "bos": "[CLS]", "eos": "[SEP]", "mask": "[MASK]"}


def write_bert(
    path: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    vocabulary: Sequence[str],
    pooling: str | None,
) -> None:
    """
    Args:
        config, tensors: names as in `transformers`.
        vocabulary: word pieces, "##" before those that go on with a word.
        pooling: "MEAN" or "CLS", or None for a file that does not say.
    """
    import gguf

    writer = gguf.GGUFWriter(path, "bert")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    if pooling is not None:
        writer.add_pooling_type(gguf.PoolingType[pooling])
    writer.add_tokenizer_model("bert")
    writer.add_token_type_count(config["type_vocab_size"])
    special = [piece.startswith("[") and piece.endswith("]") for piece in vocabulary]
    # llama.cpp marks beginnings of words, BERT marks what is none.
    writer.add_token_list(
        [
            piece if mark else piece.removeprefix("##") if piece.startswith("##") else f"▁{piece}"
            for piece, mark in zip(vocabulary, special, strict=True)
        ]
    )
    kinds = {True: gguf.TokenType.CONTROL, False: gguf.TokenType.NORMAL}
    writer.add_token_types([kinds[mark] for mark in special])
    for name, piece in SPECIAL.items():
        getattr(writer, f"add_{name}_token_id")(vocabulary.index(piece))
    writer.add_sep_token_id(vocabulary.index(SPECIAL["eos"]))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, config["num_hidden_layers"])
    for name, tensor in tensors.items():
        own = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if own is not None:  # no place for the pooler, which no sentence encoder uses
            writer.add_tensor(own, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def convert_bert(folder: Path, path: Path, pooling: str) -> None:
    """A GGUF file of the model in a folder of `transformers`."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    write_bert(path, config, tensors, vocabulary[: config["vocab_size"]], pooling)


def write_tiny_bert(path: Path, pooling: str | None, positions: int = 32) -> None:
    """Random numbers of 16 dimensions that know the letters of the alphabet."""
    vocabulary = [*SPECIAL.values(), *"abcdefghijklmnopqrstuvwxyz"]
    width, inner = 16, 32
    config = {
        "num_hidden_layers": 1,
        "max_position_embeddings": positions,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_attention_heads": 2,
        "layer_norm_eps": 1e-12,
        "type_vocab_size": 2,
    }
    layer = "encoder.layer.0"
    shapes = {
        "embeddings.word_embeddings.weight": (len(vocabulary), width),
        "embeddings.position_embeddings.weight": (positions, width),
        "embeddings.token_type_embeddings.weight": (2, width),
        f"{layer}.intermediate.dense.weight": (inner, width),
        f"{layer}.intermediate.dense.bias": (inner,),
        f"{layer}.output.dense.weight": (width, inner),
        f"{layer}.output.dense.bias": (width,),
    }
    for part in ("self.query", "self.key", "self.value", "output.dense"):
        shapes[f"{layer}.attention.{part}.weight"] = (width, width)
        shapes[f"{layer}.attention.{part}.bias"] = (width,)
    for part in ("embeddings", f"{layer}.attention.output", f"{layer}.output"):
        shapes[f"{part}.LayerNorm.weight"] = shapes[f"{part}.LayerNorm.bias"] = (width,)
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    write_bert(path, config, tensors, vocabulary, pooling)
