from __future__ import annotations

import math

import numpy as np
import pytest

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.explain.blame import blame_properties


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values)


@pytest.mark.parametrize("seed", range(3))
def test_terms_add_up_to_the_lead_that_is_lost(tiny_label_space: LabelSpace, seed: int) -> None:
    u = unit(np.random.default_rng(seed).random(12))
    unit_signatures = np.stack([unit(row.astype(float)) for row in tiny_label_space.signatures])
    for a in range(5):
        for b in range(5):
            if a == b:
                continue
            promised = 1 - unit_signatures[a] @ unit_signatures[b]
            there = (unit_signatures[a] - unit_signatures[b]) @ u
            terms = blame_properties(u, tiny_label_space, a, b)
            assert math.fsum(t.blame for t in terms) == pytest.approx(promised - there, abs=1e-14)


def test_missing_and_wrongly_seen_properties_are_to_blame(tiny_label_space: LabelSpace) -> None:
    activations = np.zeros(12)
    activations[[5, 6, 7, 8]] = 1.0, 1.0, 1.0, 0.2  # a fence that looks like a car
    terms = blame_properties(unit(activations), tiny_label_space, "fence", "car")
    kinds = {t.index: t.kind for t in terms}
    assert kinds == {3: "not seen", 4: "not seen", 5: "shared",
                     6: "wrongly seen", 7: "wrongly seen", 8: "wrongly seen"}  # fmt: skip
    assert [t.index for t in terms[:2]] == [3, 4], "a missing one costs 1 / 3 each, the most"
    assert terms[0].blame == pytest.approx(1 / 3)
    assert terms[-1].blame <= terms[0].blame and terms[0].name == "stands on the ground in a field"


def test_a_perfect_answer_has_nothing_to_blame(tiny_label_space: LabelSpace) -> None:
    u = unit(tiny_label_space.signatures[2].astype(float))
    assert all(abs(t.blame) < 1e-15 for t in blame_properties(u, tiny_label_space, 2, 3))
    with pytest.raises(ProLabError, match="not in the label space"):
        blame_properties(u, tiny_label_space, "fence", "lorry")
