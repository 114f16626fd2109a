from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prolab_d2 import LabelSpace, ProLabError
from prolab_d2.label_space.property_weights import read_property_weights, write_property_weights

WEIGHTS = np.linspace(0.1, 1, 12, dtype=np.float32)


def test_weights_survive_a_file_and_are_refused_for_other_properties(
    tiny_label_space: LabelSpace, tmp_path: Path
) -> None:
    file = tmp_path / "deep/weights.json"
    write_property_weights(file, tiny_label_space, WEIGHTS)
    assert (read_property_weights(file, tiny_label_space) == WEIGHTS).all()
    assert (read_property_weights(file, tiny_label_space.subset(["car"])) == WEIGHTS).all()
    with pytest.raises(ProLabError, match="belong to other properties"):
        read_property_weights(file, tiny_label_space.subset(["car"], drop_unused=True))
    for content in ("", "[]", '{"weights": 3}', '{"weights": [{"property": "x"}]}'):
        file.write_text(content)
        with pytest.raises(ProLabError, match="cannot be read"):
            read_property_weights(file, tiny_label_space)
    with pytest.raises(ProLabError, match="cannot be read"):
        read_property_weights(tmp_path / "none.json", tiny_label_space)


def test_weights_stay_with_the_properties_and_out_of_the_hash(
    tiny_label_space: LabelSpace, tmp_path: Path
) -> None:
    weighted = tiny_label_space.with_property_weights(WEIGHTS)
    assert tiny_label_space.property_weights is None
    assert weighted.hash == tiny_label_space.hash
    weighted.save(tmp_path / "weighted")
    for same in (
        LabelSpace.load(tmp_path / "weighted"),
        LabelSpace.from_state(weighted.state()),
        weighted.subset(["car", "sky"]),
    ):
        assert (same.property_weights == WEIGHTS).all()
    few = weighted.subset(["car"], drop_unused=True)
    assert (few.property_weights == WEIGHTS[[5, 6, 7, 8]]).all()
    assert weighted.with_property_weights(None).property_weights is None


def test_offsets_stay_with_the_categories_and_out_of_the_hash(
    tiny_label_space: LabelSpace, tmp_path: Path
) -> None:
    offsets = np.array([0.0, 0.5, 0.0, -0.25, 0.0])
    shifted = tiny_label_space.with_category_offsets(offsets)
    assert tiny_label_space.category_offsets is None
    assert shifted.hash == tiny_label_space.hash
    shifted.save(tmp_path / "shifted")
    for same in (LabelSpace.load(tmp_path / "shifted"), LabelSpace.from_state(shifted.state())):
        assert (same.category_offsets == offsets).all()
    assert shifted.subset(["car", "sky"]).category_offsets.tolist() == [-0.25, 0.0]
    assert shifted.with_category_offsets(None).category_offsets is None
    with pytest.raises(ProLabError, match="3 category offsets for 5 categories"):
        tiny_label_space.with_category_offsets([0, 0, 1])
    with pytest.raises(ProLabError, match="finite"):
        tiny_label_space.with_category_offsets(offsets * np.nan)


def test_weights_that_cannot_be_are_refused(tiny_label_space: LabelSpace) -> None:
    negative, lost = WEIGHTS.copy(), np.ones(12)
    negative[3] = -1
    lost[[0, 1]] = 0  # all of the sky
    for weights, words in (
        (WEIGHTS[:5], "for 12 properties"),
        (negative, "a number from 0"),
        (WEIGHTS * np.nan, "finite"),
        (lost, "'sky' have the weight 0"),
    ):
        with pytest.raises(ProLabError, match=words):
            tiny_label_space.with_property_weights(weights)
