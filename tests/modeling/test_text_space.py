from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from prolab_d2 import ProLabError
from prolab_d2.modeling.text_space import ConvexCombination, TextSpace


def embeddings() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)


def pixels() -> torch.Tensor:
    return torch.randn(2, 16, 3, 4, generator=torch.Generator().manual_seed(0))


def test_logits_are_cosine_similarities_over_the_temperature() -> None:
    logits = TextSpace(embeddings(), temperature=0.5).logits(pixels())
    text = torch.from_numpy(embeddings())[None, :, :, None, None]
    expected = F.cosine_similarity(pixels()[:, None], text, dim=2) / 0.5
    assert torch.allclose(logits, expected, atol=1e-6)
    assert torch.allclose(TextSpace(embeddings() * 7, 0.5).logits(pixels() * 3), logits, atol=1e-5)


def test_everything_is_float32_under_autocast() -> None:
    space = TextSpace(embeddings())
    half = pixels().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = space.logits(half)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, space.logits(half.float()))


def test_embeddings_are_no_weights_and_a_copy() -> None:
    array = embeddings()
    array.flags.writeable = False
    space = TextSpace(array)
    assert not space.state_dict() and not list(space.parameters())
    assert space.double().embeddings.dtype == torch.float64


def test_what_cannot_be_is_named() -> None:
    with pytest.raises(ProLabError, match="TEXT_TEMPERATURE is 0"):
        TextSpace(embeddings(), 0)
    with pytest.raises(ProLabError, match=r"shape \(16,\)"):
        TextSpace(embeddings()[0])


def test_probabilities_mix_the_embeddings_of_trained_categories() -> None:
    trained, asked = embeddings(), np.concatenate([embeddings()[:2], embeddings()[3:4] * 9])
    logits = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(1))
    unit = F.normalize(torch.from_numpy(trained), dim=1)
    mixed = torch.einsum("btyx,td->bdyx", logits.softmax(1), unit)
    expected = F.cosine_similarity(
        mixed[:, None], torch.from_numpy(asked)[None, :, :, None, None], dim=2
    )
    space = ConvexCombination(trained, asked)
    assert torch.allclose(space.logits(logits), expected, atol=1e-6)
    certain = torch.tensor([0.0, 0, 0, 100, 0]).view(1, 5, 1, 1)
    assert space.logits(certain).flatten()[2] == pytest.approx(1)
    with pytest.raises(ProLabError, match="embeddings of 8 numbers and the trained ones of 16"):
        ConvexCombination(trained, asked[:, :8])
